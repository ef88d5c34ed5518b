"""Photographs what an approver sees in the Prefect UI."""

import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from deployments.cli import client
from deployments.cli.deciding import decide_and_wake
from deployments.cli.starting import start
from deployments.demo import people, scene
from deployments.services.platform import Platform
from infra.sandbox.damage import Damage, damage
from tasks.guardrails.approval import waiting_gate
from tasks.guardrails.case import Case, id_of_run
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import settings

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs" / "pictures"
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_WAIT_SECONDS = 300
_ROWS = 20_000


def photograph(platform: Platform, chromium: str) -> None:
    """Break the sandbox, start a restore, take the pictures, and carry it out.

    Args:
        platform: Up.
        chromium: Path of the browser.
    """
    ledger = Ledger(settings())
    cast = people.People.enrol(ledger, platform.home)
    scene.end_earlier(ledger, print)
    scene.fill(platform.sandbox, _ROWS, print)
    ended(ledger, start(ledger, "back-up-database", {"target": scene.TARGET}, {"reason": "demo"}))
    damage(platform.sandbox, Damage.FOREIGN_KEYS_VIOLATED)
    run = start(
        ledger,
        "restore-from-backup",
        {"target": scene.TARGET},
        {"reason": "projects without programs since 02:40"},
        people.ASKS,
        cast.code(people.ASKS),
    )
    case = waiting(ledger, run)
    with sync_playwright() as browsers:
        browser = browsers.chromium.launch(executable_path=chromium, args=_FLAGS)
        page = browser.new_page(viewport={"width": 1500, "height": 1150})
        pictures_while_it_waits(page, client.url_of(run))
        decide_and_wake(
            ledger,
            case,
            waiting_gate(case),
            "approve",
            people.APPROVES,
            cast.code(people.APPROVES),
            "",
        )
        ended(ledger, run)
        pictures_afterwards(page, client.url_of(run))
        browser.close()


def waiting(ledger: Ledger, run: str) -> Case:
    """Wait until the run waits for an approval."""
    return _until(ledger, run, lambda case: case.open_gate is not None)


def ended(ledger: Ledger, run: str) -> Case:
    """Wait until the run's remediation has ended."""
    return _until(ledger, run, lambda case: bool(case.outcome))


def _until(ledger: Ledger, run: str, there: Callable[[Case], bool]) -> Case:
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        case = Case.read(ledger, id_of_run(run))
        if there(case):
            return case
        time.sleep(0.5)
    message = f"run {run} did not come so far within {_WAIT_SECONDS} s"
    raise SystemExit(message)


def pictures_while_it_waits(page: Page, url: str) -> None:
    """Photograph the run, its plan, and the form that resumes it."""
    page.goto(url)
    page.wait_for_timeout(6000)
    page.screenshot(path=PICTURES / "run.png")
    page.get_by_text("Artifacts", exact=True).last.click()
    page.wait_for_timeout(3000)
    page.get_by_text("plan-cut-over").first.click()
    page.wait_for_timeout(3000)
    page.screenshot(path=PICTURES / "plan_artifact.png", full_page=True)
    page.go_back()
    page.wait_for_timeout(3000)
    page.get_by_role("button", name="Resume").first.click()
    page.wait_for_timeout(3000)
    page.screenshot(path=PICTURES / "plan.png")


def pictures_afterwards(page: Page, url: str) -> None:
    """Photograph what stands there when it has ended."""
    page.goto(url)
    page.wait_for_timeout(6000)
    page.screenshot(path=PICTURES / "ended.png")
    page.get_by_text("Artifacts", exact=True).last.click()
    page.wait_for_timeout(3000)
    page.get_by_text("report-").first.click()
    page.wait_for_timeout(3000)
    page.screenshot(path=PICTURES / "report.png", full_page=True)
