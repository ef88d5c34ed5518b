"""The way of the people on call in the Prefect UI: they start, read and approve in a browser."""

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page

from deployments.demo.people import People
from infra.sandbox.services import Sandbox
from tasks.guardrails.case import id_of_run
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import Settings
from tests.e2e import person
from tests.e2e.test_demo import COMMAND, insist_on_the_end
from tests.integration.test_services_fixtures import (
    ROOT,
    clean_environment,
    data,
    new_home,
    remedy,
)

WITHIN_SECONDS = 600

pytestmark = [
    pytest.mark.timeout(1800),
    pytest.mark.skipif(
        not Path(person.CHROMIUM).exists(), reason=f"no {person.CHROMIUM} to look with"
    ),
]


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home of its own, with the demo's people."""
    home = new_home()
    yield home
    remedy(home, "down", "--force")
    shutil.rmtree(home, ignore_errors=True)


def by_hand(home: Path, *words: str) -> None:
    """Run a command that has to succeed."""
    done = remedy(home, *words, timeout=WITHIN_SECONDS)
    assert done.returncode == 0, done.stdout + done.stderr


def programs(home: Path) -> int:
    """Count what the damage takes away, without what the load writes."""
    with Sandbox(home / "sandbox").connect() as session:
        found = session.execute("SELECT count(*) FROM programs WHERE name NOT LIKE 'Load %'")
        row = found.fetchone()
    return int(row[0]) if row else 0


def approve(page: Page, name: str, code: Callable[[], str], comment: str) -> str:
    """Approve in the form of the run's page; give the text that was shown with it."""
    person.wait_for_state(page, "Suspended")
    shown = person.open_resume_form(page)
    refused = "The last decision does not count"
    decisive = ["Swap planner", "disruptive", "Lost:", refused if refused in shown else "Outage:"]
    assert [words for words in decisive if not person.sees_at_once(page, words)] == []
    person.fill(page, {"approver": name, "decision": "approve", "comment": comment})
    person.fill(page, {"code": code()})  # last, as it gets old
    person.send_resume_form(page)
    return shown


@contextmanager
def the_demo(home: Path, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the demo for a person to approve; it goes with the test."""
    with log.open("w") as out:
        command = [*COMMAND, "--approve", "ui"]
        child = subprocess.Popen(command, cwd=ROOT, env=clean_environment(home), stdout=out)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


def printed(log: Path, child: "subprocess.Popen[bytes]", pattern: str) -> str:
    """Wait until the demo has printed something, and give the newest of it."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while not (found := re.findall(pattern, log.read_text())):
        is_to_come = child.poll() is None and time.monotonic() < deadline
        assert is_to_come, log.read_text()[-3000:]
        time.sleep(0.5)
    return str(found[-1])


def shell(home: Path, line: str) -> str:
    """Type a command as it was printed; give what it prints."""
    environment = clean_environment(home)
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_SECONDS,
    )
    assert done.returncode == 0, line + done.stdout + done.stderr
    return done.stdout


def await_standing(home: Path, remediation: str, *, waits: bool) -> dict[str, Any]:
    """Wait until a remediation waits for approval, or until it has ended."""
    deadline = time.monotonic() + WITHIN_SECONDS
    while True:
        cases: list[dict[str, Any]] = data(home, "runs")
        for case in cases:
            if case["remediation"] == remediation and case["waits" if waits else "outcome"]:
                return case
        assert time.monotonic() < deadline
        time.sleep(0.5)


def undo_in_the_browser(page: Page, ui: str, restore: str, people: People) -> None:
    """Start the undo of a restore from its form, and have it approved by two people."""
    person.open_form(page, ui, "undo-remediation")
    assert all(person.described_fields(page).values())
    person.fill(page, {"target": "sandbox", "remediation": id_of_run(restore)})
    person.start_run(page)
    for name in ("dana", "riley"):
        person.wait_for_state(page, "Suspended")
        assert "Undo restore_from_backup" in person.open_resume_form(page)
        person.fill(page, {"approver": name, "decision": "approve", "comment": "it was right"})
        person.fill(page, {"code": people.code(name)})
        person.send_resume_form(page)
    person.wait_for_state(page, "Remediated")


