"""A server that does not run, in the ways in which that comes about; each is brought about."""

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from flows.database.start_database import start_database
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.service_user import hand_over, service_user
from infra.sandbox.services import Sandbox
from infra.sandbox.settings import HOST
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import carry_out
from tests.prefect_fixtures import Runs
from tests.snapshots import snapshot
from tests.users import log_in


@pytest.fixture
def broken(sandbox: Sandbox) -> Iterator[Sandbox]:
    """A sandbox whose data folder is as it was before, when the test has ended."""
    data = sandbox.cluster.data
    kept = {path: path.read_bytes() for path in (data / "global/pg_control", hba(sandbox))}
    configuration, access = (data / "postgresql.conf").read_bytes(), data.stat()
    yield sandbox
    if not data.exists():
        next(data.parent.glob("postgresql-away")).rename(data)
    process = sandbox.cluster.service.process()
    if process is not None:
        process.send_signal(signal.SIGCONT)
    if process is None or (data / "postgresql.conf").read_bytes() != configuration:
        sandbox.cluster.service.stop()
        for path, content in kept.items():
            path.write_bytes(content)
            hand_over(path)
        (data / "postgresql.conf").write_bytes(configuration)
    data.chmod(access.st_mode & 0o7777)
    os.chown(data, access.st_uid, access.st_gid)


def hba(sandbox: Sandbox) -> Path:
    """Where it says who may connect."""
    return sandbox.cluster.data / "pg_hba.conf"


def kill(sandbox: Sandbox) -> None:
    """End the server at once, and wait until its last process has ended."""
    sandbox.kill("postgresql")
    server = SandboxTarget(**sandbox.target_settings()).server
    give_up = time.monotonic() + 30
    while server.holders():
        assert time.monotonic() < give_up
        time.sleep(0.05)


@contextmanager
def bystander(folder: Path) -> Iterator[int]:
    """A process of the server's user that has nothing to do with it; gives its number."""
    user = service_user()
    with subprocess.Popen(
        ["sleep", "300"], cwd=folder, user=user, group=user, extra_groups=None if not user else []
    ) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def write_pid_file(sandbox: Sandbox, pid: int) -> str:
    """Have postmaster.pid name another process, as after a reboot; gives its text."""
    path = sandbox.cluster.data / "postmaster.pid"
    text = re.sub(r"^\d+", str(pid), path.read_text())
    path.write_text(text)
    return text


def advised(runs: Runs, sandbox: Sandbox) -> str:
    """Look at a server that shall not be started; gives what a person is told to do."""
    case, state = carry_out(runs, sandbox, start_database)
    assert state.name == "Advised", state.message
    (stage,) = case.stages
    told = "\n".join(f"{one.what} {one.patch}" for one in stage.stage.findings if one.patch)
    return f"{told}\n"


def test_a_killed_server_is_started_and_loses_nothing(runs: Runs, sandbox: Sandbox) -> None:
    """Recovery is waited for, and users are served with every row."""
    before = snapshot(sandbox)
    kill(sandbox)
    assert log_in(sandbox).status_code != 200
    case, state = carry_out(runs, sandbox, start_database)
    assert state.name == "Remediated", state.message
    assert log_in(sandbox).status_code == 200
    assert snapshot(sandbox) == before
    assert "it crashed" in case.stages[0].stage.findings[0].what
    (done,) = case.of_kind("done")
    assert "redo done" in done.facts["note"]


def test_one_that_was_shut_down_is_started_when_approved(runs: Runs, sandbox: Sandbox) -> None:
    """Somebody may have wanted it so: an approver decides."""
    sandbox.cluster.service.stop()
    run, state = runs.start(start_database, target=sandbox.settings.name)
    assert state is None
    assert sandbox.cluster.service.process() is None
    case = Case.read(Ledger(), runs.id_of(run))
    assert "shut down in order" in case.stages[0].stage.findings[0].what

    _, state = carry_out(runs, sandbox, start_database)
    assert state.name == "Remediated", state.message
    assert log_in(sandbox).status_code == 200


def test_one_that_runs_is_left_alone(runs: Runs, sandbox: Sandbox) -> None:
    """Nothing is planned."""
    process = sandbox.cluster.service.process()
    _, state = carry_out(runs, sandbox, start_database)
    assert state.name == "Unchanged", state.message
    assert sandbox.cluster.service.process() == process


def test_a_stale_pid_file_is_set_aside(runs: Runs, broken: Sandbox) -> None:
    """Its number belongs to another program by now, and the server refuses to start for it."""
    data = broken.cluster.data
    kill(broken)
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


def test_a_pid_file_stays_while_a_process_works_in_the_folder(runs: Runs, broken: Sandbox) -> None:
    """Whatever it is: two servers on one folder destroy it."""
    kill(broken)
    with bystander(broken.cluster.data) as pid:
        text = write_pid_file(broken, 1)
        assert f"process {pid} (sleep)" in advised(runs, broken)
        assert psutil.pid_exists(pid)
    assert (broken.cluster.data / "postmaster.pid").read_text() == text
    assert broken.cluster.service.process() is None


