"""A server that does not run, in the ways in which that comes about; each is brought about."""

import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil
import psycopg
import pytest

from flows.database.start_database import start_database
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.planner import Planner
from infra.sandbox.service_user import hand_over, service_user
from infra.sandbox.services import Sandbox
from infra.sandbox.settings import HOST
from infra.testbed.compose.system import ComposeSystem
from tasks.database.server.faults import find_server_faults
from tasks.database.server.start import SetFolderAccess
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Standing, Work
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import carry_out
from tests.prefect_fixtures import Runs
from tests.snapshots import snapshot
from tests.users import log_in
from tests.waiting import until


@pytest.fixture
def broken(planner: Planner) -> Iterator[Planner]:
    """A system whose data folder is as it was before, when the test has ended."""
    data = planner.cluster.data
    paths = [data / name for name in ("global/pg_control", "pg_hba.conf", "postgresql.conf")]
    kept = {path: (path.read_bytes(), path.stat()) for path in paths}
    access = data.stat()
    yield planner
    if not data.exists():
        next(data.parent.glob("postgresql-away")).rename(data)
    if isinstance(planner, Sandbox) and (process := planner.cluster.service.process()):
        process.send_signal(signal.SIGCONT)
    if not planner.cluster.runs or paths[-1].read_bytes() != kept[paths[-1]][0]:
        planner.cluster.stop()
        for path, (content, of) in kept.items():
            path.write_bytes(content)
            os.chown(path, of.st_uid, of.st_gid)
    data.chmod(access.st_mode & 0o7777)
    os.chown(data, access.st_uid, access.st_gid)


@contextmanager
def bystander(folder: Path, stdin: IO[str] | None = None) -> Iterator[int]:
    """A process of the server's user that has nothing to do with it; gives its number."""
    user = service_user()
    with subprocess.Popen(
        ["sleep", "300"],
        cwd=folder,
        stdin=stdin,
        user=user,
        group=user,
        extra_groups=None if not user else [],
    ) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def write_pid_file(planner: Planner, pid: int) -> str:
    """Have postmaster.pid name another process, as after a reboot; gives its text."""
    path = planner.cluster.data / "postmaster.pid"
    text = re.sub(r"^\d+", str(pid), path.read_text())
    path.write_text(text)
    return text


def started_at(planner: Planner) -> str:
    """Ask the server when it was started."""
    with planner.connect("postgres") as session:
        row = session.execute("SELECT pg_postmaster_start_time()::text").fetchone()
    return str(row)


def advised(runs: Runs, planner: Planner) -> str:
    """Look at a server that shall not be started; gives what a person is told to do."""
    case, state = carry_out(runs, planner, start_database)
    assert state.name == "Advised", state.message
    (stage,) = case.stages
    told = "\n".join(f"{one.what} {one.patch}" for one in stage.stage.findings if one.patch)
    return f"{told}\n"


def test_a_killed_server_is_started_and_loses_nothing(runs: Runs, planner: Planner) -> None:
    """Recovery is waited for, and users are served with every row."""
    before = snapshot(planner)
    planner.cluster.kill()
    assert log_in(planner).status_code != 200
    case, state = carry_out(runs, planner, start_database)
    assert state.name == "Remediated", state.message
    assert log_in(planner).status_code == 200
    assert snapshot(planner) == before
    (found,) = case.stages[0].stage.findings
    assert "it crashed" in found.what
    if isinstance(planner, ComposeSystem):
        assert "exit status 137" in str(found.rows)
    (done,) = case.of_kind("done")
    assert "redo done" in done.facts["note"]


