"""Photographs what people see in the Prefect UI, while two of them carry a restore out there."""

import time
from pathlib import Path

from playwright.sync_api import Page

from deployments.cli.starting import start
from deployments.demo import people, scene
from deployments.services.platform import Platform
from infra.sandbox.damage import Damage, damage
from tasks.guardrails.case import Case, id_of_run
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import settings
from tests.e2e import person

PICTURES = Path(__file__).resolve().parents[2] / "docs" / "pictures"
_FORM = {"target": scene.TARGET, "reason": "projects without programs since 02:40"}
_COMMENTS = {people.ASKS: "nothing is lost", people.APPROVES: "agreed"}
_ROWS = 20_000
_WIDTH, _HEIGHT = 1280, 900
_DRAWN_MS = 6000  # the timeline moves until it has found its place


def photograph(platform: Platform, ui: str) -> None:
    """Break the sandbox, and restore it in the browser, with a picture of each step.

    Args:
        platform: Up.
        ui: Address of the Prefect UI.
    """
    ledger = Ledger(settings())
    cast = people.People.enrol(ledger, platform.home)
    scene.end_earlier(ledger, print)
    scene.fill(platform.sandbox, _ROWS, print)
    _await_end(ledger, start(ledger, "back-up-database", {"target": scene.TARGET}, {}))
    damage(platform.sandbox, Damage.FOREIGN_KEYS_VIOLATED)
    with person.browser_page() as page:
        person.open_form(page, ui, "restore-from-backup")
        person.fill(page, _FORM)
        _shoot(page, "form", height=1450)
        person.start_run(page)
        person.wait_for_state(page, "Suspended")
        _shoot_run(page, "run")
        _shoot_artifact(page, "plan-cut-over", "plan_artifact", height=1400)
        for name, comment in _COMMENTS.items():
            _approve(page, cast, name, comment)
        person.wait_for_state(page, "Remediated")
        _shoot_run(page, "ended")
        _shoot_artifact(page, "report-", "report", height=1150)


def _approve(page: Page, cast: people.People, name: str, comment: str) -> None:
    """Let one of them approve, and photograph the form with what the other has decided."""
    person.wait_for_state(page, "Suspended")
    person.open_resume_form(page)
    _shoot(page, "plan", height=1150)
    person.fill(page, {"approver": name, "decision": "approve", "comment": comment})
    person.fill(page, {"code": cast.code(name)})  # last, as it gets old
    person.send_resume_form(page)


def _await_end(ledger: Ledger, run: str) -> None:
    deadline = time.monotonic() + person.WAIT_SECONDS
    while not Case.read(ledger, id_of_run(run)).outcome:
        if time.monotonic() > deadline:
            message = f"run {run} did not end within {person.WAIT_SECONDS} s"
            raise SystemExit(message)
        time.sleep(0.5)


def _shoot(page: Page, name: str, height: int = _HEIGHT) -> None:
    page.set_viewport_size({"width": _WIDTH, "height": height})
    page.wait_for_timeout(_DRAWN_MS)
    page.screenshot(path=PICTURES / f"{name}.png")
    page.set_viewport_size({"width": _WIDTH, "height": _HEIGHT})


def _shoot_run(page: Page, name: str) -> None:
    page.reload()  # else the timeline stands where it stood when the run began
    _shoot(page, name)


def _shoot_artifact(page: Page, key: str, name: str, height: int) -> None:
    person.open_artifact(page, key)
    _shoot(page, name, height)
    page.go_back()
