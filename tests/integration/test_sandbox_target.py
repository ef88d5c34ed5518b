"""The sandbox as a target: its capabilities, and who it says it is."""

import contextlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest
from prefect.blocks.core import Block

from infra.sandbox.accounts import KNOWN_PROGRAM
from infra.sandbox.services import Sandbox
from tasks.guardrails.errors import BadInput, PreconditionFailed, Transient
from tasks.guardrails.systems import pin
from tasks.platforms.protocols import System
from tasks.platforms.sandbox.target import SandboxTarget
from tests.fences import Held

ROOT = Path(__file__).parents[2]


def test_it_is_a_system(sandbox_target: SandboxTarget) -> None:
    """The type checker holds it to the protocol; its form describes every field."""
    system: System = sandbox_target
    assert system.name == "sandbox"
    assert Block.get_block_class_from_key("sandbox-target") is SandboxTarget
    fields = SandboxTarget.model_fields.items()
    assert [name for name, field in fields if not field.description] == []


def test_its_name_is_its_blocks(sandbox_target: SandboxTarget) -> None:
    """A block that was loaded by name goes by that name, also to the server."""
    assert sandbox_target.database.session_name == "remedy:sandbox:0"
    sandbox_target.name = "planner-one"
    assert sandbox_target.name == "planner-one"
    assert sandbox_target.database.session_name == "remedy:planner-one:0"


def test_the_fingerprint_leaves_secrets_out(
    sandbox_target: SandboxTarget, fresh_sandbox: Sandbox
) -> None:
    """Another password is the same system, another port is not."""
    settings = fresh_sandbox.target_settings()
    same = SandboxTarget(**{**settings, "maintenance_password": "x", "probe_secret": "y"})
    other = SandboxTarget(**{**settings, "port": 1})
    assert same.fingerprint() == sandbox_target.fingerprint()
    assert other.fingerprint() != sandbox_target.fingerprint()


def test_identity_is_the_servers(sandbox_target: SandboxTarget, fresh_sandbox: Sandbox) -> None:
    """What the maintenance user reads is what the superuser reads."""
    with fresh_sandbox.connect() as session:
        row = session.execute("SELECT system_identifier FROM pg_control_system()").fetchone()
    assert row is not None
    identity = sandbox_target.identity()
    assert identity["system_identifier"] == str(row[0])
    assert identity["database"] == "planner"


def test_older_sessions_are_ended(sandbox_target: SandboxTarget) -> None:
    """A session of token 1 is ended by the holder of token 2, its own are not."""
    with pin(sandbox_target, Held(1)):
        older = sandbox_target.database.connect()
    with pin(sandbox_target, Held(2)), sandbox_target.database.connect() as ours:
        ended = sandbox_target.end_older(2)
        assert len(ended) == 1
        assert ended[0].startswith("session remedy:sandbox:1 in planner")
        assert ours.execute("SELECT 1 AS one").fetchone() == {"one": 1}
    with pytest.raises(Transient, match="terminating connection"):
        older.execute("SELECT 1")
    older.close()


def test_the_maintenance_user_is_no_superuser(limited_target: SandboxTarget) -> None:
    """It makes and renames databases, and reads none of the server's files."""
    with limited_target.database.connect("postgres") as session:
        session.execute("CREATE DATABASE side OWNER planner TEMPLATE template0")
        session.execute("ALTER DATABASE side ALLOW_CONNECTIONS false")
        session.execute("ALTER DATABASE side RENAME TO side_too")
        with pytest.raises(PreconditionFailed, match="permission denied"):
            session.execute("SELECT pg_read_file('postgresql.conf')")
        session.execute("DROP DATABASE side_too")


def test_commands_run_as_the_application_ships_them(sandbox_target: SandboxTarget) -> None:
    """Settings are laid over the application's own; exit status and errors come back."""
    run = sandbox_target.application.run
    migrations = sandbox_target.migrations
    assert migrations is not None
    assert run(migrations.show_database, {}).output == "planner\n"
    assert run(migrations.show_database, {"POSTGRES_DB": "postgres"}).output == "postgres\n"
    failed = run(["python", "-c", "import sys; sys.exit('why')"], {})
    assert (failed.status, failed.errors) == (1, "why\n")
    assert run(["no-such-program"], {}).status == 1
    assert run(["python", "-c", "import os; os.kill(os.getpid(), 9)"], {}).status == 137


