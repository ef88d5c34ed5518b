"""raise_memory_limit on a container that is killed for want of memory, and on one that serves."""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from docker.errors import APIError
from docker.models.containers import Container

from flows.help.undo_remediation import undo_remediation
from flows.performance.raise_memory_limit import raise_memory_limit
from infra.testbed.compose.project import FILES
from infra.testbed.compose.system import ComposeSystem
from infra.testbed.docker.compose_program import Compose, find_v1
from tasks.guardrails import faults
from tasks.guardrails.errors import Transient
from tasks.guardrails.plan import Work
from tasks.platforms import targets
from tasks.platforms.compose.inside import said_inside
from tasks.platforms.compose.target import ComposeTarget
from tests.approving import carry_out
from tests.prefect_fixtures import Runs
from tests.waiting import until

MIB = 2**20
HUNGRY = "docker-compose.hungry.yml"
# Uses 100 MB, then stays: under its limit it is killed and started again, for ever.
TEXT = """\
services:
  hungry:
    image: planner-app:production   # has a Python
    command: ["python", "-c", "import time; held = bytearray(100_000_000); time.sleep(9999)"]
    restart: always
    stop_grace_period: 0s
    healthcheck: {disable: true}
    deploy:
      resources:
        limits:
          memory: 48M   # a guess
    networks: [planner-network]
"""
LIMITED = """\
version: '3.8'
services:
  hungry:
    image: planner-app:production
    command: ["python", "-c", "import time; time.sleep(9999)"]
    network_mode: none
    stop_grace_period: 0s
    deploy: {resources: {limits: {memory: 48M}}}
"""


@dataclass
class Project:
    """A compose project whose containers' memory is looked at from outside."""

    system: ComposeSystem

    def container(self, service: str) -> Container:
        """Give a service's container as it is now."""
        return self.system.project.container(service)

    def memory(self, service: str) -> int:
        """Give what the kernel enforces, by the container's own files."""
        for name in ("memory.max", "memory/memory.limit_in_bytes"):
            command = ["cat", f"/sys/fs/cgroup/{name}"]
            status, said = said_inside(self.container(service), command)
            if status == 0:
                return int(said)
        raise AssertionError(service)

    def started(self, service: str) -> tuple[str, str]:
        """Say which container it is, and since when it runs."""
        found = self.container(service)
        return str(found.id), str(found.attrs["State"]["StartedAt"])

    def texts(self) -> dict[str, bytes]:
        """Read the files in the project's folder."""
        return {one.name: one.read_bytes() for one in self.system.folder.iterdir() if one.is_file()}

    def give(self, *more: str, **settings: object) -> None:
        """Make it known as a target, with more compose files."""
        fields: dict[str, Any] = {**self.system.target_settings(), **settings}
        targets.give(ComposeTarget(**{**fields, "compose_files": [*FILES, *more]}))


@pytest.fixture
def project(fresh_compose: ComposeSystem, home: Path) -> Iterator[Project]:
    """A fresh project, known as a target; files and limits are as before afterwards."""
    assert home
    found = Project(fresh_compose)
    found.give()
    before = found.texts()
    yield found
    for name in set(found.texts()) - set(before):
        (fresh_compose.folder / name).unlink()
    for name, data in before.items():
        (fresh_compose.folder / name).write_bytes(data)
    found.container("app").update(mem_limit=2**31, memswap_limit=2**32)


@pytest.fixture
def hungry(project: Project) -> Iterator[Project]:
    """The project with a service that is killed for want of memory again and again."""
    (project.system.folder / HUNGRY).write_text(TEXT)
    files = (*FILES, HUNGRY)
    project.system.project.run("up", "-d", "--no-build", "--no-deps", "hungry", files=files)
    project.give(HUNGRY)
    try:
        until(lambda: project.container("hungry").attrs["RestartCount"] > 0)
        yield project
    finally:
        project.container("hungry").remove(force=True)


def test_one_that_was_killed_lives_under_the_raised_limit(runs: Runs, hungry: Project) -> None:
    """Its ends are found, the limit is raised in engine and file, and it stays up."""
    before = hungry.texts()
    case, state = carry_out(
        runs, hungry.system, raise_memory_limit, service="hungry", memory="256M"
    )
    assert state.name == "Remediated", state.message
    seen = case.stages[0].stage.findings[0].what
    assert "too little memory in hungry" in seen
    # The engine forgets its events soon, as others are at work on it.
    assert re.search("knows of [1-9]|ended by one last|were killed", seen), seen
    assert (hungry.system.folder / HUNGRY).read_text() == TEXT.replace("48M  ", "256M ")
    assert {name for name, data in hungry.texts().items() if data != before[name]} == {HUNGRY}
    until(lambda: holds_what_it_wants(hungry))
    restarts = hungry.container("hungry").attrs["RestartCount"]
    assert hungry.memory("hungry") == 256 * MIB
    time.sleep(3)
    found = hungry.container("hungry")
    assert (found.status, found.attrs["RestartCount"]) == ("running", restarts)
    raised = case.stages[0].stage.changes[-1]
    told = Work(target="compose", remediation=case.id)
    loss = raised.undo_loss(told)
    assert loss is not None
    assert "has to be restarted first" in loss.sentence
    with pytest.raises(Transient, match="to use less than the 48M of before"):
        raised.revert(told)
    assert hungry.memory("hungry") == 256 * MIB


