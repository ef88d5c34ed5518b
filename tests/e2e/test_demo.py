"""The demo as `make demo` runs it: to its end, again, and after being killed in the middle."""

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployments.demo.people import People
from tasks.guardrails import approvers
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import Settings
from tests.faults.sampling import sample
from tests.integration.test_services_fixtures import (
    ROOT,
    clean_environment,
    data,
    new_home,
    remedy,
)

FEW_ROWS = "20000"
COMMAND = (sys.executable, "-m", "deployments.demo", "--rows", FEW_ROWS)

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home of the demo's own."""
    home = new_home()
    yield home
    remedy(home, "down", "--force")
    shutil.rmtree(home, ignore_errors=True)


def demo(home: Path) -> str:
    """Run the demo to its end, and give what it printed."""
    done = subprocess.run(
        COMMAND,
        cwd=ROOT,
        env=clean_environment(home),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    return done.stdout


def insist_on_the_end(home: Path, shown: str) -> None:
    """The end says everything that the demo promises to say."""
    for part in (
        "damaged",
        "remediated",
        "outage seen by users",
        "slowest request",
        "rows lost",
        "one unbroken chain",
        "/runs/flow-run/",
        "remedy undo",
    ):
        assert part in shown, shown[-3000:]
    newest = data(home, "runs", "--limit", "1")[0]
    assert (newest["name"], newest["outcome"]) == ("restore_from_backup", "remediated")
    assert newest["requester"] == {
        "name": "dana",
        "known": True,
        "how": "authenticated by code",
    }
    assert not data(home, "runs", "--open")


def test_the_demo_runs_to_its_end_and_again(home: Path) -> None:
    """Twice in a row, on the same home."""
    insist_on_the_end(home, demo(home))
    insist_on_the_end(home, demo(home))


@pytest.mark.parametrize("line", sample(("begun: load backup", "waits for approval", "DAMAGED"), 1))
def test_the_demo_runs_after_it_was_killed(home: Path, line: str) -> None:
    """Killed at this line, with what it had started still going on; the next one is clean."""
    child = subprocess.Popen(
        COMMAND,
        cwd=ROOT,
        env=clean_environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert child.stdout is not None
    deadline = time.monotonic() + 400
    for shown in child.stdout:
        if line in shown:
            break
        assert time.monotonic() < deadline
    else:
        pytest.fail(f"it ended without saying {line!r}")
    child.kill()
    child.wait()
    insist_on_the_end(home, demo(home))


def test_its_secrets_are_readable_by_their_owner_only(home: Path) -> None:
    """The TOTP secrets of the demo's people."""
    file = home / "demo" / "people.json"
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.parent.stat().st_mode & 0o777 == 0o700


def test_it_adds_nobody_to_a_ledger_in_use(tmp_path: Path) -> None:
    """A ledger with approvers of its own is not the demo's to play with."""
    ledger = Ledger(Settings(home=tmp_path))
    approvers.add(ledger, "somebody", ("approve",), "host")
    with pytest.raises(PreconditionFailed, match="home of its own"):
        People.enrol(ledger, tmp_path)
