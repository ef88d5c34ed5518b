"""The command against a platform that is up: run, show, approve, refuse, undo, cancel."""

import json
import time
from pathlib import Path
from typing import Any

import pyotp
import pytest

from infra.sandbox.services import Sandbox
from tests.integration.test_services_fixtures import data, live_home, remedy

OF_COMPOSE = {
    *("access log", "commands in containers", "compose files", "containers", "images", "memory"),
    *("ports", "scaling"),
}


class People:
    """Approvers of the shared platform, with codes that were not used yet."""

    def __init__(self, home: Path) -> None:
        """Make dana and riley; dana asks, riley approves."""
        self._home = home
        self._used: set[tuple[str, int]] = set()
        dana = data(home, "approver", "add", "dana")
        self._secrets = {"dana": dana["secret"]}
        riley = data(home, "approver", "add", "riley", *self.proof("dana"))
        self._secrets["riley"] = riley["secret"]

    def proof(self, name: str) -> tuple[str, ...]:
        """Give --as and --code, waiting for a fresh code where needed."""
        while True:
            now = int(time.time()) // 30
            for step in (now, now + 1):
                if (name, step) not in self._used:
                    self._used.add((name, step))
                    code = pyotp.TOTP(self._secrets[name]).at(step * 30)
                    return ("--as", name, "--code", code)
            time.sleep(1)


@pytest.fixture(scope="module")
def home() -> Path:
    """The home of the platform that is up."""
    home = live_home()
    assert remedy(home, "up").returncode == 0
    return home


@pytest.fixture(scope="module")
def people(home: Path) -> People:
    """Who asks and who approves."""
    return People(home)


@pytest.fixture(scope="module")
def backup(home: Path) -> str:
    """A backup, taken through the command."""
    done = data(home, "run", "back-up-database", "--target", "sandbox", "--wait")
    assert done["outcome"] == "remediated"
    return str(done["remediation"])


@pytest.fixture
def damaged(home: Path, backup: str) -> None:
    """A database that is worth restoring; as it was when it was filled before that."""
    assert backup
    assert remedy(home, "sandbox", "reset").returncode == 0
    assert remedy(home, "sandbox", "damage", "rows_deleted").returncode == 0


def until_it_waits(home: Path, remediation: str) -> dict[str, Any]:
    """Wait until a remediation waits for an approval."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        done = remedy(home, "show", remediation, "--json")
        if done.returncode == 0:
            shown: dict[str, Any] = json.loads(done.stdout)
            assert not shown["outcome"], shown["why"]
            if shown["waits"]:
                return shown
        time.sleep(1)
    pytest.fail("it does not wait")


def until_it_ends(home: Path, remediation: str) -> dict[str, Any]:
    """Wait until a remediation has ended."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        shown: dict[str, Any] = data(home, "show", remediation)
        if shown["outcome"]:
            return shown
        time.sleep(1)
    pytest.fail("it does not end")


def start(home: Path, *words: str) -> str:
    """Start restore-from-backup on the sandbox; give the remediation."""
    said = data(home, "run", "restore_from_backup", "--target", "sandbox", *words)
    return str(said["remediation"])


def rows(home: Path) -> int:
    """Count the projects."""
    with Sandbox(home / "sandbox").connect() as session:
        row = session.execute("SELECT count(*) FROM projects").fetchone()
    assert row
    return int(row[0])


@pytest.mark.usefixtures("damaged")
def test_approved_by_command_and_undone_by_command(home: Path, people: People) -> None:
    """The whole way: plan shown, code checked, run woken, restored; then taken back."""
    assert rows(home) == 0
    remediation = start(home, *people.proof("dana"), "--reason", "rows are gone")
    until_it_waits(home, remediation)
    listed = data(home, "runs", "--open")
    assert [one["remediation"] for one in listed] == [remediation]
    own = remedy(home, "approve", remediation, *people.proof("dana"))
    assert own.returncode == 3
    assert "asked for it" in own.stderr
    approved = remedy(home, "approve", remediation[:6], *people.proof("riley"))
    assert approved.returncode == 0, approved.stderr
    assert "To be done, in this order" in approved.stdout
    assert "The run goes on." in approved.stdout
    ended = until_it_ends(home, remediation)
    assert (ended["outcome"], ended["requester"]["name"]) == ("remediated", "dana")
    assert rows(home) > 0
    text = remedy(home, "show", remediation).stdout
    for part in ("rows are gone", "riley", "Decisions", "Proof", f"remedy undo {remediation}"):
        assert part in text
    by_run = data(home, "show", ended["runs"][0])
    assert by_run["remediation"] == remediation

    undo = data(home, "undo", remediation, *people.proof("dana"))["remediation"]
    until_it_waits(home, undo)
    assert remedy(home, "approve", undo, *people.proof("riley")).returncode == 0
    assert until_it_ends(home, undo)["outcome"] == "remediated"
    assert rows(home) == 0
    assert f"Undone by {undo}" in remedy(home, "show", remediation).stdout
    assert remedy(home, "ledger", "verify").returncode == 0


