"""Fixtures of the compose project on a real Docker engine; loaded by conftest as a plugin."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NoReturn

import psutil
import pytest

from infra.sandbox import pristine
from infra.sandbox.seed import seed
from infra.testbed.compose.project import OF_PROJECT, OF_TARGET, remove_project
from infra.testbed.compose.system import ComposeSystem
from infra.testbed.docker.compose_program import Compose, provide_v2
from infra.testbed.docker.engine import Engine, engine, locked
from infra.testbed.docker.images import provide_images
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.compose.target import ComposeTarget

FEW_ROWS = 5_000
PREFIX = "remedy-test-compose-"
# Not below the checkout: what takes a minute to build serves all of a user's checkouts.
CACHE = Path(
    os.environ.get("REMEDY_TEST_CACHE")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "remedy"
)


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    """A Docker engine with the compose project's images."""
    with ExitStack() as held:
        with or_missing():
            found = held.enter_context(engine(CACHE))
            provide_images(found, CACHE)
        _remove_orphans(found)
        yield found


@pytest.fixture(scope="session")
def compose_program(docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Compose:
    """Compose v2."""
    return provide_v2(docker_engine, tmp_path_factory.mktemp("docker-config"))


@contextmanager
def project_on(engine: Engine, compose: Compose, number: int = 0) -> Iterator[ComposeSystem]:
    """Give a compose project of this process on an engine; nothing of it is left."""
    name = f"{PREFIX}{os.getpid()}-{number}"
    home = Path(tempfile.mkdtemp(prefix=f"{name}-"))
    system = ComposeSystem(home, name, engine, compose)
    try:
        yield system
    finally:
        system.close()
        with closing(engine.client()) as client:
            remove_project(client, name)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="session")
def compose_system(docker_engine: Engine, compose_program: Compose) -> Iterator[ComposeSystem]:
    """A compose project with few rows, up for the whole session; one for each worker of xdist."""
    with project_on(docker_engine, compose_program) as system:
        system.up()
        seed(system, rows=FEW_ROWS)
        pristine.keep(system)
        yield system


@pytest.fixture
def fresh_compose(compose_system: ComposeSystem) -> ComposeSystem:
    """The project as it was seeded: containers up, rows, roles and cache reset, no backups."""
    compose_system.reset()
    pristine.discard(compose_system.backups.iterdir())
    return compose_system


@pytest.fixture
def compose_target(fresh_compose: ComposeSystem) -> ComposeTarget:
    """The fresh project as a target."""
    return ComposeTarget(**fresh_compose.target_settings())


def _remove_orphans(engine: Engine) -> None:
    """Remove the projects of test runs that were killed."""
    owned = re.compile(rf"{PREFIX}(\d+)-")
    # Two workers of xdist would remove the same.
    with locked(CACHE / "orphans.lock"), closing(engine.client()) as client:
        labelled: dict[str, str | list[str] | bool] = {"label": OF_PROJECT}
        # Another run's containers may go while the list is read.
        beside, those = (
            client.containers.list(all=True, filters={"label": label}, ignore_removed=True)
            for label in (OF_TARGET, OF_PROJECT)
        )
        found = [
            *(one.labels[OF_PROJECT] for one in those),
            *(one.labels[OF_TARGET].partition("/")[0] for one in beside),
            *(one.attrs["Labels"][OF_PROJECT] for one in client.networks.list(filters=labelled)),
            *(one.attrs["Labels"][OF_PROJECT] for one in client.volumes.list(filters=labelled)),
        ]
        for name in set(found):
            owner = owned.match(name)
            if owner and not psutil.pid_exists(int(owner[1])):
                remove_project(client, name)
    for home in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = owned.match(home.name)
        if owner and not psutil.pid_exists(int(owner[1])):
            shutil.rmtree(home, ignore_errors=True)


@contextmanager
def or_missing() -> Iterator[None]:
    """Skip what cannot be had here, or fail where every test has to run."""
    try:
        yield
    except PreconditionFailed as error:
        _missing(str(error))


def _missing(reason: str) -> NoReturn:
    """Skip, or fail where every test has to run."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)
