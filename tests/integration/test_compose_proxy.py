"""nginx told by name whom to lead to: what an operator has written there stays his."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import pytest

from infra.testbed.compose.system import ComposeSystem
from tasks.application.scale_changes import SetReplicas
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Standing, Work
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget

PLAIN = "        server app:8000;\n"


@contextmanager
def configured(system: ComposeSystem, servers: str) -> Iterator[str]:
    """Have other servers in nginx's configuration; gives its text, as before at the end."""
    file = system.folder / "nginx" / "nginx.conf"
    before = file.read_text()
    assert before.count(PLAIN) == 1
    text = before.replace(PLAIN, servers)
    file.write_text(text)
    try:
        yield text
    finally:
        file.write_text(before)


def text_of(system: ComposeSystem) -> str:
    """Read nginx's configuration."""
    return (system.folder / "nginx" / "nginx.conf").read_text()


@pytest.mark.parametrize(
    "servers",
    [
        PLAIN,
        "        server app:8000 max_fails=0; keepalive 4;  # and more on its line\n",
        "        # server app:8000; it was\n        server app:8000;\n",
    ],
)
def test_names_come_and_go_byte_for_byte(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem, servers: str
) -> None:
    """Nginx accepts the names, serves, and the file is as it was."""
    scaling, name = compose_target.scaling, str(fresh_compose.project.container("app").name)
    with configured(fresh_compose, servers) as text:
        scaling.lead([name])
        assert f"server {name}:8000" in text_of(fresh_compose)
        assert scaling.is_choosy()
        assert httpx.get(f"{fresh_compose.url}/health", trust_env=False, timeout=30).is_success
        scaling.lead()
        assert text_of(fresh_compose) == text
        assert not scaling.is_choosy()


def test_names_that_an_operator_wrote_are_not_ours(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """They are an obstacle, and nobody touches them: not whoever takes a lease over, either."""
    scaling, name = compose_target.scaling, str(fresh_compose.project.container("app").name)
    own = f"        server {name}:8000 weight=3;\n        server {name}:8000;\n"
    with configured(fresh_compose, own) as text:
        assert not scaling.is_choosy()
        with pytest.raises(PreconditionFailed, match="no `server app:8000`"):
            scaling.lead([name])
        fresh_compose.project.run("run", "-d", "--no-deps", "app", "sleep", "600")
        with closing(fresh_compose.project.engine.client()) as client:
            (shell,) = client.containers.list(
                filters={
                    "label": [
                        f"com.docker.compose.project={fresh_compose.project.name}",
                        "com.docker.compose.oneoff=True",
                    ]
                }
            )
            try:
                assert [one.name for one in scaling.seen()] == [name]
                assert compose_target.end_older(9) == []
                shell.reload()
                assert shell.status == "running"
            finally:
                shell.remove(force=True)
        scaling.lead()
        assert text_of(fresh_compose) == text


def test_names_left_in_the_file_are_not_done(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """A change that was begun and left them is half done, with whatever number there is."""
    targets.give(compose_target)
    change = SetReplicas(service="app", before=1, after=2)
    new = Work(target="compose", remediation="x")
    begun = replace(new, begun_at=datetime.now(UTC))
    with configured(fresh_compose, PLAIN):
        assert change.observe(new).standing is Standing.BEFORE
        compose_target.scaling.lead([str(fresh_compose.project.container("app").name)])
        assert change.observe(begun).standing is Standing.HALF
        assert change.observe(new).standing is Standing.OTHER
        change.revert(begun)
        assert change.observe(begun).standing is Standing.BEFORE


def test_a_stand_in_is_ended_once_nginx_leads_past_it(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """The file says so, and nginx was not told: it is told before the container goes."""
    application, name = compose_target.application, str(fresh_compose.project.container("app").name)
    assert application.stand_in(name)
    application.drain(name)
    text = text_of(fresh_compose)
    assert "-stand-in:8000" in text
    # As a kill between the file and nginx leaves it: nginx leads to the stand-in still.
    (fresh_compose.folder / "nginx" / "nginx.conf").write_text(
        text.replace(f"{name}-stand-in:8000", "app:8000")
    )
    assert len(compose_target.end_older(9)) == 1
    assert httpx.get(f"{fresh_compose.url}/health", trust_env=False, timeout=30).is_success


def test_a_container_is_drained_though_the_file_says_so_already(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """A kill between the file and nginx: the next one tells nginx before the container ends."""
    application = compose_target.application
    container = fresh_compose.project.container("app")
    name = str(container.name)
    assert application.stand_in(name)
    file = fresh_compose.folder / "nginx" / "nginx.conf"
    with configured(fresh_compose, PLAIN.replace("app:", f"{name}-stand-in:")):
        application.drain(name)
        container.stop(timeout=5)
        assert httpx.get(f"{fresh_compose.url}/health", trust_env=False, timeout=30).is_success
        application.restart(name)
        application.admit(name)
        assert PLAIN in file.read_text()
        assert httpx.get(f"{fresh_compose.url}/health", trust_env=False, timeout=30).is_success


def test_names_taken_out_and_not_told_are_not_done(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """A mark stands in the file until nginx leads to all; a successor takes it out."""
    targets.give(compose_target)
    scaling, name = compose_target.scaling, str(fresh_compose.project.container("app").name)
    change = SetReplicas(service="app", before=1, after=2)
    begun = Work(target="compose", remediation="x", begun_at=datetime.now(UTC))
    with configured(fresh_compose, PLAIN) as text:
        scaling.lead([name])
        led = text_of(fresh_compose)
        file = fresh_compose.folder / "nginx" / "nginx.conf"
        file.write_text(led.replace(f"{name}:8000", "app:8000"))
        assert change.observe(begun).standing is Standing.HALF
        assert [one.led for one in scaling.seen()] == [True]
        compose_target.end_older(9)
        assert text_of(fresh_compose) == text
        assert change.observe(begun).standing is Standing.BEFORE
