"""modernise_compose_file on a project that runs: what is old is written anew, and nothing moves."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from flows.docker.modernise_compose_file import modernise_compose_file
from flows.help.undo_remediation import undo_remediation
from infra.testbed.compose.project import FILES, OF_PROJECT
from infra.testbed.compose.system import ComposeSystem
from infra.testbed.docker.compose_program import find_v1
from infra.testbed.docker.engine import Engine
from tasks.guardrails.case import Case
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tests.approving import carry_out
from tests.prefect_fixtures import Runs

BASE, PROD = FILES


@dataclass
class Files:
    """The compose files of a project that runs."""

    system: ComposeSystem

    def path(self, name: str) -> Path:
        """Where a file is."""
        return self.system.folder / name

    def edit(self, name: str, edit: Callable[[str], str]) -> None:
        """Edit a file as somebody does by hand."""
        text = self.path(name).read_text()
        changed = edit(text)
        assert changed != text
        self.path(name).write_text(changed)

    def all(self) -> dict[str, bytes]:
        """Read what is in the project's folder beside nginx's."""
        return {one.name: one.read_bytes() for one in self.system.folder.iterdir() if one.is_file()}

    def containers(self) -> dict[str, str]:
        """Say of each container when it was started."""
        labels: dict[str, str | list[str] | bool] = {
            "label": f"{OF_PROJECT}={self.system.project.name}"
        }
        with closing(self.system.project.engine.client()) as client:
            found = client.containers.list(all=True, filters=labels)
            return {str(one.id): one.attrs["State"]["StartedAt"] for one in found}

    def config(self) -> dict[str, object]:
        """Give what compose makes of the files."""
        made = yaml.safe_load(self.system.project.run("config"))
        assert isinstance(made, dict)
        return made


@pytest.fixture
def files(fresh_compose: ComposeSystem, home: Path) -> Iterator[Files]:
    """The files of a fresh project, known as a target; they are as they were afterwards."""
    assert home
    targets.give(ComposeTarget(**fresh_compose.target_settings()))
    found = Files(fresh_compose)
    before = found.all()
    yield found
    for name in set(found.all()) - set(before):
        found.path(name).unlink()
    for name, data in before.items():
        found.path(name).write_bytes(data)


def of_format_2(text: str) -> str:
    """Say what the production file says as files of format 2 did, with comments and odd spaces."""
    text = text.replace("version: '3.8'", "version: '2.4'  # as the host has it\n# Only here")
    limits = re.search(r"    deploy:\n(?: {6,}.*\n)+", text)
    assert limits
    text = text.replace(
        limits[0],
        "    mem_limit: 2G   # measured in May\n    mem_reservation: 1G\n"
        "    links:\n    - db\n    - redis   # the cache\n",
    )
    return text.replace(
        "    image: nginx:alpine\n",
        "    image:   'nginx:alpine'\n    log_driver: json-file\n"
        '    log_opt: {max-size: "10m"}  # small disk\n',
    )


def rows(case: Case, heading: str) -> list[tuple[str, ...]]:
    """Give the table of a finding of the plan."""
    (found,) = [
        one for one in case.stages[0].stage.findings if one.columns and heading in one.columns
    ]
    return list(found.rows)


def test_what_is_old_is_written_anew_and_taken_back(runs: Runs, files: Files) -> None:
    """Compose refuses it before and reads it after; comments stay, nothing restarts, undo exact."""
    meant, running = files.config(), files.containers()
    files.edit(PROD, of_format_2)
    files.path(PROD).chmod(0o640)
    os.chown(files.path(PROD), 12, 34)
    before = files.all()
    case, state = carry_out(runs, files.system, modernise_compose_file)
    assert state.name == "Remediated", state.message
    assert ("services.nginx.log_driver is not known to it",) in rows(case, "what it says") or (
        "services.nginx.log_opt is not known to it",
    ) in rows(case, "what it says")
    assert (PROD, "services.app.links") in [row[:2] for row in rows(case, "key")]
    text = files.path(PROD).read_text()
    for kept in ("# as the host has it", "# Only here", "# measured in May", "# small disk"):
        assert kept in text
    assert "    image:   'nginx:alpine'\n" in text
    assert "version" not in text
    assert "version" not in files.path(BASE).read_text()
    logging = {"driver": "json-file", "options": {"max-size": "10m"}}
    now = files.config()
    assert now["services"]["nginx"].pop("logging") == logging  # type: ignore[index] # as YAML is
    assert now == meant
    status = files.path(PROD).stat()
    assert (status.st_mode & 0o777, status.st_uid, status.st_gid) == (0o640, 12, 34)
    assert set(files.all()) == set(before)
    assert files.containers() == running
    assert any("nothing is restarted" in note for note in case.stages[0].stage.notes)
    again, state = carry_out(runs, files.system, modernise_compose_file)
    assert state.name == "Unchanged", state.message
    assert again.stages[0].stage.changes == ()
    _, undone = carry_out(runs, files.system, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert files.all() == before
    assert files.containers() == running
    assert not list(files.system.secrets.glob("compose-*"))


def test_the_undo_leaves_what_others_edited_since(runs: Runs, files: Files) -> None:
    """Only our lines go."""
    base, prod = files.path(BASE).read_text(), files.path(PROD).read_text()
    case, state = carry_out(runs, files.system, modernise_compose_file)
    assert state.name == "Remediated", state.message
    files.edit(BASE, lambda text: text.replace("retries: 3", "retries: 5"))
    _, undone = carry_out(runs, files.system, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert files.path(BASE).read_text() == base.replace("retries: 3", "retries: 5")
    assert files.path(PROD).read_text() == prod


def test_what_another_value_would_follow_from_is_refused(runs: Runs, files: Files) -> None:
    """Two limits that differ, or a mistake that is no matter of the format: nothing is written."""
    files.edit(PROD, lambda text: text.replace("    deploy:", "    mem_limit: 1G\n    deploy:"))
    before = files.all()
    _, state = carry_out(runs, files.system, modernise_compose_file)
    assert state.name == "Refused", state.message
    assert "distinct values in 'mem_limit'" in (state.message or "")
    files.edit(PROD, lambda text: text.replace("mem_limit: 1G", "image_name: 'my-secret'"))
    _, state = carry_out(runs, files.system, modernise_compose_file)
    assert state.name == "Refused", state.message
    assert "services.app" in (state.message or "")
    assert "my-secret" not in (state.message or "")
    assert set(files.all()) == set(before)


def test_what_compose_still_reads_can_be_left(runs: Runs, files: Files) -> None:
    """With keep_readable links and limits stay, and the next `up` makes nothing anew."""
    files.edit(PROD, of_format_2)
    files.edit(PROD, lambda text: re.sub(r"    log_\w+: .*\n", "", text))
    files.system.project.run("up", "-d", "--no-build")
    case, state = carry_out(runs, files.system, modernise_compose_file, keep_readable=True)
    assert state.name == "Remediated", state.message
    assert {row[1] for row in rows(case, "key")} == {"version"}
    assert any("restarts nothing" in note for note in case.stages[0].stage.notes)
    running = files.containers()
    files.system.project.run("up", "-d", "--no-build")
    assert files.containers() == running


def test_a_file_of_the_first_format(runs: Runs, files: Files, docker_engine: Engine) -> None:
    """Services without `services`: read by compose v1 as before, and by both afterwards."""
    text = (
        "# The first\ndb:\n  image: postgres:15-alpine\n  mem_limit: 1g\n"
        "  volumes:\n    - planner_old:/data\n"
        "web:\n  build: .\n  dockerfile: Dockerfile  # ours\n  links: [db, 'db:database']\n"
        "  net: 'container:db'\n  log_driver: json-file\n  volumes_from: [db, other]\n"
    )
    files.path("old.yml").write_text(text)
    settings = {**files.system.target_settings(), "compose_files": ["old.yml"], "profiles": []}
    targets.give(ComposeTarget(**settings))
    case, state = carry_out(runs, files.system, modernise_compose_file)
    assert state.name == "Remediated", state.message
    found = yaml.safe_load(files.path("old.yml").read_text())
    assert found["volumes"] == {"planner_old": {"name": "planner_old"}}
    assert found["services"]["web"] == {
        "build": {"context": ".", "dockerfile": "Dockerfile"},
        "links": ["db", "db:database"],
        "network_mode": "service:db",
        "logging": {"driver": "json-file"},
        "volumes_from": ["db", "container:other"],
    }
    assert any("cannot read the old text" in one.how for one in case.stages[0].stage.findings)
    assert any("first format" in note for note in case.stages[0].stage.notes)
    v1 = find_v1(docker_engine)
    if v1 is not None:
        subprocess.run(
            [*v1.command, "-f", "old.yml", "config", "-q"],
            cwd=files.system.folder,
            env=v1.environment,
            check=True,
        )
        files.path("old.yml").write_text(text.replace("  net: 'container:db'\n", ""))
        targets.give(ComposeTarget(**{**settings, "compose_command": list(v1.command)}))
        case, state = carry_out(runs, files.system, modernise_compose_file)
        assert state.name == "Remediated", state.message
        assert any("`config` of both" in one.how for one in case.stages[0].stage.findings)