def test_one_that_changed_while_an_approval_waits_is_not_started(sandbox: Sandbox) -> None:
    """It has run since and was shut down on purpose, or is a standby now: nobody approved that."""
    target, data = sandbox.settings.name, sandbox.cluster.data
    work = Work(target=target, remediation="aaaabbbb22")
    sandbox.cluster.kill()
    change = find_server_faults(target).changes[-1]
    assert change.observe(work).standing is Standing.BEFORE
    standby = data / "standby.signal"
    standby.touch()
    seen = change.observe(work)
    standby.unlink()
    assert (seen.standing, seen.detail) == (Standing.OTHER, "it is a standby now")
    sandbox.cluster.start()
    sandbox.cluster.stop()
    seen = change.observe(work)
    assert seen.standing is Standing.OTHER
    assert "it has run since: its control file says 'shut down' now" in seen.detail
    again = find_server_faults(target).changes[-1]
    assert again.observe(work).standing is Standing.BEFORE
    with socket.create_server((HOST, sandbox.settings.ports["postgresql"])):
        assert again.observe(work).standing is Standing.OTHER


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_one_that_was_shut_down_is_started_when_approved(runs: Runs, planner: Planner) -> None:
    """Somebody may have wanted it so: an approver decides."""
    planner.cluster.stop()
    run, state = runs.start(start_database, target=planner.settings.name)
    assert state is None
    assert not planner.cluster.runs
    case = Case.read(Ledger(), runs.id_of(run))
    assert "shut down in order" in case.stages[0].stage.findings[0].what

    _, state = carry_out(runs, planner, start_database)
    assert state.name == "Remediated", state.message
    assert log_in(planner).status_code == 200