def test_a_bad_value_is_explained(home: Path) -> None:
    """One that the form refuses starts nothing; one that only the run can judge says what to do."""
    ui = data(home, "up")["ui"]
    before = data(home, "runs")
    with person.browser_page() as page:
        person.open_form(page, ui, "restore-from-backup")
        person.fill(page, {"target": "no such target!"})
        assert "'target'" in person.submit_in_vain(page)
        person.fill(page, {"target": "sandbox", "max_rows_lost": "-5"})
        assert "'max_rows_lost'" in person.submit_in_vain(page)
        assert data(home, "runs") == before
        person.open_form(page, ui, "restore-from-backup")
        person.fill(page, {"target": "nowhere"})
        person.start_run(page)
        person.wait_for_state(page, "Refused")
        page.get_by_text("see the names with `remedy target list`", exact=False).first.wait_for()


def test_two_people_carry_a_restore_out_in_the_browser(home: Path) -> None:
    """From the typed form over a mistyped code to the end; nobody knows who started it."""
    ui = data(home, "up")["ui"]
    by_hand(home, "sandbox", "up", "--rows", "5000")
    people = People.enrol(Ledger(Settings(home=home)), home)
    by_hand(home, "run", "back-up-database", "--target", "sandbox", "--wait")
    before = programs(home)
    by_hand(home, "sandbox", "damage", "foreign-keys-violated")
    assert programs(home) < before
    with person.browser_page() as page:
        person.open_form(page, ui, "restore-from-backup")
        described = person.described_fields(page)
        assert next(iter(described)) == "target"
        assert {"writes", "max_rows_lost", "attached", "dry_run", "reason"} < set(described)
        assert all(described.values())
        assert person.choices(page, "writes") == ["accept", "refuse"]
        person.fill(page, {"target": "sandbox", "reason": "programs are gone"})
        run = person.start_run(page)
        assert "0 of 2 approvals" in approve(page, "dana", lambda: "000000", "nothing is lost")
        shown = approve(page, "dana", lambda: people.code("dana"), "nothing is lost")
        assert "The last decision does not count" in shown
        shown = approve(page, "riley", lambda: people.code("riley"), "agreed")
        assert "1 of 2 approvals (dana)" in shown
        person.wait_for_state(page, "Remediated")
        person.open_artifact(page, "report-")
        page.get_by_text("nothing is lost").first.wait_for()
        assert programs(home) == before
        undo_in_the_browser(page, ui, run, people)
    restored = data(home, "show", run)
    assert restored["requester"]["known"] is False
    decided = [entry for entry in restored["entries"] if entry["kind"] == "decided"]
    assert [(entry["approver"], entry["via"]) for entry in decided] == [
        ("dana", "ui"),
        ("riley", "ui"),
    ]
    assert programs(home) < before


def test_the_demo_is_approved_in_the_browser_and_undone_as_it_says(
    home: Path, tmp_path: Path
) -> None:
    """Nothing is known but what the demo prints: the link, the code, the commands of the undo."""
    log = tmp_path / "demo.log"
    with the_demo(home, log) as child, person.browser_page() as page:
        page.goto(printed(log, child, r"Waits for you: (\S+)"))
        shown = partial(printed, log, child, r"code of riley: (\d{6})")
        approve(page, "riley", shown, "they may go")
        person.wait_for_state(page, "Remediated")
        assert child.wait(WITHIN_SECONDS) == 0
    insist_on_the_end(home, log.read_text())
    restored = programs(home)
    undo, *approvals = log.read_text().partition("Undo it:")[2].splitlines()[1:]
    started = re.search(r"Started (\w+)", shell(home, undo))
    assert started
    await_standing(home, started[1], waits=True)
    for approval in approvals:
        shell(home, approval.replace(" ID ", f" {started[1]} "))
    undone = await_standing(home, started[1], waits=False)
    assert (undone["name"], undone["outcome"]) == ("undo_remediation", "remediated")
    assert programs(home) < restored
