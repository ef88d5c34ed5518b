"""profile_application: what keeps processes busy is found by name and line, from outside."""

import base64
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from xml.etree import ElementTree as ET

import bcrypt
import httpx
import psutil
import pytest

from flows.performance.profile_application import profile_application
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from tasks.guardrails.case import Case
from tasks.guardrails.plan import Finding
from tasks.guardrails.render import plan as shown
from tasks.platforms import py_spy
from tasks.platforms.local_processes import look_at
from tasks.platforms.processes import Process
from tests.approving import carry_out
from tests.prefect_fixtures import Runs

SVG = "{http://www.w3.org/2000/svg}"
BUSY = """
import math; print('at work', flush=True)
def idle_words(): return 'the secret of this program'
def hot_spot(secret):
    return sum(math.sqrt(n) for n in range(20000))
while True:
    hot_spot(idle_words())
"""


@contextmanager
def logging_in(planner: Planner) -> Iterator[None]:
    """Have users log in again and again while the block runs: each hashes a password."""
    over = threading.Event()
    account = {"username": "admin", "password": planner.settings.accounts["admin"]}
    # As in the field: the accounts of a test's system cost little.
    hashed = bcrypt.hashpw(account["password"].encode(), bcrypt.gensalt(12)).decode()
    with planner.connect() as session:
        session.execute("UPDATE users SET password_hash = %s WHERE username = 'admin'", [hashed])

    def use() -> None:
        with httpx.Client(base_url=planner.url, trust_env=False, timeout=30) as client:
            while not over.is_set():
                client.post("/api/v1/auth/login", json=account)

    threads = [threading.Thread(target=use) for _ in range(2)]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        over.set()
        for one in threads:
            one.join()


def findings(case: Case) -> tuple[Finding, ...]:
    """Give what was found."""
    return case.stages[0].stage.findings


def test_the_function_that_takes_the_time_is_found(runs: Runs, planner: Planner) -> None:
    """By name, file and line, in a picture too, while nobody is kept waiting."""
    with logging_in(planner):
        case, state = carry_out(runs, planner, profile_application, seconds=4)
    assert state.name == "Advised", findings(case)
    table, functions, *advice = findings(case)
    assert sum(int(row[3].replace(",", "")) for row in table.rows) > 20, table.rows
    name, where, of, own, _ = functions.rows[0]
    assert name == "AuthenticationService.verify_password", functions.rows
    assert re.fullmatch(r"app/services/authentication\.py:\d+", where), where
    assert of == "the application"
    assert int(own.rstrip("%")) > 30, functions.rows
    assert any("services/authentication.py, line" in one.patch for one in advice)
    drawn = re.search(r"data:image/svg\+xml;base64,([\w+/=]+)", shown(case, case.stages[0]))
    assert drawn
    boxes = ET.fromstring(base64.b64decode(drawn[1]))  # noqa: S314 - our own
    assert len(boxes.findall(f"{SVG}rect")) > 3
    assert any(str(one.text).startswith("Authent") for one in boxes.findall(f"{SVG}text"))
    assert planner.settings.accounts["admin"] not in str(case.entries)


def test_of_idle_processes_nothing_is_made_up(runs: Runs, planner: Planner) -> None:
    """What they do in some seconds without users says nothing of what is slow."""
    case, state = carry_out(runs, planner, profile_application, seconds=1)
    assert state.name == "Unchanged", state.message
    (table,) = findings(case)
    assert "too little to say what keeps it busy" in table.what


def process(running: "subprocess.Popen[bytes]") -> Process:
    """Give a program as a platform sees it."""
    (found,) = look_at("test", [running.pid])
    return found


@pytest.fixture
def busy() -> Iterator[Process]:
    """A program that is busy in one function."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as running:
        try:
            assert running.stdout
            assert running.stdout.readline(), "it did not start"
            yield process(running)
        finally:
            running.kill()


def end_once_looked_at(short: "subprocess.Popen[bytes]") -> None:
    """Let a program that waits for the end of its input go on as soon as a py-spy is at it."""
    while short.poll() is None:
        for one in psutil.Process().children():
            with suppress(psutil.Error):
                if one.name() == "py-spy" and str(short.pid) in one.cmdline():
                    short.communicate()  # and waits for it: else it stays as a zombie
        time.sleep(0.02)


def test_it_is_not_stopped_and_none_of_its_values_is_read(busy: Process) -> None:
    """No argument is in what was seen, and it runs on under nobody's eyes."""
    (seen,) = py_spy.record([busy], 1, 50)
    assert "hot_spot (<string>:5)" in seen.stacks
    assert "secret" not in seen.stacks
    assert seen.cores > 0
    one = psutil.Process(busy.pid)
    assert one.status() not in {psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP}
    assert "TracerPid:\t0" in Path(f"/proc/{busy.pid}/status").read_text()


def test_one_that_ends_meanwhile_and_one_that_is_no_python(busy: Process) -> None:
    """Each is said for what it is; the others are seen."""
    other = subprocess.Popen(["sleep", "60"])
    waits = [sys.executable, "-c", "import sys; sys.stdin.read()"]
    short = subprocess.Popen(waits, stdin=subprocess.PIPE)
    ending = threading.Thread(target=end_once_looked_at, args=(short,))
    ending.start()
    try:
        sleeping, gone, seen = py_spy.record([process(other), process(short), busy], 4, 50)
    finally:
        short.kill()
        ending.join()
        other.kill()
        other.wait()
    assert "no Python" in sleeping.unread
    assert gone.ended
    assert gone.stacks or gone.unread == py_spy.ENDED  # its start may have been seen
    assert "hot_spot" in seen.stacks


@pytest.fixture
def powerless() -> Iterator[Path]:
    """A folder with a py-spy that has no rights, as of a worker that is another user."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    plain, program = folder / "plain", folder / "py-spy"
    shutil.copy(Path(sysconfig.get_path("scripts")) / "py-spy", plain)
    program.write_text(f'#!/bin/sh\nexec setpriv --reuid=65533 --clear-groups {plain} "$@"\n')
    program.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def test_what_is_closed_to_us_is_refused_with_the_way(
    runs: Runs, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, powerless: Path
) -> None:
    """It is said what the worker lacks; nothing is changed for it."""
    monkeypatch.setattr(py_spy, "FOLDER", powerless)
    _, state = carry_out(runs, sandbox, profile_application, seconds=1)
    assert state.name == "Refused", state.message
    assert "have the worker run as root or as its user" in (state.message or "")


def test_py_spy_ends_with_who_started_it_or_by_itself(busy: Process) -> None:
    """Whoever is killed while it looks leaves a program that goes on, and no one at it for long."""
    code = f"""
from tasks.platforms import py_spy
from tasks.platforms.local_processes import look_at
py_spy.record(look_at("test", [{busy.pid}]), 5, 50)
"""
    looking = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[2])
    spies: list[psutil.Process] = []
    while not spies:
        assert looking.poll() is None
        with suppress(psutil.NoSuchProcess):
            below = psutil.Process(looking.pid).children()
            spies = [one for one in below if one.name() == "py-spy"]
    looking.send_signal(signal.SIGKILL)
    looking.wait()
    _, alive = psutil.wait_procs(spies, timeout=60)
    assert not alive
    assert psutil.Process(busy.pid).status() != psutil.STATUS_STOPPED
