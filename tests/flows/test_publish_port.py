"""publish_port on a service that nobody reaches, asked from another network namespace."""

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.help.undo_remediation import undo_remediation
from flows.network.publish_port import publish_port
from infra.sandbox.settings import choose_port
from infra.testbed.compose.project import FILES
from infra.testbed.compose.system import ComposeSystem
from tasks.guardrails.case import Case
from tasks.guardrails.plan import Standing, Work
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tests.approving import carry_out
from tests.faults.sampling import sample
from tests.killing import killed, recovered
from tests.namespaces import Namespace, namespace
from tests.prefect_fixtures import Runs

PORTS = '    ports:\n      - "${APP_PORT:-8000}:8000"\n'
SERVED = "HTTP/1.1 200 OK"
REFUSED = "ConnectionRefusedError"


@dataclass
class Project:
    """A compose project whose application can be published in other ways, and who asks it."""

    system: ComposeSystem
    outside: Namespace
    port: int

    def say(self, ports: str, more: str = "") -> None:
        """Say other ports of the application in the file, and make it anew from that."""
        file = self.system.folder / FILES[0]
        file.write_text(file.read_text().replace(PORTS, ports + more))
        self.up()

    def up(self) -> None:
        """Make the application anew from its files."""
        self.system.project.run("up", "-d", "--no-build", "--no-deps", "app")
        self.system.project.container("nginx").exec_run(["nginx", "-s", "reload"])
        self.system.up()

    def asks(self) -> str:
        """Say what somebody on another machine meets at the port."""
        return self.outside.asks(self.outside.beside, self.port)

    def publish(self, runs: Runs, **parameters: object) -> tuple[Case, Any]:
        """Carry it out."""
        return carry_out(runs, self.system, publish_port, **parameters)

    def texts(self) -> dict[str, bytes]:
        """Read the files in the project's folder."""
        return {one.name: one.read_bytes() for one in self.system.folder.iterdir() if one.is_file()}


@pytest.fixture
def project(fresh_compose: ComposeSystem, home: Path) -> Iterator[Project]:
    """A fresh project, known as a target; files and container are as before afterwards."""
    assert home
    settings: dict[str, Any] = fresh_compose.target_settings()
    targets.give(ComposeTarget(**{**settings, "host_command_prefix": ["env"]}))
    before = {one: (fresh_compose.folder / one).read_bytes() for one in FILES}
    port = choose_port()  # none that goes to who connects elsewhere meanwhile
    with namespace() as outside:
        found = Project(fresh_compose, outside, port)
        yield found
        for name, data in before.items():
            (fresh_compose.folder / name).write_bytes(data)
        found.up()


