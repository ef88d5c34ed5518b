"""A scene: a system under load, broken anew for each run of a remediation, which runs apart."""

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.states import Crashed

from flows.help.recover_remediation import recover_remediation
from infra.sandbox import pristine
from infra.sandbox.load import USER, Load
from tasks.guardrails import faults, recovery, surface
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.remediation import Remediation
from tasks.platforms import targets
from tests.approving import Approvers
from tests.faults import in_child
from tests.faults.grounds import Ground
from tests.faults.inventory import Inventory, inventory
from tests.faults.scenarios import NOBODY_LOGS_IN, SCENARIOS, nothing
from tests.prefect_fixtures import Runs
from tests.snapshots import Snapshot, snapshot

# Short, as it is waited for; a busy machine still renews it in time, every third of it.
LEASE_SECONDS = 15
KILLED = "killed"
_MOST_GATES = 8
_LOAD_RATE = 10


@dataclass(frozen=True)
class Picture:
    """How a system looks: schema, rows, and what lies around."""

    rows: Snapshot
    around: Inventory


class Scene:
    """A system under load, broken anew for each run of a remediation.

    Args:
        ground: A system whose pristine copy was kept, without backups.
        runs: To start runs with.
        flow: The remediation.
        homes: A folder for the homes: each run has a ledger of its own.
        scenario: Name of what breaks the system; that of the remediation by default.
    """

    def __init__(
        self, ground: Ground, runs: Runs, flow: Remediation, homes: Path, scenario: str = ""
    ) -> None:
        """Know them; breaks nothing yet."""
        self.ground, self.runs, self.flow = ground, runs, flow
        self.scenario = scenario or flow.planner.__name__
        self.planner = ground.planner
        self._homes = (homes / f"home-{number}" for number in itertools.count())
        self._kept: set[Path] = set()
        self._patch = pytest.MonkeyPatch()
        self.home = homes
        self.reach_database_by(None)

    def reach_database_by(self, port: int | None) -> None:
        """Have the target's database reached through a port."""
        self._port = port
        targets.give(self.ground.target(port))

    @property
    def ledger(self) -> Ledger:
        """The ledger of the run at work."""
        return Ledger()

    @property
    def trace(self) -> Path:
        """The file in which the run at work counts the points that it passes."""
        return self.home / "trace"

    def backups(self) -> list[Path]:
        """List the backups that there are."""
        return sorted(self.planner.backups.iterdir())

    def keep_backups(self) -> None:
        """Let the backups that there are stay from one run to the next."""
        self._kept = set(self.backups())

    def carry_out(self, flow: Flow[..., Any], **parameters: Any) -> str:  # noqa: ANN401 - any flow's parameters
        """Carry an earlier remediation out, and give its id."""
        run, state = self.runs.start(flow, target=self.planner.settings.name, **parameters)
        if state is None:
            state = Approvers(self.ledger).approve_until_it_ends(self.runs, run)
        assert state.name == "Remediated", state.message
        return self.runs.id_of(run)

    @contextmanager
    def broken(self) -> Iterator[FlowRun]:
        """Break the system, put it under load, and give a run of the remediation."""
        self.home = next(self._homes)
        self.home.mkdir()
        self._patch.setenv("REMEDY_HOME", str(self.home))
        self._patch.setenv("REMEDY_LEASE_SECONDS", str(LEASE_SECONDS))
        self._patch.setattr(recovery, "_GRACE", timedelta(0))
        self.ground.reset()
        pristine.discard(set(self.backups()) - self._kept)
        name = self.flow.planner.__name__
        scenario = SCENARIOS.get(self.scenario, nothing)
        accounts = self.planner.settings.accounts
        load = Load(self.planner.url, accounts[USER], rate=_LOAD_RATE)
        if name in NOBODY_LOGS_IN:
            load.start()
        parameters = {"target": self.planner.settings.name, **scenario(self)}
        if name not in NOBODY_LOGS_IN:
            load.start()
        try:
            yield self.runs.create(self.flow, **parameters)
        finally:
            with suppress(httpx.HTTPError):  # where nobody logs in as before, the load neither
                load.stop()
            self._patch.undo()

    def picture(self) -> Picture:
        """Look at the system, without what the load writes; of a database that is away nothing."""
        rows = Snapshot("", (), "")
        with suppress(psycopg.OperationalError):
            rows = snapshot(self.planner, without_load=True)
        return Picture(rows, inventory(self.ground))

    def start(self, run: FlowRun, host: str = "", **armed: str) -> BaseProcess:
        """Start to execute a run in a process of its own.

        Args:
            run: The run.
            host: The host on which it believes to be; this one by default.
            armed: Faults, as `faults` has them.
        """
        armed = {"TRACE": str(self.trace), **armed}
        return in_child.start(
            str(run.id),
            f"{self.flow.planner.__module__}:{self.flow.planner.__name__}",
            self.ground.argument(self.home, self._port),
            host,
            REMEDY_HOME=str(self.home),
            REMEDY_LEASE_SECONDS=str(LEASE_SECONDS),
            **{faults.VARIABLE: " ".join(f"{what}={where}" for what, where in armed.items())},
        )

    def execute(self, run: FlowRun, **armed: str) -> str:
        """Execute a run, with the approvals that it asks for, until it ends or its process dies.

        Returns:
            Name of its last state, or `KILLED`.
        """
        for _ in range(_MOST_GATES):
            child = self.start(run, **armed)
            child.join()
            if child.exitcode:
                return KILLED if child.exitcode == -signal.SIGKILL else f"exit {child.exitcode}"
            state = self.state_of(run)
            if not state.is_paused():
                return str(state.name)
            self.approve(run)
        return "it waits on and on"

    def stop_at(self, run: FlowRun, point: str, host: str = "") -> BaseProcess:
        """Execute a run, with the approvals that it asks for, until it stops itself at a point.

        Returns:
            Its process, stopped.
        """
        for _ in range(_MOST_GATES):
            child = self.start(run, host, STOP=f"{point}#1")
            while child.is_alive():
                with suppress(psutil.NoSuchProcess):  # it ends at the next gate
                    if psutil.Process(child.pid).status() == psutil.STATUS_STOPPED:
                        return child
                time.sleep(0.01)
            assert self.state_of(run).is_paused(), self.state_of(run)
            self.approve(run)
        message = f"{point} was never passed"
        raise AssertionError(message)

    def go_on(
        self, child: BaseProcess, run: FlowRun, wait: Callable[[], object] | None = None
    ) -> str:
        """Let a stopped process go on, and the run come to its end, by recovery if need be.

        Args:
            child: The process.
            run: Its run.
            wait: Waits for what has to be there before anything else goes on.
        """
        assert child.pid
        os.kill(child.pid, signal.SIGCONT)
        child.join()
        if wait:
            wait()
        if self.state_of(run).is_paused():
            self.approve(run)
            return self.end(run, self.execute(run))
        return self.end(run, str(self.state_of(run).name))

    def end(self, run: FlowRun, name: str) -> str:
        """Give the state in which a run has ended well, or that of its recovery."""
        case = Case.read(self.ledger, self.runs.id_of(run))
        return name if case.of_kind("reported") else self.recover(run)

    def state_of(self, run: FlowRun) -> State[Any]:
        """Read the run's state."""
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run.id).state
        assert state is not None
        return state

    def approve(self, run: FlowRun) -> None:
        """Approve what a run waits for, and wake it."""
        Approvers(self.ledger).approve_gate(Case.read(self.ledger, self.runs.id_of(run)))
        assert surface.wake(str(run.id)) == ""

    def recover(self, run: FlowRun) -> str:
        """Do what the worker and the reaper do where a process died, until it has ended."""
        with get_client(sync_client=True) as client:
            client.set_flow_run_state(run.id, Crashed(), force=True)
        remediation = self.runs.id_of(run)
        found = recovery.reap(self.ledger, lambda _id, _key: None)
        if not found:
            return str(Case.read(self.ledger, remediation).outcome).capitalize()
        assert found == [remediation]
        recovering, state = self.runs.start(recover_remediation, remediation=remediation)
        for _ in range(_MOST_GATES):
            if state is not None:
                return str(state.name)
            Approvers(self.ledger).approve_gate(Case.read(self.ledger, remediation))
            state = self.runs.wake(recovering)
        return "its recovery waits on and on"
