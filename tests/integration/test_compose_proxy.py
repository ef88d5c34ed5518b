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
        assert httpx.get(f"{fresh_compose.url}/health", trust_env=False).is_success
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