def test_a_port_that_nobody_published_is_reached_and_closed_again(
    runs: Runs, project: Project
) -> None:
    """Users behind nginx are served all the time; the undo is byte for byte."""
    project.say("")
    before = project.texts()
    assert project.asks() == REFUSED
    case, state = project.publish(runs, host_port=project.port)
    assert state.name == "Remediated", state.message
    seen = case.stages[0].stage.findings[0]
    assert "publishes no port, not port 8000" in seen.what
    assert ("does a process listen at 8000", "goes on") in [(row[0], row[2]) for row in seen.rows]
    assert project.asks() == SERVED
    over = (project.system.folder / FILES[1]).read_text()
    assert f'    ports:\n      - "{project.port}:8000"\n' in over
    (watched,) = case.of_kind("watched")
    assert watched.facts["asked"] > 0
    assert watched.facts["failed"] == 0, watched.facts
    again, state = project.publish(runs, host_port=project.port)
    assert state.name == "Unchanged", state.message
    assert "Nothing stops the way" in again.stages[0].stage.findings[0].what
    _, undone = carry_out(runs, project.system, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert project.texts() == before
    assert project.asks() == REFUSED


def test_one_that_is_kept_to_the_machine_is_opened_where_that_is_asked(
    runs: Runs, project: Project
) -> None:
    """Unasked it is only said: somebody may have meant it."""
    line = f'      - "127.0.0.1:{project.port}:8000"   # kept in'
    project.say(f"    ports:\n{line}\n")
    before = project.texts()
    case, state = project.publish(runs)
    assert state.name == "Advised", state.message
    assert "only who is on the machine reaches it" in case.stages[0].stage.findings[0].what
    assert project.texts() == before
    _, state = project.publish(runs, address="0.0.0.0")  # noqa: S104 - what is asked
    assert state.name == "Remediated", state.message
    assert project.asks() == SERVED
    text = (project.system.folder / FILES[0]).read_text()
    assert f'      - "{project.port}:8000"             # kept in\n' in text


def test_what_the_files_say_already_comes_into_force(runs: Runs, project: Project) -> None:
    """Somebody has edited the file, and has not made the container anew."""
    project.say("")
    file = project.system.folder / FILES[0]
    ours = f'    ports: ["{project.port}:8000"]\n'
    file.write_text(
        file.read_text().replace(
            "    depends_on:\n      db:", f"{ours}    depends_on:\n      db:", 1
        )
    )
    before = project.texts()
    case, state = project.publish(runs)
    assert state.name == "Remediated", state.message
    assert project.asks() == SERVED
    assert project.texts() == before
    assert any("other words" in note for note in case.stages[0].stage.notes)
    carry_out(runs, project.system, undo_remediation, remediation=case.id)
    assert project.asks() == SERVED  # made anew from the same files it would be no other
    assert project.texts() == before


def test_a_container_that_was_made_and_not_started_is_between(runs: Runs, project: Project) -> None:
    """Nothing restarts it: it is brought up, there and back."""
    before = project.texts()
    case, state = project.publish(runs, service="redis", host_port=project.port)
    assert state.name == "Remediated", state.message
    (change,) = case.stages[0].stage.changes
    work = Work(target="compose", remediation=case.id, begun_at=datetime.now(UTC))
    for again in (change.apply, change.revert):
        project.system.project.container("redis").stop(timeout=5)
        assert change.observe(work).standing is Standing.HALF
        again(work)
        assert project.system.project.container("redis").status == "running"
    assert change.observe(work).standing is Standing.BEFORE
    assert project.texts() == before


@pytest.mark.parametrize(
    "fault",
    sample(
        [
            "KILL=network.publish_port:written",
            "KILL=after-apply:network.publish_port",
            "KILL=network.publish_port:put-back FAIL=after-apply:network.publish_port",
        ],
        1,
    ),
)
def test_killed_it_is_recovered(fault: str, runs: Runs, project: Project, home: Path) -> None:
    """It ends done, or undone with files and container as before; nothing stands in for long."""
    project.say("")
    before = project.texts()
    settings = {**project.system.target_settings(), "host_command_prefix": ["env"]}
    case = killed(runs, publish_port, settings, home, fault, host_port=project.port)
    state = recovered(runs, case)
    assert state.name == ("Undone" if "FAIL" in fault else "Remediated"), state.message
    assert (project.asks() == SERVED) is (state.name == "Remediated")
    assert (project.texts() == before) is (state.name == "Undone")
    with closing(project.system.project.engine.client()) as client:
        name = f"{project.system.project.name}-app-stand-in"
        assert not client.containers.list(all=True, filters={"name": name})


def test_a_process_that_listens_at_loopback_is_told(runs: Runs, project: Project) -> None:
    """A published port would lead nowhere: its command has to change."""
    command = '    command: ["uvicorn", "app.main:app", "--host", "127.0.0.1", "--port", "8000"]\n'
    file = project.system.folder / FILES[0]
    file.write_text(file.read_text().replace(PORTS, PORTS + command))
    project.system.project.run("up", "-d", "--no-build", "--no-deps", "--wait", "app")
    case, state = project.publish(runs, address="0.0.0.0", host_port=project.port)  # noqa: S104 - what is asked
    assert state.name == "Advised", state.message
    seen = case.stages[0].stage.findings[0]
    assert "listens at 127.0.0.1 alone" in seen.what
    assert "--host 0.0.0.0" in seen.patch


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"service": "db", "address": "0.0.0.0"}, "that not everybody reaches"),  # noqa: S104 - what is asked
        ({"service": "redis", "address": "::"}, "that not everybody reaches"),
        ({"service": "db", "address": "::0"}, "that not everybody reaches"),
        ({"address": "999.1.1.1"}, "an address of the machine"),
        ({"service": "none"}, "app, db, nginx, redis"),
        ({"address": "0.0.0.0"}, "a variable of `.env` says a part of it"),  # noqa: S104 - what is asked
    ],
)
def test_what_cannot_be_is_refused(
    runs: Runs, project: Project, asked: dict[str, str], why: str
) -> None:
    """Data for everybody, a service that is not there, what a variable says."""
    before = project.texts()
    _, state = project.publish(runs, **asked)
    assert state.name == "Refused", state.message
    assert why in (state.message or "")
    assert project.texts() == before


def test_a_port_that_is_taken_is_refused_and_by_whom_said(runs: Runs, project: Project) -> None:
    """By a process of the machine, and by another container."""
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", project.port))  # noqa: S104 - as its owner does
        taken.listen()
        _, state = project.publish(runs, address="0.0.0.0", host_port=project.port)  # noqa: S104 - what is asked
        assert f"process {os.getpid()}" in (state.message or ""), state.message
    assert state.name == "Refused"
    other = project.system.settings.ports["proxy"]
    _, state = project.publish(runs, address="127.0.0.1", host_port=other)
    assert state.name == "Refused"
    assert "-nginx has it" in (state.message or ""), state.message
