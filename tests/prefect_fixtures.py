"""A real Prefect server, and runs of deployments carried out in this process."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.settings import PREFECT_SERVER_DATABASE_CONNECTION_URL
from prefect.testing.utilities import prefect_test_harness

from infra.sandbox.settings import SandboxSettings
from tasks.guardrails import approvers, keys, surface
from tasks.guardrails.case import id_of_run


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Start Prefect's server once for the session."""
    with prefect_test_harness(server_startup_timeout=150), _no_secret_in(prefect_database()):
        yield


def prefect_database() -> Path:
    """Give the file of the server's database."""
    return Path(str(PREFECT_SERVER_DATABASE_CONNECTION_URL.value()).partition("///")[2])


@contextmanager
def _no_secret_in(database: Path) -> Iterator[None]:
    """Make sure that no secret that was made meanwhile is in the server's database.

    Secrets of approvers, master keys, and every password of a sandbox.
    """
    made: set[str] = set()
    add, write, save = approvers.add, keys.write_keys, SandboxSettings.save

    def remember(*given: Any, **named: Any) -> approvers.Enrolment:  # noqa: ANN401 - as `add` takes
        enrolment = add(*given, **named)
        made.add(enrolment.secret)
        return enrolment

    def remember_key(path: Path, written: keys.Keys) -> None:
        made.add(written.text().partition(",")[0])
        write(path, written)

    def remember_passwords(settings: SandboxSettings, path: Path) -> None:
        named = ("superuser_password", "application_password", "maintenance_password", "secret_key")
        made.update(getattr(settings, name) for name in named)
        made.update(settings.accounts.values())
        save(settings, path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(approvers, "add", remember)
        patch.setattr(keys, "write_keys", remember_key)
        patch.setattr(SandboxSettings, "save", remember_passwords)
        yield
    held = b"".join(path.read_bytes() for path in database.parent.glob(f"{database.name}*"))
    assert [secret for secret in made if secret.encode() in held] == []


class Runs:
    """Creates runs of flows as deployments, and executes them as a worker would."""

    def __init__(self) -> None:
        """Know the flows by the runs that were created of them."""
        self._flows: dict[UUID, Flow[..., Any]] = {}

    def create(self, flow: Flow[..., Any], *, ticket: str = "", **parameters: Any) -> FlowRun:  # noqa: ANN401 - any flow's parameters
        """Create a run of the flow's deployment."""
        with get_client(sync_client=True) as client:
            flow_id = client.create_flow(flow)
            deployment = client.create_deployment(flow_id=flow_id, name=flow.name)
            run = client.create_flow_run_from_deployment(
                deployment, parameters=parameters, idempotency_key=ticket or None
            )
        self._flows[run.id] = flow
        return run

    def execute(self, run: FlowRun) -> State[Any] | None:
        """Execute a run until it ends or suspends; None where it suspended."""
        with get_client(sync_client=True) as client:
            now = client.read_flow_run(run.id)
        flow = self._flows[run.id]
        try:
            state = run_flow(flow, flow_run=now, parameters=now.parameters, return_type="state")
        except Pause:
            return None
        assert isinstance(state, State)
        return None if state.is_paused() else state

    def start(self, flow: Flow[..., Any], **parameters: Any) -> tuple[FlowRun, State[Any] | None]:  # noqa: ANN401 - the same
        """Create a run and execute it."""
        run = self.create(flow, **parameters)
        return run, self.execute(run)

    def resume(self, run: FlowRun, **typed: str) -> State[Any] | None:
        """Resume with what is typed into Prefect's form, and execute."""
        with get_client(sync_client=True) as client:
            answer = client.resume_flow_run(run.id, run_input=typed or None)
        assert answer.status.value == "ACCEPT", answer
        return self.execute(run)

    def wake(self, run: FlowRun) -> State[Any] | None:
        """Resume as the command line does after a decision in the ledger."""
        assert surface.wake(str(run.id)) == ""
        return self.execute(run)

    @staticmethod
    def id_of(run: FlowRun) -> str:
        """Give the id of the remediation that a run started."""
        return id_of_run(str(run.id))


@pytest.fixture
def runs(prefect_server: None) -> Runs:  # noqa: ARG001 - it has to run
    """Give a way to create and execute runs."""
    return Runs()
