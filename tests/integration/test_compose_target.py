"""The compose project as a target: its capabilities, and who it says it is."""

import json
import re
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from prefect.blocks.core import Block

from deployments.cli.capabilities import examine
from infra.testbed.compose.system import ComposeSystem
from tasks.database.server.judgement import judge
from tasks.guardrails.errors import BadInput, PreconditionFailed, Transient
from tasks.guardrails.systems import pin
from tasks.platforms import targets
from tasks.platforms.compose.application import commands
from tasks.platforms.compose.server.first_roles import superuser_of
from tasks.platforms.compose.target import ComposeTarget
from tasks.platforms.protocols import System
from tasks.platforms.servers import Folder
from tests.fences import Held
from tests.users import log_in, under_load
from tests.waiting import until

ROOT = Path(__file__).parents[2]


def ours(target: ComposeTarget) -> list[str]:
    """Name the containers on the engine that remediations of a target have begun."""
    labels = {"remedy.target": f"{target.project_name}/compose"}
    return [one.name for one in target.engine.containers(labels)]


def test_it_is_a_system(compose_target: ComposeTarget) -> None:
    """The type checker holds it to the protocol; it is found among the platforms by its slug."""
    system: System = compose_target
    assert system.name == "compose"
    assert Block.get_block_class_from_key("compose-target") is ComposeTarget
    assert targets.PLATFORMS["compose-target"].endswith(":ComposeTarget")


