"""Secrets as canaries: a whole restore, its undo and a failing run write none of them anywhere."""

import base64
import os
import re
import sqlite3
import stat
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.logging.handlers import APILogHandler
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from deployments.services.environment import environment
from flows.database.back_up_database import back_up_database
from flows.database.restore_from_backup import restore_from_backup
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.damage import Damage, damage
from infra.sandbox.services import Sandbox
from tasks.guardrails import approvers
from tasks.guardrails.approvers import Enrolment
from tasks.guardrails.keys import load_keys
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import settings
from tasks.platforms.sandbox.target import SandboxTarget
from tests.integration.test_cli import Command
from tests.prefect_fixtures import Runs, prefect_database

TARGET, WRONG = "canary-target", "canary-wrong"
AUTH = "canary:kept-out-of-everything"
WRONG_PASSWORD = "canary-that-opens-nothing"
_MOST_GATES = 5
Secrets = Mapping[str, bytes]
Sources = dict[str, bytes]


def forms(secret: bytes) -> set[bytes]:
    """Give a secret as it may be written: as it is, in hexadecimal, in base64 of both kinds."""
    return {
        secret,
        secret.hex().encode(),
        secret.hex().upper().encode(),
        base64.b64encode(secret).rstrip(b"="),
        base64.urlsafe_b64encode(secret).rstrip(b"="),
    }


def leaks(secrets: Secrets, sources: Sources) -> list[str]:
    """Name every secret that is found, and where."""
    return [
        f"{name} in {where}"
        for name, secret in secrets.items()
        for where, content in sources.items()
        if any(form in content for form in forms(secret))
    ]


class CommandLines(threading.Thread):
    """Reads, all the time, what `ps` shows to every user of the machine.

    What starts and ends between two looks is seen where this process starts it.
    """

    def __init__(self) -> None:
        """Have seen nothing."""
        super().__init__(daemon=True)
        self._ended = threading.Event()
        self.seen: set[bytes] = set()
        sys.addaudithook(self._note)

    def _note(self, event: str, given: tuple[Any, ...]) -> None:
        if event == "subprocess.Popen" and not self._ended.is_set():
            words = given[1]
            listed = [words] if isinstance(words, str | bytes) else words
            self.seen.add(b"\0".join(map(os.fsencode, listed)))

    def run(self) -> None:
        """Look until it is ended."""
        while not self._ended.wait(0.05):
            for process in Path("/proc").glob("[0-9]*"):
                with suppress(OSError):  # it has ended
                    self.seen.add((process / "cmdline").read_bytes())

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Watch while the block runs."""
        self.start()
        try:
            yield
        finally:
            self._ended.set()
            self.join()


def dumped(file: Path) -> bytes:
    """Give a SQLite database as it lies on the disk and as its rows are read.

    A long value is cut where a page ends, so that it is found whole in the rows only; what was
    deleted is found on the disk only.
    """
    raw = b"".join(path.read_bytes() for path in sorted(file.parent.glob(f"{file.name}*")))
    with closing(sqlite3.connect(file)) as connection:
        return raw + "\n".join(connection.iterdump()).encode(errors="replace")


def read_all(folder: Path) -> bytes:
    """Read every file below a folder."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def restored(sandbox: Sandbox) -> bytes:
    """Give the backups as the SQL that they hold."""
    found = []
    for path in sandbox.backups.rglob("*"):
        if not path.is_file() or path.suffix not in {".dump", ".backup"}:
            continue
        program = [str(sandbox.cluster.programs / "pg_restore"), "--file=-", str(path)]
        found.append(subprocess.run(program, check=True, capture_output=True).stdout)
    return b"\n".join(found)


def secrets_of(sandbox: Sandbox, people: Iterable[Enrolment]) -> dict[str, bytes]:
    """Name every secret there is, with its value."""
    known = sandbox.settings
    found = {
        "the superuser's password": known.superuser_password,
        "the application's database password": known.application_password,
        "the maintenance user's password": known.maintenance_password,
        "the application's secret key": known.secret_key,
        "the wrong password": WRONG_PASSWORD,
        "the API's password": AUTH,
        **{f"the password of account {name}": word for name, word in known.accounts.items()},
        **{f"the secret of {who.name}": who.secret for who in people},
        **{f"recovery code {code}": code for who in people for code in who.recovery_codes},
    }
    keys = load_keys(settings())
    derived = {
        f"the key to {purpose}": keys._derive(purpose)  # noqa: SLF001 - what must lie nowhere
        for purpose in ("sign", "encrypt", "fingerprint")
    }
    master = base64.b64decode(keys.text().partition(",")[0])
    return {
        **{name: value.encode() for name, value in found.items()},
        "the master key": master,
        **derived,
    }