@pytest.mark.usefixtures("damaged")
def test_refused_by_command(home: Path, people: People) -> None:
    """A refusal takes back what the first stage did; `run --wait` tells it by its exit code."""
    remediation = start(home, *people.proof("dana"))
    until_it_waits(home, remediation)
    refused = remedy(
        home, "refuse", remediation, *people.proof("riley"), "--comment", "not on a Friday"
    )
    assert refused.returncode == 0, refused.stderr
    ended = until_it_ends(home, remediation)
    assert ended["outcome"] in ("refused", "undone")
    assert "not on a Friday" in ended["why"]
    again = remedy(home, "approve", remediation, *people.proof("riley"))
    assert again.returncode == 2
    assert "it has ended" in again.stderr


@pytest.mark.usefixtures("damaged")
def test_an_unknown_requester_needs_one_approver_more(home: Path, people: People) -> None:
    """Without --as it is anybody's request; cancelled, it takes back what it did."""
    remediation = start(home)
    shown = until_it_waits(home, remediation)
    assert not shown["requester"]["known"]
    first = data(home, "approve", remediation, *people.proof("riley"))
    assert (first["needed"], first["open"], first["woken"]) == (2, True, False)
    cancelled = data(home, "cancel", remediation)
    assert cancelled["state"] == "Cancelled"
    ended = until_it_ends(home, remediation)
    assert (ended["outcome"], ended["runs"][-1]) == ("undone", cancelled["recovery"])


def test_a_dry_run_only_plans(home: Path, backup: str) -> None:
    """Nothing is changed, and the exit code is 0."""
    assert backup
    done = data(home, "run", "restore-from-backup", "--target", "sandbox", "--dry-run", "--wait")
    assert done["outcome"] == "planned"


def test_what_prefect_refuses_is_said(home: Path) -> None:
    """Unknown names and parameters and bad values are bad input, before anything starts."""
    for words, found in (
        (("run", "nothing", "--target", "sandbox"), "restore-from-backup"),
        (("run", "back-up-database", "--target", "sandbox", "--param", "x=1"), "x."),
        (("run", "back-up-database", "--target", "NOT A NAME"), "target"),
    ):
        done = remedy(home, *words)
        assert done.returncode == 2, done.stdout + done.stderr
        assert found in done.stderr


def test_an_api_that_does_not_answer_is_said(home: Path) -> None:
    """A remote API goes before the platform under the home."""
    done = remedy(
        home,
        *("run", "back-up-database", "--target", "sandbox"),
        PREFECT_API_URL="http://127.0.0.1:9/api",
    )
    assert done.returncode == 6, done.stderr
    assert "http://127.0.0.1:9/api" in done.stderr


def test_targets_are_listed_and_checked(home: Path, tmp_path: Path) -> None:
    """Each capability answers; one that fails gives exit code 11."""
    assert remedy(home, "sandbox", "reset").returncode == 0
    assert [one["name"] for one in data(home, "target", "list")] == ["sandbox"]
    found = data(home, "target", "check", "sandbox")
    assert {one["answer"] for one in found} == {"works", "lacking"}
    lacking = {one["what"] for one in found if one["answer"] == "lacking"}
    assert lacking - {"machine"} == OF_COMPOSE  # where this is a container, there is none
    missing = remedy(home, "target", "check", "nothing")
    assert missing.returncode == 7

    fields = Sandbox(home / "sandbox").target_settings() | {"port": 9}
    file = tmp_path / "broken.json"
    file.write_text(json.dumps(fields))
    added = remedy(home, "target", "add", "broken", "--platform", "sandbox", "--from", str(file))
    assert added.returncode == 0, added.stderr
    checked = data(home, "target", "check", "broken", expected=11)
    assert {one["what"]: one["answer"] for one in checked}["database"] == "fails"
