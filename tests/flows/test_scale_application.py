"""scale_application on a compose project that is shaped as in the field, under load."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from docker.models.containers import Container

from flows.database.rotate_database_password import rotate_database_password
from flows.help.undo_remediation import undo_remediation
from flows.performance.scale_application import scale_application
from infra.testbed.compose.project import OF_PROJECT, OF_SERVICE
from infra.testbed.compose.system import ComposeSystem
from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms import targets
from tasks.platforms.compose.inside import said_inside
from tasks.platforms.compose.target import ComposeTarget
from tests.approving import carry_out
from tests.prefect_fixtures import Runs
from tests.users import under_load
from tests.waiting import until

PORTS = '    ports:\n      - "${APP_PORT:-8000}:8000"\n'


@dataclass
class Project:
    """A compose project whose containers and files are looked at from outside."""

    system: ComposeSystem

    def containers(self) -> list[Container]:
        """Give the application's containers, sorted by name."""
        name = self.system.project.name
        labels = [f"{OF_PROJECT}={name}", f"{OF_SERVICE}=app"]
        with closing(self.system.project.engine.client()) as client:
            found = client.containers.list(all=True, filters={"label": labels})
        return sorted(found, key=lambda one: str(one.name))

    def ids(self) -> dict[str, tuple[str, str]]:
        """Say which container each is, and since when it runs."""
        return {
            str(one.name): (str(one.id), str(one.attrs["State"]["StartedAt"]))
            for one in self.containers()
        }

    def served(self) -> dict[str, int]:
        """Count the connections from nginx that each container's kernel knows of."""
        (nginx,) = (self.system.project.address("nginx"),)
        end = "".join(f"{int(part):02X}" for part in reversed(nginx.split(".")))
        found = {}
        for one in self.containers():
            _, said = said_inside(one, ["cat", "/proc/net/tcp"])
            found[str(one.name)] = sum(
                row.split()[2].startswith(end) for row in said.splitlines()[1:]
            )
        return found

    def texts(self) -> dict[str, bytes]:
        """Read the files of the project, nginx's configuration among them."""
        folder = self.system.folder
        return {
            one.relative_to(folder).as_posix(): one.read_bytes()
            for one in folder.rglob("*")
            if one.is_file()
        }


@pytest.fixture
def project(fresh_compose: ComposeSystem, home: Path) -> Iterator[Project]:
    """A fresh project, known as a target; files and containers are as before afterwards."""
    assert home
    found = Project(fresh_compose)
    targets.give(ComposeTarget(**fresh_compose.target_settings()))
    before = found.texts()
    yield found
    differs = found.texts() != before or len(found.containers()) > 1
    for name, data in before.items():
        (fresh_compose.folder / name).write_bytes(data)
    if differs:
        for one in found.containers():
            one.remove(force=True)
        fresh_compose.up()