def holds_what_it_wants(project: Project) -> bool:
    """Say whether the hungry one does, by the kernel's count."""
    for name in ("memory.current", "memory/memory.usage_in_bytes"):
        container = project.container("hungry")
        with suppress(APIError):  # it does not run, or not any more
            status, said = said_inside(container, ["cat", f"/sys/fs/cgroup/{name}"])
            if status == 0:
                return int(said) > 95 * MIB
    return False


def test_a_limit_is_raised_while_users_are_served_and_lowered_again(
    runs: Runs, project: Project
) -> None:
    """The kernel enforces it in the same container, the file says it; the undo is exact."""
    before, same = project.texts(), project.started("app")
    swap = project.container("app").attrs["HostConfig"]["MemorySwap"]
    case, state = carry_out(runs, project.system, raise_memory_limit, memory="3G")
    assert state.name == "Remediated", state.message
    assert project.memory("app") == 3 * 2**30
    assert project.container("app").attrs["HostConfig"]["MemorySwap"] == 6 * 2**30
    assert project.started("app") == same
    made = yaml.safe_load(project.system.project.run("config"))["services"]["app"]
    assert int(made["deploy"]["resources"]["limits"]["memory"]) == 3 * 2**30
    assert int(made["deploy"]["resources"]["reservations"]["memory"]) == 2**30
    _, undone = carry_out(runs, project.system, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert project.texts() == before
    assert project.memory("app") == 2 * 2**30
    assert project.container("app").attrs["HostConfig"]["MemorySwap"] == swap
    assert project.started("app") == same


def test_it_is_taken_back_where_the_engine_fails(
    runs: Runs, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file that was written already is as before, byte for byte."""
    before = project.texts()
    monkeypatch.setenv(faults.VARIABLE, "FAIL=after-apply:containers.set_memory_limit")
    _, state = carry_out(runs, project.system, raise_memory_limit, memory="3G")
    assert state.name == "Undone", state.message
    assert project.texts() == before
    assert project.memory("app") == 2 * 2**30


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"memory": "9999G"}, "of memory on the machine for app"),
        ({"memory": "1G"}, "more than the 2G that app may use now"),
        ({"memory": "3"}, "an amount of memory of 6 MB or more"),
        ({"service": "none", "memory": "3G"}, "app, db, nginx, redis"),
    ],
)
def test_what_cannot_be_is_refused(
    runs: Runs, project: Project, asked: dict[str, str], why: str
) -> None:
    """More than the machine has, less than there is, nonsense, a service that is not there."""
    before = project.texts()
    _, state = carry_out(runs, project.system, raise_memory_limit, **asked)
    assert state.name == "Refused", state.message
    assert why in (state.message or "")
    assert project.texts() == before


def test_what_has_enough_is_left_alone(runs: Runs, project: Project) -> None:
    """Nothing was killed, and the peak is far below the limit; of one without a limit as well."""
    for service in ("app", "redis"):
        _, state = carry_out(runs, project.system, raise_memory_limit, service=service)
        assert state.name == "Unchanged", state.message


@contextmanager
def made_by_v1(project: Project, v1: Compose, text: str) -> Iterator[None]:
    """Have docker-compose of version 1 make a service; it is gone afterwards."""
    (project.system.folder / HUNGRY).write_text(text)
    up_by_v1(project, v1)
    try:
        yield
    finally:
        project.container("hungry").remove(force=True)


def up_by_v1(project: Project, v1: Compose) -> None:
    """Start the service as a person does."""
    name, given = project.system.project.name, [f"-f{file}" for file in (*FILES, HUNGRY)]
    subprocess.run(
        [*v1.command, "-p", name, *given, "up", "-d", "--no-deps", "--no-build", "hungry"],
        cwd=project.system.folder,
        env=v1.environment,
        check=True,
        capture_output=True,
    )


def test_compose_v1_keeps_the_limit_or_is_told_to_ignore_it(
    runs: Runs, project: Project, tmp_path: Path
) -> None:
    """1.29 heeds the file; of one that says it is older it is told, and nothing is done."""
    v1 = find_v1(project.system.project.engine)
    if v1 is None:
        pytest.skip("no docker-compose of version 1 is installed")
    with made_by_v1(project, v1, LIMITED):
        project.give(HUNGRY, compose_command=list(v1.command))
        _, state = carry_out(
            runs, project.system, raise_memory_limit, service="hungry", memory="64M"
        )
        assert state.name == "Remediated", state.message
        assert project.memory("hungry") == 64 * MIB
        up_by_v1(project, v1)  # which makes it anew, from the file
        assert project.memory("hungry") == 64 * MIB
    older = tmp_path / "docker-compose"
    older.write_text(
        '#!/bin/sh\ncase "$*" in *"version --short") echo 1.25.5;;'
        f' *) exec {v1.command[0]} "$@";; esac\n'
    )
    older.chmod(0o755)
    with made_by_v1(project, v1, LIMITED.partition("    deploy")[0]):
        (project.system.folder / HUNGRY).write_text(LIMITED)
        project.give(HUNGRY, compose_command=[str(older)])
        case, state = carry_out(
            runs, project.system, raise_memory_limit, service="hungry", memory="64M"
        )
        assert state.name == "Advised", state.message
        assert "--compatibility" in case.stages[0].stage.findings[-1].what
        assert project.container("hungry").attrs["HostConfig"]["Memory"] == 0
