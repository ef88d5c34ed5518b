"""The platform is killed in the middle: what was at work ends well when it is up again."""

import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.services.platform import Platform
from infra.sandbox import pristine
from infra.sandbox.damage import Damage, damage
from infra.sandbox.processes import gone
from tasks.guardrails import faults, surface
from tasks.guardrails.approval import count, waiting_gate
from tasks.guardrails.case import Case
from tasks.guardrails.holders import holders
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import Settings
from tasks.guardrails.verify import verify
from tests.approving import Approvers
from tests.faults.sampling import sample
from tests.integration.test_services_fixtures import data, new_home, remedy
from tests.snapshots import snapshot

POINTS = ("before-apply:database.load_backup", "database.swap_databases:first-rename")
WITHIN_SECONDS = 600
pytestmark = pytest.mark.timeout(1800)


class Machine:
    """A platform with its sandbox, on which everything may be killed.

    Args:
        home: Its home.
    """

    def __init__(self, home: Path) -> None:
        """Bring it up, with a backup."""
        self.home = home
        self.up()
        filled = remedy(home, "sandbox", "up", "--rows", "5000")
        assert filled.returncode == 0, filled.stderr
        self.platform = Platform(home)
        self.sandbox = self.platform.sandbox
        self.ledger = Ledger(Settings(home=home))
        self.end(self.start("back-up-database"))
        self.sound = snapshot(self.sandbox)
        pristine.keep(self.sandbox)

    def up(self, fault: str = "") -> None:
        """Bring up what does not run; the worker with a fault armed in its runs."""
        done = remedy(self.home, "up", **{faults.VARIABLE: fault})  # type: ignore[arg-type] # no timeout
        assert done.returncode == 0, done.stderr

    def start(self, name: str) -> str:
        """Start a remediation, and give its id."""
        started = data(self.home, "run", name, "--target", "sandbox", "--reason", "test")
        return str(started["remediation"])

    def restore(self, point: str) -> str:
        """Delete rows, and start to restore them; the run stops itself at a point."""
        pristine.reset(self.sandbox)
        damage(self.sandbox, Damage.ROWS_DELETED)
        self.kill("worker")
        trace = self.home / "trace"
        trace.unlink(missing_ok=True)
        self.up(f"STOP={point}#1 TRACE={trace}")
        return self.start("restore-from-backup")

    def case(self, remediation: str) -> Case:
        """Read a case."""
        return Case.read(self.ledger, remediation)

    def approve(self, remediation: str) -> None:
        """Approve what it waits for, if it does."""
        case = self.case(remediation)
        if case.open_gate is None or not count(self.ledger, case, waiting_gate(case)).is_open:
            return
        Approvers(self.ledger).approve_gate(case)
        settings = self.platform.settings
        assert settings is not None
        with temporary_settings({PREFECT_API_URL: settings.api_url}):
            surface.wake(case.runs[-1])  # where it does not, the reaper does

    def until(self, remediation: str, what: Callable[[], object]) -> None:
        """Wait for something, approving what is asked for meanwhile."""
        give_up = time.monotonic() + WITHIN_SECONDS
        while not what():
            self.approve(remediation)
            shown = [entry.kind for entry in self.case(remediation).entries]
            assert time.monotonic() < give_up, shown
            time.sleep(0.1)

    def stopped(self) -> list[psutil.Process]:
        """Find the runs that have stopped themselves."""
        worker = self.platform.status()
        pids = [state.pid for state in worker if state.name == "worker" and state.pid]
        family = [one for pid in pids for one in psutil.Process(pid).children(recursive=True)]
        return [one for one in family if _is_stopped(one)]

    def kill(self, *names: str) -> None:
        """Kill services with all that they started, at once; all of them by default."""
        found = []
        for state in self.platform.status():
            if state.pid and (not names or state.name in names):
                process = psutil.Process(state.pid)
                found += [process, *process.children(recursive=True)]
        for one in found:
            with suppress(psutil.NoSuchProcess):  # the end of its parent has ended it
                one.kill()
        assert all(gone(one, 60) for one in found)

    def end(self, remediation: str) -> str:
        """Wait until a remediation has ended and said so, and give the outcome."""
        self.until(remediation, lambda: self.case(remediation).of_kind("reported"))
        return self.case(remediation).outcome


def _is_stopped(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):  # the worker's programs come and go
        return bool(process.status() == psutil.STATUS_STOPPED)
    return False


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    """A machine of the module's own."""
    home = new_home()
    try:
        yield Machine(home)
    finally:
        remedy(home, "down", "--force")
        shutil.rmtree(home, ignore_errors=True)


def killed_with(machine: Machine, point: str, killed: tuple[str, ...] = ()) -> str:
    """Kill services with the run that is at work in the worker."""
    remediation = machine.restore(point)
    machine.until(remediation, machine.stopped)
    machine.kill(*killed)
    return remediation


def killed_while_a_run_acts(machine: Machine, point: str) -> str:
    """Kill Prefect's server in the middle of a change; the run goes on without it."""
    remediation = machine.restore(point)
    machine.until(remediation, machine.stopped)
    machine.kill("prefect-server")
    said, runs = len(machine.case(remediation).entries), machine.stopped()
    for one in runs:
        one.send_signal(signal.SIGCONT)
    machine.until(
        remediation,
        lambda: (
            len(machine.case(remediation).entries) > said or all(gone(one, 0.1) for one in runs)
        ),
    )
    time.sleep(5)
    return remediation


def killed_while_a_run_waits(machine: Machine) -> str:
    """Kill Prefect's server while approval is waited for."""
    remediation = machine.restore("never")
    give_up = time.monotonic() + WITHIN_SECONDS
    while machine.case(remediation).open_gate is None:
        assert time.monotonic() < give_up
        time.sleep(0.1)
    machine.kill("prefect-server")
    time.sleep(2)
    return remediation


DEATHS: dict[str, Callable[[Machine], str]] = {
    "the server while a run waits": killed_while_a_run_waits,
    **{f"everything at {point}": partial(killed_with, point=point) for point in POINTS},
    **{
        f"the worker at {point}": partial(killed_with, point=point, killed=("worker",))
        for point in POINTS
    },
    **{f"the server at {point}": partial(killed_while_a_run_acts, point=point) for point in POINTS},
}


@pytest.mark.parametrize("death", sample(list(DEATHS), 2))
def test_what_was_at_work_ends_well(machine: Machine, death: str) -> None:
    """Whatever is killed: when it is up again, the remediation is recovered and ends well."""
    remediation = DEATHS[death](machine)
    machine.up()
    assert machine.end(remediation) == "remediated"
    assert snapshot(machine.sandbox) == machine.sound
    assert verify(machine.ledger).is_sound
    # Its lease is given up a moment after its end is told.
    machine.until(
        remediation,
        lambda: not any(one.is_live and not one.is_dead for one in holders(machine.ledger)),
    )