def test_more_containers_share_the_load_and_go_again(runs: Runs, project: Project) -> None:
    """No request fails; the first is not touched; `up` keeps them; undone, all is as before."""
    before, first = project.texts(), project.ids()
    with under_load(project.system):
        case, state = carry_out(
            runs, project.system, scale_application, replicas=3, resolve="nginx"
        )
        assert state.name == "Remediated", state.message
        until(lambda: min(project.served().values()) > 0)
    now = project.ids()
    assert len(now) == 3
    assert first.items() <= now.items()
    file = project.texts()["docker-compose.yml"].decode()
    base = before["docker-compose.yml"].decode()
    assert "-app\n" in base
    assert PORTS in base
    assert file == base.replace(
        "    container_name: ${CONTAINER_PREFIX:-planner}-app\n", ""
    ).replace(PORTS, "")
    assert "replicas: 3" in project.texts()["docker-compose.prod.yml"].decode()
    project.system.project.run("up", "-d", "--no-build", "--no-recreate")
    assert project.ids() == now
    with under_load(project.system):
        _, undone = carry_out(runs, project.system, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert (project.texts(), project.ids()) == (before, first)


@pytest.fixture
def scaled(project: Project) -> Project:
    """The project with three containers, as a person makes them who edits the files."""
    folder = project.system.folder
    base = folder / "docker-compose.yml"
    base.write_text(
        base.read_text()
        .replace("    container_name: ${CONTAINER_PREFIX:-planner}-app\n", "")
        .replace(PORTS, "    scale: 3\n")
    )
    project.system.project.run("up", "-d", "--no-build", "--no-recreate")
    project.system.up()  # which has nginx look the containers up
    return project


def test_fewer_are_drained_first_and_settings_reach_each_of_several(
    runs: Runs, scaled: Project
) -> None:
    """Each is made anew in its turn, under its name; then one goes, and no request fails."""
    before, system = scaled.ids(), scaled.system
    with under_load(system):
        _, state = carry_out(runs, system, rotate_database_password)
        assert state.name == "Remediated", state.message
        rolled = scaled.ids()
        case, state = carry_out(runs, system, scale_application, replicas=2)
        assert state.name == "Remediated", state.message
        until(lambda: min(scaled.served().values()) > 0)
    assert rolled.keys() == before.keys()
    assert not set(rolled.values()) & set(before.values())
    left = scaled.ids()
    assert len(left) == 2
    assert left.items() < rolled.items()
    assert "    scale: 2\n" in scaled.texts()["docker-compose.yml"].decode()
    assert "server app:8000;" in scaled.texts()["nginx/nginx.conf"].decode()
    _, state = carry_out(runs, system, undo_remediation, remediation=case.id)
    assert state.name == "Remediated", state.message
    assert left.items() < scaled.ids().items()
    assert len(scaled.ids()) == 3


def test_conflicts_are_told_and_nothing_is_touched(runs: Runs, project: Project) -> None:
    """What makes the guide's command fail is named, with the lines that have to go."""
    with pytest.raises(PreconditionFailed):
        project.system.project.run("up", "-d", "--no-build", "--scale", "app=3", "app")
    project.system.up()
    before, same = project.texts(), project.ids()
    case, state = carry_out(runs, project.system, scale_application, replicas=3)
    assert state.name == "Advised", state.message
    told = case.stages[0].stage.findings[1]
    assert f"container_name {project.system.project.name}-app: only one" in told.what
    assert (
        f"port 127.0.0.1:{project.system.settings.ports['application-1']} of the host" in told.what
    )
    assert '-      - "${APP_PORT:-8000}:8000"' in told.patch
    assert "+      replicas: 3" in told.patch
    assert (project.texts(), project.ids()) == (before, same)


def test_it_is_taken_back_where_a_new_one_does_not_serve(
    runs: Runs, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A container that comes up and answers nobody's log-in never gets a request."""
    before, same = project.texts(), project.ids()
    dotenv = project.system.dotenv
    dotenv.write_text(dotenv.read_text().replace("POSTGRES_DB=planner", "POSTGRES_DB=postgres"))
    broken = project.texts()
    with under_load(project.system):
        _, state = carry_out(runs, project.system, scale_application, replicas=2, resolve="nginx")
    assert state.name == "Undone", state.message
    assert "to serve the probe account before it gets requests" in (state.message or "")
    assert (project.texts(), project.ids()) == (broken, same)
    dotenv.write_bytes(before[".env"])
    monkeypatch.setenv(faults.VARIABLE, "FAIL=after-made:compose.scaling")
    _, state = carry_out(runs, project.system, scale_application, replicas=2, resolve="nginx")
    assert state.name == "Undone", state.message
    assert (project.texts(), project.ids()) == (before, same)


def test_what_could_not_be_shared_is_refused(runs: Runs, project: Project) -> None:
    """Sessions, connections, requests: each of them is named, and nothing is touched."""
    system, dotenv = project.system, project.system.dotenv
    same, text = project.ids(), dotenv.read_text()

    def refused(**asked: object) -> str:
        _, state = carry_out(
            runs, system, scale_application, **{"replicas": 3, "resolve": "nginx", **asked}
        )
        assert state.name == "Refused", state.message
        return state.message or ""

    assert "600 connections to the database: 3 containers of 2 workers" in refused(pool=100)
    secret = next(line for line in text.splitlines() if line.startswith("SECRET_KEY="))
    dotenv.write_text(text.replace(secret, "SECRET_KEY="))
    assert "SECRET_KEY is not set: each process would make its own" in refused()
    dotenv.write_text(text)
    file = system.folder / "nginx" / "nginx.conf"
    shipped = file.read_text()
    file.write_text(shipped.replace("http://planner;", "http://app:8000;"))
    assert "names app:8000 beside the upstream block" in refused()
    file.write_text(shipped)
    base = system.folder / "docker-compose.yml"
    shipped = base.read_text()
    fixed = "    networks:\n      planner-network: {ipv4_address: 172.30.0.9}\n"
    before, after = shipped.split("  app:\n")
    anywhere = "    networks:\n      - planner-network\n"
    base.write_text(f"{before}  app:\n{after.replace(anywhere, fixed, 1)}")
    assert "a fixed address in network planner-network" in refused()
    base.write_text(shipped)
    assert project.ids() == same
