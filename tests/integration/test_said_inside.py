"""What a command prints in a container of a real engine, which may lose it."""

from collections.abc import Iterator
from contextlib import closing

import pytest
from docker.models.containers import Container, ExecResult

from infra.testbed.docker.engine import Engine as DockerEngine
from tasks.guardrails.errors import Transient
from tasks.platforms.compose.engine import Engine
from tasks.platforms.compose.inside import said_inside
from tasks.platforms.compose.server.printed_log import free_inside


@pytest.fixture
def container(docker_engine: DockerEngine) -> Iterator[Container]:
    """Run a container that does nothing."""
    with closing(docker_engine.client()) as client:
        made = client.containers.create(
            "redis:7-alpine", ["60"], entrypoint=["sleep"], network_mode="none"
        )
        try:
            made.start()
            yield made
        finally:
            made.remove(force=True)


def lose(patch: pytest.MonkeyPatch, *lost: ExecResult) -> None:
    """Have the engine give these instead of what the first commands printed."""
    left, run = list(lost), Container.exec_run

    def losing(
        container: Container, command: list[str], *, user: str, environment: dict[str, str]
    ) -> ExecResult:
        found = run(container, command, user=user, environment=environment)
        return left.pop() if left else found

    patch.setattr(Container, "exec_run", losing)


def test_what_is_lost_is_asked_for_again(
    docker_engine: DockerEngine, container: Container, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing with a status of 0, or no status yet: never taken for an answer."""
    lose(monkeypatch, ExecResult(0, b""), ExecResult(None, b"half"), ExecResult(0, b""))
    assert said_inside(container, ["echo", "all"]) == (0, "all\n")
    assert said_inside(container, ["sh", "-c", "exit 3"]) == (3, "")
    assert said_inside(container, ["id", "-u"], user="65534") == (0, "65534\n")
    engine = Engine(docker_engine.url)
    (found,) = [one for one in engine.containers({}) if one.id == container.id]
    lose(monkeypatch, ExecResult(0, b""))
    assert free_inside(engine, found, "/")


def test_what_never_says_anything_is_an_error(container: Container) -> None:
    """It ends well each time: whoever asks has no answer, and not an empty one."""
    with pytest.raises(Transient, match="true to print something"):
        said_inside(container, ["true"])
