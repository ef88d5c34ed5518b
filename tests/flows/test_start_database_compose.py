"""A server in a container that does not run, in the ways in which only containers come to it."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import yaml
from docker.models.containers import Container

from flows.database.start_database import start_database
from infra.sandbox.settings import HOST
from infra.testbed.compose.database import DATA
from infra.testbed.compose.system import ComposeSystem
from tasks.guardrails.case import Case
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tests.approving import carry_out
from tests.prefect_fixtures import Runs
from tests.snapshots import snapshot
from tests.users import log_in

pytestmark = pytest.mark.parametrize("planner", ["compose"], indirect=True)


def server_of(system: ComposeSystem) -> Container:
    """Give the server's container."""
    return system.project.container("db")


def told(case: Case) -> str:
    """Give what was found, and what a person is told to do."""
    (stage,) = case.stages
    found = stage.stage.findings
    return "\n".join(f"{one.what} {one.patch} {one.rows}" for one in found)


@contextmanager
def beside(system: ComposeSystem, name: str, *command: str) -> Iterator[Container]:
    """Run a container with the volume of the server's data, as somebody who copies files has."""
    server = server_of(system)
    (volume,) = [one["Name"] for one in server.attrs["Mounts"] if one["Destination"] == DATA]
    with closing(system.project.engine.client()) as client:
        container = client.containers.run(
            str(server.attrs["Config"]["Image"]),
            list(command),
            entrypoint=["sh", "-c"],
            name=f"{system.project.name}-{name}",
            labels={"com.docker.compose.project": system.project.name},
            volumes={volume: {"bind": "/data", "mode": "rw"}},
            network_mode="none",
            detach=True,
        )
        try:
            yield container
        finally:
            container.remove(force=True)


def test_a_removed_container_is_made_anew_on_its_data(runs: Runs, planner: ComposeSystem) -> None:
    """What it is and where its data lies is read from the compose files."""
    before, dotenv = snapshot(planner), planner.dotenv.read_text()
    server_of(planner).remove(force=True)
    case, state = carry_out(runs, planner, start_database)
    assert state.name == "Remediated", state.message
    assert "it crashed, or was killed" in told(case)
    assert "service db has none" in told(case)
    assert log_in(planner).status_code == 200
    assert snapshot(planner) == before
    assert planner.dotenv.read_text() == dotenv


def test_an_empty_pid_file_is_set_aside(runs: Runs, planner: ComposeSystem, pid_file: Path) -> None:
    """The server refuses to start for it, and the engine starts it again and again."""
    server = server_of(planner)
    planner.cluster.kill()
    pid_file.write_text("")
    server.start()
    while server.attrs["RestartCount"] < 3:
        server.reload()
    case, state = carry_out(runs, planner, start_database)
    assert state.name == "Remediated", state.message
    assert "started again by the engine" in told(case)
    assert 'FATAL: lock file "postmaster.pid" is empty' in told(case)
    aside = pid_file.with_name(f"postmaster.pid.remedy-{case.id}")
    assert aside.read_text() == ""
    aside.unlink()
    assert log_in(planner).status_code == 200


def test_a_pid_file_stays_while_another_container_has_the_volume(
    runs: Runs, planner: ComposeSystem, pid_file: Path
) -> None:
    """Two servers on one volume destroy it, and neither sees the other's processes."""
    planner.cluster.kill()
    pid_file.write_text("")
    with beside(planner, "copies", "sleep 300") as other:
        case, state = carry_out(runs, planner, start_database)
        assert state.name == "Advised", state.message
        assert f"process 1 (sh) in container {other.name} works in the data" in told(case)
        assert pid_file.read_text() == ""
        assert not planner.cluster.runs


@pytest.fixture
def published(planner: ComposeSystem) -> Iterator[int]:
    """A port of this machine at which the project's database is published; made known so."""
    port = planner.settings.ports["postgresql"]  # not in use: its address is the network's
    file = planner.folder / "published.yml"
    file.write_text(
        yaml.safe_dump({"version": "3.8", "services": {"db": {"ports": [f"{HOST}:{port}:5432"]}}})
    )
    settings = planner.target_settings()
    files = [*settings["compose_files"], file.name]
    targets.give(ComposeTarget(**{**settings, "compose_files": files}))
    up = ("up", "-d", "--no-build", "--no-deps", "db")
    planner.project.run(*up, files=files)
    yield port
    file.unlink()
    planner.project.run(*up)


def test_a_taken_port_is_told(runs: Runs, planner: ComposeSystem, published: int) -> None:
    """Who has it is named, and not ended."""
    planner.cluster.kill()
    with socket.create_server((HOST, published)):
        case, state = carry_out(runs, planner, start_database)
    assert state.name == "Advised", state.message
    assert f"taken by process {os.getpid()} (" in told(case)
    assert not planner.cluster.runs