def test_the_fingerprint_leaves_secrets_out(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """Another password is the same system, another project is not."""
    settings = fresh_compose.target_settings()
    same = ComposeTarget(**{**settings, "maintenance_password": "x", "probe_secret": "y"})
    other = ComposeTarget(**{**settings, "project_name": "planner"})
    assert same.fingerprint() == compose_target.fingerprint()
    assert other.fingerprint() != compose_target.fingerprint()


def test_identity_is_the_servers_and_the_engines(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """What it says is what server and engine say of themselves."""
    with fresh_compose.connect() as session:
        row = session.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
    assert row is not None
    with closing(fresh_compose.project.engine.client()) as client:
        engine = client.info()["ID"]
    identity = compose_target.identity()
    assert identity.pop("server_version_num")
    assert identity == {
        "system_identifier": str(row[0]),
        "database": "planner",
        "engine": engine,
        "project": fresh_compose.project.name,
    }


def test_older_sessions_and_commands_are_ended(compose_target: ComposeTarget) -> None:
    """What was begun under token 1 is ended by the holder of token 2, what is its own is not."""
    with pin(compose_target, Held(1)):
        older = compose_target.database.connect()
    with pin(compose_target, Held(2)), compose_target.database.connect() as ours:
        ended = compose_target.end_older(2)
        assert len(ended) == 1
        assert ended[0].startswith("session remedy:compose:1 in planner")
        assert ours.execute("SELECT 1 AS one").fetchone() == {"one": 1}
    older.close()


def test_a_command_of_one_that_was_killed_is_ended_by_its_successor(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """Its container is found by target and token, whatever became of who started it."""
    code = (
        "import json, sys\n"
        "from tasks.platforms.compose.target import ComposeTarget\n"
        "target = ComposeTarget(**json.load(sys.stdin))\n"
        "target.application.run(['python', '-c', 'import time; time.sleep(600)'], {})\n"
    )
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE)
    assert caller.stdin is not None
    caller.stdin.write(json.dumps(fresh_compose.target_settings()).encode())
    caller.stdin.close()
    labels = {"remedy.target": f"{fresh_compose.project.name}/compose"}
    until(lambda: [one for one in compose_target.engine.containers(labels) if one.runs])
    caller.kill()
    caller.wait()
    (left,) = compose_target.engine.containers(labels)
    assert commands.end_older(compose_target.engine, "another-project", "compose", 9) == []
    assert compose_target.end_older(1) == [f"container {left.name} of token 0"]
    assert compose_target.engine.containers(labels) == []


def test_commands_run_as_the_application_ships_them(compose_target: ComposeTarget) -> None:
    """Settings are laid over the application's own; exit status and errors come back."""
    run = compose_target.application.run
    migrations = compose_target.migrations
    assert migrations is not None
    assert run(migrations.show_database, {}).output == "planner\n"
    assert run(migrations.show_database, {"POSTGRES_DB": "postgres"}).output == "postgres\n"
    failed = run(["python", "-c", "import sys; sys.exit('why')"], {})
    assert (failed.status, failed.errors) == (1, "why\n")
    assert run(["no-such-program"], {}).status == 127
    assert run(["python", "-c", "import os; os.kill(os.getpid(), 9)"], {}).status in {0, 137}
    assert ours(compose_target) == []


def test_the_application_says_where_the_database_is_as_its_container_sees_it(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """With the application's own settings one logs in from here, too."""
    settings = compose_target.application.settings()
    assert settings["POSTGRES_SERVER"] == "db"
    with compose_target.database.log_in(
        settings["POSTGRES_USER"],
        settings["POSTGRES_PASSWORD"],
        settings["POSTGRES_DB"],
        settings["POSTGRES_SERVER"],
        settings["POSTGRES_PORT"],
    ) as session:
        assert session.execute("SELECT current_user AS name").fetchone() == {
            "name": fresh_compose.settings.application_user
        }


def test_settings_are_changed_in_the_file_and_taken_up_by_a_new_container(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """A user is served with them; put back, the file is the same byte for byte."""
    application = compose_target.application
    text, old = application.configuration(), application.settings()
    application.configure({"LOG_LEVEL": "ERROR"})
    assert application.settings() == {**old, "LOG_LEVEL": "ERROR"}
    (replica,) = application.replicas()
    assert replica.settings["LOG_LEVEL"] == "WARNING"
    application.restart(replica.name)
    (replica,) = application.replicas()
    assert (replica.runs, replica.settings["LOG_LEVEL"]) == (True, "ERROR")
    assert log_in(fresh_compose).is_success
    application.put_back(text, {"LOG_LEVEL": "ERROR"}, {"LOG_LEVEL": "WARNING"})
    assert fresh_compose.dotenv.read_text() == text


def test_a_setting_that_the_compose_files_do_not_pass_on_is_refused(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """The file is as it was: a value that reaches nobody would look like one that does."""
    text = fresh_compose.dotenv.read_text()
    with pytest.raises(PreconditionFailed, match=r"to take CACHE_SECONDS from .*\.env"):
        compose_target.application.configure({"CACHE_SECONDS": "1"})
    with pytest.raises(PreconditionFailed, match="config` to be carried out"):
        compose_target.application.configure({"APP_PORT": "no-port"})
    with pytest.raises(BadInput):
        compose_target.application.configure({"LOG_LEVEL": "a'b"})
    assert fresh_compose.dotenv.read_text() == text


def test_clearing_the_cache_leaves_queues_and_strangers(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """Only the application's cached keys go."""
    with fresh_compose.cache() as cache:
        cache.set("planner:programs:1", "{}")
        cache.rpush("planner:queue:reports", "job")
        cache.set("stranger", "1")
        assert compose_target.cache.clear() == 1
        assert compose_target.cache.queued() == {"planner:queue:reports": 1}
        assert cache.get("stranger") == b"1"


def test_what_does_not_run_is_told_as_such(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """A stopped database is known by its control file; the rest says what to do."""
    known = compose_target.identity()
    del known["server_version_num"]
    fresh_compose.cluster.stop()
    assert compose_target.identity() == known
    with pytest.raises(Transient, match="-db to run"):
        compose_target.database.connect()
    settings = fresh_compose.target_settings()
    with pytest.raises(Transient, match="none on the engine at unix://"):
        ComposeTarget(**{**settings, "project_name": "no-such"}).database.connect()
    mute = ComposeTarget(**{**settings, "engine_url": "unix:///run/no-such-docker.sock"})
    with pytest.raises(Transient, match="Start the engine"):
        mute.identity()


def test_the_check_of_a_target_finds_nothing_wrong(
    compose_target: ComposeTarget, home: Path
) -> None:
    """What `remedy target check` asks works; where this machine is a container, it has none."""
    assert home
    targets.give(compose_target)
    found = {one.what: one for one in examine("compose")}
    assert [one for one in found.values() if one.answer != "works" and one.what != "machine"] == []
    assert found["machine"].answer != "fails"
    assert "app, db, nginx, redis" in found["compose files"].detail
    assert "-app running" in found["containers"].detail
    assert "-app status 0 after" in found["commands in containers"].detail
    assert re.search(r"-app uses \d+ MB; processes seen: [1-9]", found["processes"].detail)
    assert "newest lines read" in found["access log"].detail


def test_free_space_is_measured_where_the_volume_lies(
    compose_target: ComposeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is the same seen from this machine and from inside of the container."""
    database = compose_target.database
    here = database.free_bytes()
    monkeypatch.setattr(compose_target.engine, "is_local", False)
    inside = database.free_bytes()
    assert here is not None
    assert inside is not None
    assert abs(here - inside) < 2**30


def test_a_container_is_made_anew_without_a_gap(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """Another one serves behind nginx meanwhile; nginx's file is the same afterwards."""
    application = compose_target.application
    file = fresh_compose.folder / "nginx" / "nginx.conf"
    alike = "# http://other-app:8000, api.app:8000, app:80001\n"
    text, old = alike + file.read_text(), application.configuration()
    file.write_text(text)
    (before,) = application.replicas()
    application.configure({"LOG_LEVEL": "ERROR"})
    with under_load(fresh_compose):
        assert application.stand_in(before.name)
        application.drain(before.name)
        (drained,) = application.replicas()
        assert (drained.runs, drained.serves) == (True, False)
        assert file.read_text().startswith(alike)
        application.restart(before.name)
        (anew,) = application.replicas()
        assert (anew.settings["LOG_LEVEL"], anew.serves) == ("ERROR", False)
        application.admit(before.name)
    (after,) = application.replicas()
    assert after.serves
    assert application.stand_in(before.name)  # and its remediation dies
    assert compose_target.end_older(1) == [f"container {before.name}-stand-in of token 0"]
    assert file.read_text() == text
    assert ours(compose_target) == []
    application.put_back(old, {"LOG_LEVEL": "ERROR"}, {"LOG_LEVEL": "WARNING"})
    file.write_text(text.removeprefix(alike))


def test_a_server_that_stands_still_is_told_with_what_lets_it_go_on(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """Stopped by a signal, or paused by the engine: it is there and answers nobody."""
    container = fresh_compose.project.container("db")
    name, ways = container.name, {}
    container.kill("SIGSTOP")
    ways[f"docker kill --signal CONT {name}"] = judge(compose_target.server.look())
    container.kill("SIGCONT")
    container.pause()
    ways[f"docker unpause {name}"] = judge(compose_target.server.look())
    container.unpause()
    for way, judged in ways.items():
        assert judged.obstacles[0].todo == f"Let it go on: {way}"
    assert judge(compose_target.server.look()).obstacles[0].what.startswith("It says that it is")


def test_a_volume_is_looked_at_where_it_is_and_never_made_by_looking(
    fresh_compose: ComposeSystem,
) -> None:
    """Of a server without a container, too; nor is one that is gone taken for a new one."""
    project = fresh_compose.project
    volume, file = f"{project.name}-data.small", fresh_compose.folder / "small.yml"
    file.write_text(
        f'version: "3.8"\nvolumes:\n  postgres_data:\n    name: {volume}\n', encoding="utf-8"
    )
    settings = fresh_compose.target_settings()
    files = [*settings["compose_files"], file.name]
    elsewhere = {"project_name": f"{project.name}-small", "compose_files": files}
    server = ComposeTarget(**{**settings, **elsewhere}).server
    with closing(project.engine.client()) as client:
        assert server.look().folder is Folder.MISSING
        with pytest.raises(PreconditionFailed, match="would make an empty server"):
            server.start()
        assert client.volumes.list(filters={"name": volume}) == []
        size = {"type": "tmpfs", "device": "tmpfs", "o": "size=30m"}
        made = client.volumes.create(volume, driver_opts=size)
        try:
            look = server.look()
        finally:
            made.remove()
            file.unlink()
    assert look.folder is Folder.EMPTY
    assert look.free_bytes is not None
    assert look.free_bytes <= 30 * 2**20


def test_the_superuser_is_read_as_the_image_reads_it(
    fresh_compose: ComposeSystem, compose_target: ComposeTarget
) -> None:
    """From the environment, or from the files of secrets that it names."""
    project, settings = compose_target.project, fresh_compose.settings
    plain = superuser_of(project, "db")
    assert (plain.user, plain.password) == ("postgres", settings.superuser_password)
    secret, file = fresh_compose.folder / "admin.txt", fresh_compose.folder / "secrets.yml"
    secret.write_text("s3cret from a file\n")
    file.write_text(
        "services:\n  db:\n    environment:\n      POSTGRES_PASSWORD: ''\n"
        "      POSTGRES_PASSWORD_FILE: /run/secrets/admin\n    secrets: [admin]\n"
        "secrets:\n  admin:\n    file: ./admin.txt\n"
    )
    given = project.files
    elsewhere = project.beside(replace(given, files=(*given.files, file.name)))
    try:
        made = superuser_of(elsewhere, "db")
        assert (made.user, made.password) == ("postgres", "s3cret from a file")
        assert made.password not in repr(made)
        secret.unlink()
        with pytest.raises(PreconditionFailed, match="POSTGRES_PASSWORD_FILE names"):
            superuser_of(elsewhere, "db")
    finally:
        file.unlink()
        secret.unlink(missing_ok=True)
