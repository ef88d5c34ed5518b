"""A pool of its own for each test, and real workers of it."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.client.schemas.objects import FlowRun, State
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelling

from deployments.worker import pool
from deployments.worker.installed import entrypoint_of
from tasks.guardrails.case import Case, id_of_run
from tasks.guardrails.ledger import Ledger
from tests.integration import test_worker_flows
from tests.waiting import until

ROOT = Path(__file__).parents[2]
_PATIENCE_SECONDS = 180


class Workers:
    """A pool with the deployments of the tests' catalogue, and workers of it."""

    def __init__(self, home: Path) -> None:
        """Make the pool."""
        self.home, self.folder = home, home / "toy"
        self.folder.mkdir(exist_ok=True)
        self.pool = f"pool-{uuid4().hex[:8]}"
        self.started: list[subprocess.Popen[bytes]] = []
        with self.client() as client:
            pool.prepare(client, self.pool)
            for flow in test_worker_flows.FLOWS.values():
                self.register(client, flow.name)

    @staticmethod
    def client() -> SyncPrefectClient:
        """Give a client of the API."""
        return get_client(sync_client=True)

    def register(self, client: SyncPrefectClient, flow_name: str, /, **other: Any) -> UUID:  # noqa: ANN401 - any field
        """Register a deployment as we do, but for what is given."""
        flow = test_worker_flows.FLOWS[flow_name]
        fields = {
            "flow_id": client.create_flow(flow),
            "name": flow_name,
            "work_pool_name": self.pool,
            "entrypoint": entrypoint_of(flow),
            "pull_steps": [],
            "job_variables": {},
            **other,
        }
        return client.create_deployment(**fields)

    def start(self, **settings: Any) -> "subprocess.Popen[bytes]":  # noqa: ANN401 - any setting
        """Start a worker, and wait until it takes runs."""
        number = len(self.started)
        log = self.log(number)
        given = {f"REMEDY_WORKER_{key.upper()}": str(value) for key, value in settings.items()}
        with log.open("wb") as file:
            process = subprocess.Popen(
                self.command(),
                cwd=ROOT,
                env={**self.environment(number), **given},
                stdout=file,
                stderr=file,
            )
        self.started.append(process)
        until(lambda: "runs at once" in log.read_text() or process.poll() is not None)
        assert process.poll() is None, log.read_text()
        return process

    def command(self) -> list[str]:
        """Give the command of a worker."""
        return [sys.executable, "-m", "tests.integration.test_worker_process", self.pool]

    def environment(self, number: int) -> dict[str, str]:
        """Give the environment of a worker."""
        return {
            **os.environ,
            "PREFECT_API_URL": PREFECT_API_URL.value() or "",
            "REMEDY_HOME": str(self.home),
            "WORKER_TEST_FOLDER": str(self.folder),
            "REMEDY_WORKER_NAME": f"worker {number} of {self.pool}",
        }

    def log(self, number: int = 0) -> Path:
        """Give the log of a worker."""
        return self.home / f"worker-{number}.log"

    def create(self, flow_name: str, job_variables: Any = None, /, **parameters: Any) -> FlowRun:  # noqa: ANN401 - any flow's
        """Create a run of a deployment."""
        with self.client() as client:
            deployment = client.read_deployment_by_name(f"{flow_name}/{flow_name}")
            return client.create_flow_run_from_deployment(
                deployment.id, parameters=parameters, job_variables=job_variables
            )

    def read(self, run: FlowRun) -> FlowRun:
        """Read a run as it is now."""
        with self.client() as client:
            return client.read_flow_run(run.id)

    def worker_of(self, run: FlowRun) -> str | None:
        """Give the name of the worker that took a run; it is told beside, maybe later."""
        found = self.read(run).labels.get("prefect.worker.name")
        return str(found) if found else None

    def end(self, run: FlowRun) -> State[Any]:
        """Wait until a run has ended."""
        ended = until(lambda: (now := self.read(run)).state and now.state.is_final() and now)
        state: State[Any] = ended.state
        return state

    def pid(self, run: FlowRun) -> int:
        """Wait until a run has a process, and give its pid."""
        return int(until(lambda: self.read(run).infrastructure_pid).split(":")[1])

    def cancel(self, run: FlowRun) -> None:
        """Cancel a run as the UI does."""
        with self.client() as client:
            client.set_flow_run_state(run.id, Cancelling())

    def reached(self, name: str) -> None:
        """Wait until a held change is at work."""
        until((self.folder / f"reached-{name}").exists)

    def outcome(self, run: FlowRun) -> str:
        """Wait until the remediation of a run has its outcome in the ledger."""
        found = until(lambda: Case.read(Ledger(), id_of_run(str(run.id))).outcome)
        return str(found)

    def logs(self, run: FlowRun) -> list[str]:
        """Give what a run logged."""
        with self.client() as client:
            found = client.read_logs(
                LogFilter(flow_run_id=LogFilterFlowRunId(any_=[run.id])), limit=200
            )
        return [one.message for one in found]

    def stop(self) -> None:
        """End all workers, and what they run."""
        for hold in self.folder.glob("hold-*"):
            hold.unlink()
        for process in self.started:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGTERM)
        for process in self.started:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def workers(prefect_server: None, home: Path) -> Iterator[Workers]:  # noqa: ARG001 - it has to run
    """Give a pool without workers yet."""
    made = Workers(home)
    yield made
    made.stop()
