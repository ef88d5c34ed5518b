"""The load measures what users would have met."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from infra.sandbox import pristine
from infra.sandbox.load import RATE, Load
from infra.sandbox.load_report import Outcome, summarize
from infra.sandbox.services import Sandbox
from tasks.platforms.sandbox.target import SandboxTarget
from tests.waiting import until

ROOT = Path(__file__).parents[2]


def load_on(sandbox: Sandbox) -> Load:
    """Start a load."""
    load = Load(sandbox.url, sandbox.settings.accounts["load"])
    load.start()
    return load


@contextmanager
def paused(target: SandboxTarget) -> Iterator[None]:
    """Hold requests back while the block runs."""
    with ExitStack() as held:
        # On a busy machine a request may take longer than is waited for.
        until(lambda: held.enter_context(target.application.pause(25)))
        yield


def written(sandbox: Sandbox) -> int:
    """Count what the load has written."""
    with sandbox.connect() as session:
        row = session.execute("SELECT count(*) FROM programs WHERE name LIKE 'Load %'").fetchone()
    return int(row[0]) if row else 0


def test_a_calm_system_shows_no_outage(fresh_sandbox: Sandbox) -> None:
    """All requests are answered, two in five are writes, and all of them are kept."""
    load = Load(fresh_sandbox.url, fresh_sandbox.settings.accounts["load"], seconds=3)
    load.start()
    report = load.wait()
    assert (report.failed, report.missing, report.unchecked) == (0, [], 0)
    # On a busy machine the load ends as late as it was itself.
    assert RATE * (3 - report.own_delay_seconds) - 1 <= report.requests <= RATE * 3 + 1
    assert report.acknowledged == pytest.approx(report.requests * 0.4, abs=3)


def test_a_pause_is_a_stall_and_no_outage(
    sandbox_target: SandboxTarget, fresh_sandbox: Sandbox
) -> None:
    """Requests held for half a second are late, none fails; the server is swapped out under it."""
    load = Load(sandbox_target.url, _password(sandbox_target))
    load.start()
    time.sleep(1)
    with paused(sandbox_target):
        status = f"{fresh_sandbox.control_url}/status"
        until(lambda: httpx.get(status, trust_env=False, timeout=30).json()["waiting"])
        time.sleep(1)
    time.sleep(1)
    report = load.stop()
    assert report.failed == 0
    assert report.slowest_seconds >= 0.45, "the pause is seen from outside"
    assert report.longest_stall_seconds >= 0.5


def test_a_cut_over_under_pause_is_met_by_nobody(sandbox_target: SandboxTarget) -> None:
    """Sessions ended and two databases renamed, as the maintenance user, while requests wait."""
    load = Load(sandbox_target.url, _password(sandbox_target))
    load.start()
    time.sleep(1)
    with sandbox_target.database.connect("postgres") as session:
        session.execute("CREATE DATABASE side OWNER planner TEMPLATE template0")
        with paused(sandbox_target):
            session.execute("ALTER DATABASE planner ALLOW_CONNECTIONS false")
            # Not pg_terminate_backend(pid, 5000): it waits 100 ms for each session in turn.
            ending = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'planner'"
            )
            while session.execute(ending).fetchall():
                time.sleep(0.005)
            session.execute("ALTER DATABASE planner RENAME TO aside")
            session.execute("ALTER DATABASE side RENAME TO planner")
            # And back again, as the other side has no rows to serve.
            session.execute("ALTER DATABASE planner RENAME TO side")
            session.execute("ALTER DATABASE aside RENAME TO planner")
            session.execute("ALTER DATABASE planner ALLOW_CONNECTIONS true")
    time.sleep(1)
    report = load.stop()
    assert (report.failed, report.missing) == (0, [])


def test_draining_one_process_to_restart_it_is_met_by_nobody(fresh_sandbox: Sandbox) -> None:
    """The careful restart: no request fails while each process is replaced in turn."""
    load = load_on(fresh_sandbox)
    for name in fresh_sandbox.upstreams:
        before = fresh_sandbox.status()[name]["pid"]
        url = fresh_sandbox.control_url
        with httpx.Client(base_url=url, trust_env=False, timeout=60) as control:
            drained = control.post("/drain", params={"upstream": name, "patience": 30}).json()
            assert drained["ok"]
            fresh_sandbox.restart(name)
            control.post("/undrain", params={"upstream": name})
        assert fresh_sandbox.status()[name]["pid"] != before
    time.sleep(1)
    report = load.stop()
    assert (report.failed, report.missing) == (0, [])


def test_lost_writes_and_an_outage_are_told(fresh_sandbox: Sandbox) -> None:
    """A database put back under load: what was acknowledged before is missing, and it shows."""
    load = load_on(fresh_sandbox)
    until(lambda: written(fresh_sandbox) > 12)
    fresh_sandbox.services()["postgresql"].stop()
    time.sleep(1)
    pristine.reset(fresh_sandbox)
    time.sleep(1)
    report = load.stop()
    # What it was late itself, it could not see.
    assert report.outage_seconds + report.own_delay_seconds >= 1.0
    assert len(report.missing) >= 8
    assert report.failed == sum(n for what, n in report.answers.items() if what.endswith("503"))


def test_the_load_goes_nowhere_but_the_loopback() -> None:
    """Another address is refused before anything is sent."""
    with pytest.raises(ValueError, match=r"only, not to http://10"):
        Load("http://10.0.0.1", "x")


def test_buckets_and_stalls_are_counted() -> None:
    """Two bad requests of one tenth of a second are one tenth of outage."""
    outcomes = [
        Outcome(10.00, 0.01, fine=True, answer="GET 200"),
        Outcome(10.11, 0.01, fine=False, answer="GET 503"),
        Outcome(10.15, 0.01, fine=False, answer="GET 503"),
        Outcome(10.31, 1.50, fine=True, answer="GET 200"),
        Outcome(10.41, 0.01, fine=True, answer="GET 200"),
    ]
    report = summarize(outcomes, seconds=2, own_delay=0, acknowledged=0, missing=[], unchecked=0)
    assert (report.requests, report.failed, report.slow) == (5, 2, 1)
    assert report.outage_seconds == 0.2
    assert report.longest_stall_seconds == pytest.approx(1.39)
    assert report.slowest_seconds == 1.5


def test_reads_do_not_hide_a_stall_of_writes() -> None:
    """A table that nobody can write to while everybody reads it is seen."""
    outcomes = [
        Outcome(10.0, 0.1, fine=True, answer="POST 201"),
        *(Outcome(10.0 + n / 10, 0.01, fine=True, answer="GET 200") for n in range(50)),
        Outcome(11.0, 3.0, fine=True, answer="POST 201"),
        Outcome(14.1, 0.1, fine=True, answer="POST 201"),
    ]
    report = summarize(outcomes, seconds=5, own_delay=0, acknowledged=3, missing=[], unchecked=0)
    assert report.longest_write_stall_seconds == pytest.approx(3.9)
    assert report.longest_stall_seconds == pytest.approx(0.1)


def test_a_load_that_is_ended_before_it_began_ends(fresh_sandbox: Sandbox) -> None:
    """SIGTERM while it logs in: nobody waits for a first request that is never sent."""
    load = Load(fresh_sandbox.url, fresh_sandbox.settings.accounts["load"])
    load.end()
    load.start()
    assert load.wait().requests == 0


def test_as_a_program_it_writes_its_report(fresh_sandbox: Sandbox, tmp_path: Path) -> None:
    """Bounded in time, with the report in a file; asked to end, it ends early."""
    out = tmp_path / "load.json"
    program = subprocess.Popen(
        [
            *(sys.executable, "-m", "infra.sandbox.load", "--home", str(fresh_sandbox.home)),
            *("--seconds", "60", "--out", str(out)),
        ],
        cwd=ROOT,
    )
    until(lambda: written(fresh_sandbox) > 6 or program.poll() is not None)
    program.terminate()
    assert program.wait(150) == 0
    report = json.loads(out.read_text())
    assert report["failed"] == 0
    assert report["requests"] > 10


def _password(target: SandboxTarget) -> str:
    """Give the load's password, from the home that the target's backups lie in."""
    settings = json.loads((target.backups_directory.parent / "sandbox.json").read_text())
    return str(settings["accounts"]["load"])