def test_a_command_ends_when_its_caller_is_killed(fresh_sandbox: Sandbox) -> None:
    """Kill -9 of the caller takes the command with it (PDEATHSIG)."""
    code = (
        "import json, sys\n"
        "from tasks.platforms.sandbox.target import SandboxTarget\n"
        "target = SandboxTarget(**json.load(sys.stdin))\n"
        "target.application.run(['python', '-c', 'import time; time.sleep(600.25)'], {})\n"
    )
    settings = json.dumps(fresh_sandbox.target_settings())
    caller = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE)
    assert caller.stdin is not None
    caller.stdin.write(settings.encode())
    caller.stdin.close()
    children: list[psutil.Process] = []
    deadline = time.monotonic() + 120
    while not children and time.monotonic() < deadline:
        with contextlib.suppress(psutil.NoSuchProcess):  # one that was there has just ended
            children = [
                child
                for child in psutil.Process(caller.pid).children()
                if "time.sleep(600.25)" in " ".join(child.cmdline()) and "-S" not in child.cmdline()
            ]
        time.sleep(0.05)
    caller.kill()
    caller.wait()
    _, alive = psutil.wait_procs(children, timeout=60)
    assert children
    assert alive == []


def test_pause_without_a_proxy_says_so(
    sandbox_target: SandboxTarget, fresh_sandbox: Sandbox
) -> None:
    """No proxy, no pause; the block runs all the same."""
    fresh_sandbox.kill("proxy")
    with sandbox_target.application.pause(5) as paused:
        assert not paused


def test_backups_are_whole_or_not_there(sandbox_target: SandboxTarget, tmp_path: Path) -> None:
    """Files and folders go in and out; drafts are not listed; names stay in the folder."""
    backups = sandbox_target.backups
    file, folder = tmp_path / "a.sql", tmp_path / "b"
    file.write_text("SELECT 1;")
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "toc.dat").write_bytes(b"12345")
    backups.store(file, "one.sql")
    os.utime(sandbox_target.backups_directory / "one.sql", (1, 1))
    backups.store(folder, "two")
    (sandbox_target.backups_directory / ".three.new").write_text("half")
    listed = [(backup.name, backup.size, backup.is_directory) for backup in backups.list()]
    assert listed == [("two", 5, True), ("one.sql", 9, False)]
    with backups.local("two") as path:
        assert (path / "inner" / "toc.dat").read_bytes() == b"12345"
    with pytest.raises(PreconditionFailed, match="a backup of that name"):
        backups.store(file, "one.sql")
    with pytest.raises(BadInput, match="no folder, no dot in front"):
        backups.remove("../sandbox.json")
    with pytest.raises(PreconditionFailed, match="none of that name"), backups.local("four"):
        pass
    for name in ("one.sql", "two", "two"):
        backups.remove(name)
    assert backups.list() == []


def test_clearing_the_cache_leaves_queues_and_strangers(
    sandbox_target: SandboxTarget, fresh_sandbox: Sandbox
) -> None:
    """Only the application's cached keys go."""
    with fresh_sandbox.cache() as cache:
        for number in range(1200):
            cache.set(f"planner:programs:{number}", "{}")
        cache.rpush("planner:queue:reports", "job", "job")
        cache.set("stranger", "1")
        assert sandbox_target.cache.count() == 1200
        assert sandbox_target.cache.clear() == 1200
        assert sandbox_target.cache.queued() == {"planner:queue:reports": 2}
        assert cache.get("stranger") == b"1"
    fresh_sandbox.kill("valkey")
    with pytest.raises(Transient, match="the cache on"):
        sandbox_target.cache.count()


def test_the_probe_accounts_requests_work(
    sandbox_target: SandboxTarget, fresh_sandbox: Sandbox
) -> None:
    """Log in, read, write, read back, delete: as the account describes it."""
    account = sandbox_target.probe_account
    assert account is not None
    assert account.write is not None
    assert account.read_back is not None
    assert account.delete is not None
    given = {
        "username": account.username,
        "password": sandbox_target.probe_password,
        "unique": "1a2b",
    }
    with httpx.Client(base_url=fresh_sandbox.url, trust_env=False, timeout=30) as client:
        asked = [account.login, *account.read, account.write, account.read_back, account.delete]
        for request in asked:
            body = {key: value.format(**given) for key, value in (request.body or {}).items()}
            answer = client.request(
                request.method,
                request.path.format(**given),
                headers={key: value.format(**given) for key, value in request.headers.items()},
                json=body or None,
            )
            assert answer.status_code == request.status, answer.text
            for key, path in request.capture.items():
                given[key] = answer.json()[path]
            for key, value in request.expect.items():
                assert answer.json()[key] == value.format(**given)
    assert str(KNOWN_PROGRAM) in account.read[0].path