def test_one_that_runs_is_left_alone(runs: Runs, planner: Planner) -> None:
    """Nothing is planned."""
    began = started_at(planner)
    _, state = carry_out(runs, planner, start_database)
    assert state.name == "Unchanged", state.message
    assert started_at(planner) == began


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_a_stale_pid_file_is_set_aside(runs: Runs, broken: Planner) -> None:
    """Its number belongs to another program by now, and the server refuses to start for it."""
    assert isinstance(broken, Sandbox)
    data = broken.cluster.data
    broken.cluster.kill()
    with bystander(Path("/")) as pid:
        text = write_pid_file(broken, pid)
        broken.cluster.service.start()
        while broken.cluster.service.process() is not None:
            time.sleep(0.05)
        assert "postmaster.pid" in broken.cluster.service.tail()

        case, state = carry_out(runs, broken, start_database)
        assert psutil.pid_exists(pid)
    assert state.name == "Remediated", state.message
    assert log_in(broken).status_code == 200
    aside = data / f"postmaster.pid.remedy-{case.id}"
    assert aside.read_text() == text
    aside.unlink()


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_a_pid_file_stays_while_a_process_works_in_the_folder(runs: Runs, broken: Planner) -> None:
    """Whatever it is: two servers on one folder destroy it."""
    broken.cluster.kill()
    with bystander(broken.cluster.data) as pid:
        text = write_pid_file(broken, 1)
        assert f"process {pid} (sleep)" in advised(runs, broken)
        assert psutil.pid_exists(pid)
    assert (broken.cluster.data / "postmaster.pid").read_text() == text
    assert not broken.cluster.runs


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_a_pid_file_stays_while_a_process_has_a_file_of_the_folder_open(
    runs: Runs, broken: Planner
) -> None:
    """Who copies it, from wherever; who follows the log does no harm."""
    broken.cluster.kill()
    data = broken.cluster.data
    (data / "log").mkdir(exist_ok=True)
    (data / "log" / "followed").touch()
    with (data / "log" / "followed").open() as log, bystander(Path("/"), stdin=log) as follows:
        with (data / "PG_VERSION").open() as file, bystander(Path("/"), stdin=file) as pid:
            text = write_pid_file(broken, 1)
            told = advised(runs, broken)
            assert f"process {pid} (sleep)" in told
            assert f"process {follows} (sleep)" not in told
        assert (data / "postmaster.pid").read_text() == text
        _, state = carry_out(runs, broken, start_database)
    assert state.name == "Remediated", state.message
    assert log_in(broken).status_code == 200


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_one_that_lets_nobody_in_is_not_said_to_be_well(runs: Runs, planner: Planner) -> None:
    """All connections are taken, or pg_hba.conf keeps us out: it runs, and users are not served."""
    hba = planner.cluster.data / "pg_hba.conf"
    kept = hba.read_bytes()
    targets.give(SandboxTarget(**planner.target_settings(limited=True)))
    with planner.connect("postgres") as session:
        try:
            user = planner.settings.maintenance_user
            hba.write_bytes(f"host all {user} 0.0.0.0/0 reject\n".encode() + kept)
            session.execute("SELECT pg_reload_conf()")
            _, state = carry_out(runs, planner, start_database)
        finally:
            hba.write_bytes(kept)
            session.execute("SELECT pg_reload_conf()")
    assert state.name == "Refused", state.message
    assert "pg_hba.conf rejects" in str(state.message)
    with ExitStack() as held:
        with suppress(psycopg.OperationalError):
            while True:
                held.enter_context(planner.connect("postgres"))
        _, state = carry_out(runs, planner, start_database)
    assert state.name == "Refused", state.message
    assert "connection slots" in str(state.message) or "too many" in str(state.message)


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_one_that_is_in_recovery_is_not_said_to_be_well(runs: Runs, broken: Planner) -> None:
    """A standby answers, and nobody writes there."""
    assert isinstance(broken, Sandbox)
    broken.cluster.stop()
    signal_file = broken.cluster.data / "standby.signal"
    signal_file.touch()
    hand_over(signal_file)
    try:
        broken.up()
        with broken.connect("postgres") as session:
            session.execute("SELECT pg_wal_replay_pause()")
        told = advised(runs, broken)
        assert "somebody has paused" in told
        assert "pg_wal_replay_resume" in told
    finally:
        broken.cluster.stop()
        signal_file.unlink()
        broken.up()


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_a_disk_without_room_is_told(
    runs: Runs, broken: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that finds no room for its log ends again at once."""
    broken.cluster.kill()
    usage = shutil.disk_usage(broken.cluster.data)
    wal = broken.cluster.data / "pg_wal"  # on a disk of its own, which is full
    monkeypatch.setattr(
        shutil,
        "disk_usage",
        lambda path: usage._replace(free=5_000_000) if Path(path) == wal else usage,
    )
    told = advised(runs, broken)
    assert "Only 5 MB are free" in told
    assert "Never delete anything in pg_wal" in told
    assert not broken.cluster.runs


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_a_taken_port_is_told(runs: Runs, broken: Planner) -> None:
    """Who has it is named, and not ended."""
    broken.cluster.kill()
    with socket.create_server((HOST, broken.settings.ports["postgresql"])):
        assert f"taken by process {os.getpid()} (" in advised(runs, broken)
    assert not broken.cluster.runs


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_a_folder_open_to_others_is_closed(runs: Runs, broken: Planner) -> None:
    """The server refuses to start on it; an undo leaves it closed, and the server running."""
    data = broken.cluster.data
    broken.cluster.kill()
    data.chmod(0o755)
    case, state = carry_out(runs, broken, start_database)
    assert state.name == "Remediated", state.message
    assert SetFolderAccess.kind in {one.kind for one in case.stages[0].stage.changes}
    assert data.stat().st_mode & 0o777 in {0o750, 0o700}  # an image's entrypoint closes it more
    assert log_in(broken).status_code == 200

    _, ended = carry_out(runs, broken, undo_remediation, remediation=case.id)
    assert ended.name == "Unchanged", ended.message
    assert data.stat().st_mode & 0o027 == 0
    assert log_in(broken).status_code == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder away")
def test_a_folder_of_another_user_is_given_back(runs: Runs, broken: Planner) -> None:
    """To whom its files belong."""
    data = broken.cluster.data
    owner = data.stat().st_uid
    broken.cluster.kill()
    os.chown(data, 0, 0)
    case, state = carry_out(runs, broken, start_database)
    assert state.name == "Remediated", state.message
    assert SetFolderAccess.kind in {one.kind for one in case.stages[0].stage.changes}
    assert data.stat().st_uid == owner
    assert log_in(broken).status_code == 200


def test_a_damaged_control_file_is_left_alone(runs: Runs, broken: Planner) -> None:
    """No pg_resetwal, no start: a restore."""
    broken.cluster.kill()
    control = broken.cluster.data / "global" / "pg_control"
    content = bytearray(control.read_bytes())
    content[40:48] = b"damaged!"
    control.write_bytes(content)
    told = advised(runs, broken)
    assert "Never run pg_resetwal" in told
    assert "restore_from_backup" in told
    assert control.read_bytes() == content
    assert not broken.cluster.runs


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_rows_without_a_control_file_are_not_taken_for_half_made(
    runs: Runs, broken: Planner
) -> None:
    """It is damage, not a folder that may be made anew."""
    broken.cluster.kill()
    (broken.cluster.data / "global" / "pg_control").unlink()
    told = advised(runs, broken)
    assert "there is no global/pg_control" in told
    assert "initialise_database" not in told


def test_a_wrong_configuration_is_told_with_its_line(runs: Runs, broken: Planner) -> None:
    """Before the server is started."""
    broken.cluster.kill()
    path = broken.cluster.data / "postgresql.conf"
    path.write_text(f"{path.read_text()}\nmax_connections = plenty\n")
    assert 'invalid value for parameter "max_connections": "plenty"' in advised(runs, broken)
    assert not broken.cluster.runs


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_a_missing_folder_is_told(runs: Runs, broken: Planner) -> None:
    """Its disk may only not be mounted: nothing is made in its place."""
    broken.cluster.kill()
    data = broken.cluster.data
    data.rename(data.with_name("postgresql-away"))
    told = advised(runs, broken)
    assert f"The data folder {data} is missing." in told
    assert "Mount its disk" in told
    assert not data.exists()


def test_what_the_server_says_is_told_where_it_does_not_come_up(
    runs: Runs, broken: Planner
) -> None:
    """Something that only the server itself finds."""
    broken.cluster.kill()
    (broken.cluster.data / "pg_hba.conf").write_text("host all all nonsense\n")
    _, state = carry_out(runs, broken, start_database)
    assert state.name == "Undone", state.message
    assert "could not load" in str(state.message)
    assert "pg_hba.conf" in str(state.message)
    until(lambda: not broken.cluster.runs)  # a container is started again, and ends again


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_a_server_that_another_program_starts_is_left_to_it(runs: Runs, broken: Planner) -> None:
    """It may have made another server the primary."""
    broken.cluster.kill()
    (broken.cluster.data / "patroni.dynamic.json").write_text("{}")
    try:
        assert "Ask Patroni" in advised(runs, broken)
    finally:
        (broken.cluster.data / "patroni.dynamic.json").unlink()


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_programs_of_another_version_are_not_taken_for_damage(runs: Runs, broken: Planner) -> None:
    """The data is sound, whatever they make of it."""
    broken.cluster.kill()
    version = broken.cluster.data / "PG_VERSION"
    made_by = version.read_text()
    version.write_text("9\n")
    try:
        told = advised(runs, broken)
    finally:
        version.write_text(made_by)
    assert "The data is of version 9" in told
    assert "pg_resetwal" not in told


@pytest.mark.parametrize("planner", ["sandbox"], indirect=True)
def test_a_stopped_process_is_told(runs: Runs, broken: Planner) -> None:
    """It is there and answers nobody."""
    assert isinstance(broken, Sandbox)
    process = broken.cluster.service.process()
    assert process is not None
    process.suspend()
    assert f"kill -CONT {process.pid}" in advised(runs, broken)
    assert process.status() == psutil.STATUS_STOPPED
