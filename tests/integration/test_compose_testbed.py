"""The compose project of tests: a user is served, and nothing of it is left behind."""

import os
import shutil
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import httpx
import pytest
from docker.errors import NotFound

from infra.testbed.compose.project import OF_PROJECT, remove_project
from infra.testbed.compose.system import ComposeSystem
from infra.testbed.docker.compose_program import Compose, find_v1
from infra.testbed.docker.daemon import Daemon
from infra.testbed.docker.engine import Engine
from infra.testbed.docker.images import provide_images
from tasks.platforms.compose.engine import OF_TARGET, OF_TOKEN
from tasks.platforms.compose.target import ComposeTarget
from tests.compose_fixtures import CACHE, PREFIX, project_on
from tests.users import log_in
from tests.waiting import until


def write_and_read(system: ComposeSystem) -> None:
    """Write as a user who is logged in, through nginx, and read it back."""
    token = log_in(system).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=system.url, headers=headers, trust_env=False, timeout=30) as client:
        made = client.post("/api/v1/programs", json={"name": "Made on compose"})
        assert made.status_code == 201, made.text
        assert made.headers["server"].startswith("nginx")
        read = client.get(f"/api/v1/programs/{made.json()['id']}")
        assert read.json()["name"] == "Made on compose"


def left_of(engine: Engine, name: str) -> list[str]:
    """Name what a project has on an engine."""
    labelled: dict[str, str | list[str] | bool] = {"label": f"{OF_PROJECT}={name}"}
    with closing(engine.client()) as client:
        return [
            *(str(one.name) for one in client.containers.list(all=True, filters=labelled)),
            *(str(one.name) for one in client.networks.list(filters=labelled)),
            *(str(one.name) for one in client.volumes.list(filters=labelled)),
        ]


def test_a_user_is_served_and_the_state_comes_back(fresh_compose: ComposeSystem) -> None:
    """Log in, write and read through nginx; a reset takes back what was written."""
    write_and_read(fresh_compose)
    count = "SELECT count(*) FROM programs WHERE name = 'Made on compose'"
    with fresh_compose.connect() as session:
        assert session.execute(count).fetchone() == (1,)
    fresh_compose.reset()
    with fresh_compose.connect() as session:
        assert session.execute(count).fetchone() == (0,)
    assert log_in(fresh_compose).is_success


def test_it_is_shaped_like_those_in_the_field(fresh_compose: ComposeSystem) -> None:
    """Names, restart policies and limits are those of the files laid over each other."""
    for service in ("db", "redis", "app", "nginx"):
        container = fresh_compose.project.container(service)
        assert container.name == f"{fresh_compose.project.name}-{service}"
        assert container.attrs["HostConfig"]["RestartPolicy"]["Name"] == "always"
    app = fresh_compose.project.container("app")
    assert app.attrs["HostConfig"]["Memory"] == 2 * 1024**3
    until(lambda: fresh_compose.project.container("app").health == "healthy")


def test_down_leaves_nothing(docker_engine: Engine, compose_program: Compose) -> None:
    """Containers, networks and volumes go with the project."""
    with project_on(docker_engine, compose_program, number=1) as system:
        system.up()
        assert len(left_of(docker_engine, system.project.name)) == 7
        system.down()
        assert left_of(docker_engine, system.project.name) == []


def test_what_a_killed_run_left_beside_a_project_goes_too(docker_engine: Engine) -> None:
    """A container that stood in for the application holds the network: both go."""
    name = f"{PREFIX}{os.getpid()}-3"
    with closing(docker_engine.client()) as client:
        network = client.networks.create(f"{name}_own", labels={OF_PROJECT: name})
        stands_in = client.containers.run(
            "redis:7-alpine",
            detach=True,
            network=network.name,
            labels={OF_TARGET: f"{name}/compose", OF_TOKEN: "1"},
        )
        try:
            remove_project(client, name)
            assert left_of(docker_engine, name) == []
            with pytest.raises(NotFound):
                client.containers.get(str(stands_in.id))
        finally:
            with suppress(NotFound):
                stands_in.remove(force=True, v=True)
                network.remove()


def test_compose_of_version_1_starts_it_too(docker_engine: Engine) -> None:
    """The same files serve the program of before, and so does the target, where it is installed."""
    compose = find_v1(docker_engine)
    if compose is None:
        pytest.skip("Expected: compose v1. Found: none. Do next: apt-get install docker-compose")
    with project_on(docker_engine, compose, number=2) as system:
        system.up()
        assert len(left_of(docker_engine, system.project.name)) == 7
        application = ComposeTarget(**system.target_settings()).application
        application.configure({"LOG_LEVEL": "ERROR"})
        application.restart(application.replicas()[0].name)
        assert [one.settings["LOG_LEVEL"] for one in application.replicas()] == ["ERROR"]
        system.down()
        assert left_of(docker_engine, system.project.name) == []


def test_what_is_there_is_not_built_again(docker_engine: Engine) -> None:
    """Whoever asks a second time gets the same images."""
    names = ("postgres:15-alpine", "redis:7-alpine", "nginx:alpine", "planner-app:production")
    with closing(docker_engine.client()) as client:
        before = [client.images.get(name).id for name in names]
        provide_images(docker_engine, CACHE)
        assert [client.images.get(name).id for name in names] == before


def test_an_engine_is_stopped_by_another_process_than_started_it(
    docker_engine: Engine, tmp_path: Path
) -> None:
    """As the last process of a run of tests does: its starter lives, and does not ask for it."""
    if not docker_engine.is_ours:
        pytest.skip("the machine has an engine of its own: none is started for tests here")
    # Rules of the firewall of its own would take those of the engine that others use away.
    daemon = Daemon(tmp_path, options=("--iptables=false", "--ip6tables=false"))
    daemon.run.mkdir(mode=0o700)
    daemon.start()
    stop = "import sys; from pathlib import Path; from infra.testbed.docker.daemon import Daemon; "
    stop += "Daemon(Path(sys.argv[1])).stop()"
    try:
        subprocess.run([sys.executable, "-c", stop, tmp_path], check=True, timeout=300)
        assert not (daemon.run / "docker.sock").exists()
    finally:
        daemon.stop()
        shutil.rmtree(daemon.run, ignore_errors=True)