def test_a_taken_port_is_told(runs: Runs, broken: Sandbox) -> None:
    """Who has it is named, and not ended."""
    kill(broken)
    with socket.create_server((HOST, broken.settings.ports["postgresql"])):
        assert f"taken by process {os.getpid()} (" in advised(runs, broken)
    assert broken.cluster.service.process() is None


def test_a_folder_open_to_others_is_closed(runs: Runs, broken: Sandbox) -> None:
    """The server refuses to start on it; an undo leaves it closed, and the server running."""
    data = broken.cluster.data
    kill(broken)
    data.chmod(0o755)
    case, state = carry_out(runs, broken, start_database)
    assert state.name == "Remediated", state.message
    assert data.stat().st_mode & 0o777 == 0o750
    assert log_in(broken).status_code == 200

    _, ended = carry_out(runs, broken, undo_remediation, remediation=case.id)
    assert ended.name == "Unchanged", ended.message
    assert data.stat().st_mode & 0o777 == 0o750
    assert log_in(broken).status_code == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a folder away")
def test_a_folder_of_another_user_is_given_back(runs: Runs, broken: Sandbox) -> None:
    """To whom its files belong."""
    data = broken.cluster.data
    owner = data.stat().st_uid
    kill(broken)
    os.chown(data, 0, 0)
    _, state = carry_out(runs, broken, start_database)
    assert state.name == "Remediated", state.message
    assert data.stat().st_uid == owner
    assert log_in(broken).status_code == 200


def test_a_damaged_control_file_is_left_alone(runs: Runs, broken: Sandbox) -> None:
    """No pg_resetwal, no start: a restore."""
    kill(broken)
    control = broken.cluster.data / "global" / "pg_control"
    content = bytearray(control.read_bytes())
    content[40:48] = b"damaged!"
    control.write_bytes(content)
    told = advised(runs, broken)
    assert "Never run pg_resetwal" in told
    assert "restore_from_backup" in told
    assert control.read_bytes() == content
    assert broken.cluster.service.process() is None


def test_rows_without_a_control_file_are_not_taken_for_half_made(
    runs: Runs, broken: Sandbox
) -> None:
    """It is damage, not a folder that may be made anew."""
    kill(broken)
    (broken.cluster.data / "global" / "pg_control").unlink()
    told = advised(runs, broken)
    assert "there is no global/pg_control" in told
    assert "initialise_database" not in told


def test_a_wrong_configuration_is_told_with_its_line(runs: Runs, broken: Sandbox) -> None:
    """Before the server is started."""
    kill(broken)
    path = broken.cluster.data / "postgresql.conf"
    path.write_text(f"{path.read_text()}\nmax_connections = plenty\n")
    assert 'invalid value for parameter "max_connections": "plenty"' in advised(runs, broken)
    assert broken.cluster.service.process() is None


def test_a_missing_folder_is_told(runs: Runs, broken: Sandbox) -> None:
    """Its disk may only not be mounted: nothing is made in its place."""
    kill(broken)
    data = broken.cluster.data
    data.rename(data.with_name("postgresql-away"))
    told = advised(runs, broken)
    assert f"The data folder {data} is missing." in told
    assert "Mount its disk" in told
    assert not data.exists()


def test_what_the_server_says_is_told_where_it_does_not_come_up(
    runs: Runs, broken: Sandbox
) -> None:
    """Something that only the server itself finds."""
    kill(broken)
    hba(broken).write_text("host all all nonsense\n")
    _, state = carry_out(runs, broken, start_database)
    assert state.name == "Undone", state.message
    assert "could not load" in str(state.message)
    assert "pg_hba.conf" in str(state.message)
    assert broken.cluster.service.process() is None


def test_a_server_that_another_program_starts_is_left_to_it(runs: Runs, broken: Sandbox) -> None:
    """It may have made another server the primary."""
    kill(broken)
    (broken.cluster.data / "patroni.dynamic.json").write_text("{}")
    try:
        assert "Ask Patroni" in advised(runs, broken)
    finally:
        (broken.cluster.data / "patroni.dynamic.json").unlink()


def test_programs_of_another_version_are_not_taken_for_damage(runs: Runs, broken: Sandbox) -> None:
    """The data is sound, whatever they make of it."""
    kill(broken)
    version = broken.cluster.data / "PG_VERSION"
    made_by = version.read_text()
    version.write_text("9\n")
    try:
        told = advised(runs, broken)
    finally:
        version.write_text(made_by)
    assert "The data is of version 9" in told
    assert "pg_resetwal" not in told


def test_a_stopped_process_is_told(runs: Runs, broken: Sandbox) -> None:
    """It is there and answers nobody."""
    process = broken.cluster.service.process()
    assert process is not None
    process.suspend()
    assert f"kill -CONT {process.pid}" in advised(runs, broken)
    assert process.status() == psutil.STATUS_STOPPED