@pytest.fixture
def command(
    prefect_server: None,  # noqa: ARG001 - it has to run
    home: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> Command:
    """The command with the test's home, the server's address and its password."""
    variables = environment(home, {"PREFECT_API_URL": PREFECT_API_URL.value() or ""})
    variables |= {"PREFECT_API_URL": PREFECT_API_URL.value() or "", "COLUMNS": "400"}
    for name, value in (variables | {"PREFECT_API_AUTH_STRING": AUTH}).items():
        monkeypatch.setenv(name, value)
    return Command(capsys)


class Story:
    """A restore, its undo and a run that fails, approved by people who were really added."""

    def __init__(self, command: Command, runs: Runs, sandbox: Sandbox) -> None:
        """Add the people, and the targets as blocks of Prefect."""
        self.command, self.runs, self.sandbox = command, runs, sandbox
        ledger = Ledger()
        self.people = [
            approvers.add(ledger, name, ("approve", "policy"), "test")
            for name in ("ann", "bob", "cy")
        ]
        self._recovery = {who.name: list(who.recovery_codes) for who in self.people}
        self.said: list[str] = []
        self.states: list[State[object]] = []
        fields = sandbox.target_settings(limited=True)
        SandboxTarget(**fields).save(TARGET, overwrite=True)
        wrong = {**fields, "maintenance_password": WRONG_PASSWORD}
        SandboxTarget(**wrong).save(WRONG, overwrite=True)

    def call(self, *words: str) -> str:
        """Run a command, keeping all that it prints."""
        code, out, err = self.command(*words)
        self.said += [out, err]
        assert code == 0, err
        return out

    def carry_out(self, run: FlowRun, state: State[object] | None) -> str:
        """Approve a run's gates by authenticator and by recovery code; gives its end's name."""
        remediation = self.runs.id_of(run)
        for _ in range(_MOST_GATES):
            if state is not None:
                break
            for number, who in enumerate(self.people):
                code = self._recovery[who.name].pop() if number else self.command.code(who.secret)
                words = ("approve", remediation, "--as", who.name, "--code", code, "--comment", "y")
                if self.command.data("show", remediation)["waits"]:
                    self.said += self.command(*words)[1:]
            state = self.runs.execute(run)
        assert state is not None
        self.states.append(state)
        return state.name or ""

    def tell(self) -> None:
        """Back up, break, restore, undo, and fail with a wrong password."""
        assert self.carry_out(*self.runs.start(back_up_database, target=TARGET)) == "Remediated"
        damage(self.sandbox, Damage.ROWS_DELETED)
        run, state = self.runs.start(restore_from_backup, target=TARGET)
        assert self.carry_out(run, state) == "Remediated"
        self.remediation = self.runs.id_of(run)
        undo = self.runs.start(undo_remediation, target=TARGET, remediation=self.remediation)
        assert self.carry_out(*undo) == "Remediated"
        failed = self.carry_out(*self.runs.start(restore_from_backup, target=WRONG))
        assert failed not in {"Remediated", "Planned"}
        APILogHandler.flush(APILogHandler())
        for words in (
            ("runs",),
            ("runs", "--json"),
            ("show", self.remediation),
            ("show", self.remediation, "--json"),
            ("ledger", "show", "--last", "0"),
            ("ledger", "verify"),
            ("approver", "list"),
            ("target", "list"),
        ):
            self.call(*words)
        self.said += self.command("target", "check", TARGET)[1:]


def exceptions(states: Iterable[State[object]]) -> str:
    """Give the states' messages, and the exceptions behind them with their traces."""
    told = []
    for state in states:
        told.append(str(state.message))
        result = state.data and state.result(raise_on_failure=False)
        if isinstance(result, BaseException):
            told += traceback.format_exception(result)
    return "\n".join(told)


def logs() -> bytes:
    """Read the logs that were sent to the API."""
    with get_client(sync_client=True) as client:
        found: list[bytes] = []
        while True:
            page = client.read_logs(limit=200, offset=len(found))
            found += [f"{one.name} {one.message}".encode() for one in page]
            if len(page) < 200:
                return b"\n".join(found)


@pytest.mark.timeout(1800)
def test_no_secret_is_written_anywhere(
    command: Command, runs: Runs, fresh_sandbox: Sandbox, home: Path
) -> None:
    """Of every secret no form is in Prefect's database, the ledger, an output or a command line."""
    lines = CommandLines()
    with lines.watching(), temporary_settings({PREFECT_API_AUTH_STRING: AUTH}):
        story = Story(command, runs, fresh_sandbox)
        story.tell()
        export = home / "export.jsonl"
        story.call("ledger", "export", str(export))
    secrets = secrets_of(fresh_sandbox, story.people)
    sources = {
        "Prefect's database": dumped(prefect_database()),
        "the logs": logs(),
        "the ledger": dumped(home / "ledger.db"),
        "the export": export.read_bytes(),
        "the command lines": b"\n".join(lines.seen),
        "what the command printed": "\n".join(story.said).encode(),
        "the exceptions": exceptions(story.states).encode(),
        "the backups": read_all(fresh_sandbox.backups) + restored(fresh_sandbox),
        "the sandbox's logs": read_all(fresh_sandbox.logs),
    }
    known = {
        "Prefect's database": TARGET,
        "the logs": "restore",
        "the ledger": TARGET,
        "the export": TARGET,
        "the command lines": "pg_restore",
        "what the command printed": TARGET,
        "the exceptions": "password authentication failed",
        "the backups": "CREATE TABLE public.projects",
        "the sandbox's logs": "database system is ready",
    }
    assert [
        name for name in sources if not leaks({"it": known[name].encode()}, {name: sources[name]})
    ] == []
    assert leaks(secrets, sources) == []


@pytest.mark.parametrize("form", [bytes, bytes.hex, base64.b64encode, base64.urlsafe_b64encode])
def test_each_form_is_found(form: object) -> None:
    """A key that was written in any of its forms is found, whatever stands around it."""
    secret = os.urandom(32)
    written = form(secret)  # type: ignore[operator] # each takes bytes
    content = b"x" + (written.encode() if isinstance(written, str) else written) + b"y"
    assert leaks({"it": secret}, {"there": content}) == ["it in there"]
    assert leaks({"it": os.urandom(32)}, {"there": content}) == []


def test_a_program_of_a_moment_is_seen() -> None:
    """A command line is noted though its program ends before anybody can look."""
    lines = CommandLines()
    with lines.watching():
        subprocess.run(["true", "canary-of-a-moment"], check=True)
    assert b"true\0canary-of-a-moment" in lines.seen


def test_a_targets_secrets_are_encrypted(prefect_server: None) -> None:
    """A block's password is in Prefect's database as a form that does not tell it."""
    assert prefect_server is None
    addresses = ("url", "proxy_control_url", "application_directory", "application_programs")
    SandboxTarget(
        **dict.fromkeys(addresses, "x"),
        backups_directory="x",
        maintenance_password="canary-maintenance",
        probe_secret="canary-probe",
        cache_password="canary-cache",
        application_secrets={"SECRET_KEY": "canary-application"},
    ).save("canary-block", overwrite=True)
    loaded = SandboxTarget.load("canary-block")
    assert isinstance(loaded, SandboxTarget)
    assert loaded.maintenance_password.get_secret_value() == "canary-maintenance"
    words = set(re.findall(rb"canary-[a-z]+", dumped(prefect_database())))
    assert b"canary-block" in words
    assert words.isdisjoint(
        {b"canary-maintenance", b"canary-probe", b"canary-cache", b"canary-application"}
    )


def test_the_server_keeps_no_password_in_a_statement(fresh_sandbox: Sandbox, home: Path) -> None:
    """Who may read the statistics of statements learns from them no role's password."""
    assert home
    with fresh_sandbox.connect() as session:
        rows = session.execute("SELECT query FROM pg_stat_statements").fetchall()
    kept = "\n".join(query for (query,) in rows).encode()
    assert b"ALTER ROLE" in kept
    assert leaks(secrets_of(fresh_sandbox, ()), {"the statements": kept}) == []


def test_files_of_secrets_are_their_owners_only(fresh_sandbox: Sandbox, home: Path) -> None:
    """What holds a secret by its purpose is read by nobody else."""
    Ledger()
    held = {home / "keys" / "ledger.key", fresh_sandbox.home / "sandbox.json"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in held} == {0o600}
