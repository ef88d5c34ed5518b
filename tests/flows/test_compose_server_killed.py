"""A process that dies with -9 while it mends a server in a container; its recovery ends it well."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_URL
from prefect.states import Crashed

from flows.database.initialise_database import initialise_database
from flows.database.start_database import start_database
from flows.help.recover_remediation import recover_remediation
from infra.testbed.compose.system import ComposeSystem
from tasks.guardrails import recovery, surface
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.remediation import Remediation
from tests.approving import Approvers
from tests.prefect_fixtures import Runs
from tests.snapshots import snapshot
from tests.users import log_in

pytestmark = pytest.mark.parametrize("planner", ["compose"], indirect=True)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody wait for the lease of a process that is gone."""
    monkeypatch.setattr(recovery, "_GRACE", timedelta(0))


def die_at(point: str, runs: Runs, planner: ComposeSystem, flow: Remediation, home: Path) -> str:
    """Approve a remediation, and have its process die at a point; gives its id."""
    run, state = runs.start(flow, target=planner.settings.name)
    assert state is None
    Approvers(Ledger()).approve_gate(Case.read(Ledger(), runs.id_of(run)))
    assert surface.wake(str(run.id)) == ""
    fields = home / "target.json"
    fields.write_text(json.dumps(planner.target_settings()))
    name = flow.planner.__name__
    died = subprocess.run(
        [
            *(sys.executable, "-m", "tests.run_in_process", str(run.id)),
            *(f"{flow.planner.__module__}:{name}", f"compose={fields}"),
        ],
        env={
            **os.environ,
            "PREFECT_API_URL": PREFECT_API_URL.value() or "",
            "REMEDY_FAULT": f"KILL={point}",
        },
        check=False,
        capture_output=True,
        timeout=300,
    )
    assert died.returncode == -signal.SIGKILL, died.stderr.decode()[-2000:]
    return crashed(runs, run)


def crashed(runs: Runs, run: FlowRun) -> str:
    """Tell Prefect what its worker would, and have the reaper find it; gives its id."""
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Crashed(), force=True)
    assert recovery.reap(Ledger(), lambda _id, _key: None) == [runs.id_of(run)]
    return runs.id_of(run)


def recovered(runs: Runs, remediation: str) -> str:
    """Let the recovery run; gives its outcome."""
    _, state = runs.start(recover_remediation, remediation=remediation)
    assert state is not None
    return str(state.name)


def test_a_start_is_taken_up(
    runs: Runs, planner: ComposeSystem, home: Path, pid_file: Path
) -> None:
    """Each row is there, and the file that was in the way is kept."""
    before = snapshot(planner)
    planner.cluster.kill()
    pid_file.write_text("")
    point = "after-apply:database.set_pid_file_aside"
    remediation = die_at(point, runs, planner, start_database, home)
    assert recovered(runs, remediation) == "Remediated"
    assert log_in(planner).status_code == 200
    assert snapshot(planner) == before
    pid_file.with_name(f"postmaster.pid.remedy-{remediation}").unlink()


@pytest.fixture
def emptied(planner: ComposeSystem) -> Iterator[None]:
    """A project whose data was never made; what was there is put back afterwards."""
    data, kept = planner.cluster.data, planner.cluster.data.with_name("postgresql-kept")
    planner.cluster.stop()
    kept.mkdir()
    for path in data.iterdir():
        path.rename(kept / path.name)
    yield
    planner.cluster.stop()
    subprocess.run(["find", data, "-mindepth", "1", "-delete"], check=True)
    for path in [*kept.iterdir()]:
        path.rename(data / path.name)
    kept.rmdir()


@pytest.mark.usefixtures("emptied")
def test_a_server_that_is_being_made_is_waited_for(
    runs: Runs, planner: ComposeSystem, home: Path
) -> None:
    """Its entrypoint goes on without us: it is neither begun again nor set aside."""
    remediation = die_at(
        "database.initialise_server:entrypoint-started", runs, planner, initialise_database, home
    )
    assert recovered(runs, remediation) == "Remediated"
    assert log_in(planner).status_code == 401  # nobody is in it yet
    case = Case.read(Ledger(), remediation)
    assert not case.of_kind("reverted", "failed")
