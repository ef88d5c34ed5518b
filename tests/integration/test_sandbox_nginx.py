"""The sandbox behind nginx instead of our own proxy."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from infra.sandbox import nginx
from infra.sandbox.damage import Damage, damage
from infra.sandbox.load import Load
from infra.sandbox.processes import gone
from infra.sandbox.service_user import service_user
from infra.sandbox.services import Sandbox
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Verdict, Work
from tasks.guardrails.remediation import planning_for
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget
from tests.integration.test_restore_sandbox import prepare, swap
from tests.integration.test_services_fixtures import remedy
from tests.postgres_fixtures import ID, carry_out
from tests.snapshots import snapshot

from flows.database.back_up_database import back_up_database  # isort: skip


@pytest.fixture
def sandbox(
    fresh_sandbox: Sandbox, nginx_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Sandbox]:
    """The fresh sandbox behind nginx; behind its own proxy again afterwards."""
    monkeypatch.setenv("PATH", f"{nginx_folder}{os.pathsep}{os.environ['PATH']}")
    sandbox = Sandbox(fresh_sandbox.home)
    try:
        sandbox.use_proxy("nginx")
        sandbox.up()
        yield sandbox
    finally:
        sandbox.use_proxy("own")
        sandbox.up()


@pytest.fixture
def control(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A client of the control API."""
    with httpx.Client(base_url=sandbox.control_url, trust_env=False, timeout=30) as client:
        yield client


def log_in(sandbox: Sandbox) -> httpx.Response:
    """Log in as a user does."""
    credentials = {"username": "admin", "password": sandbox.settings.accounts["admin"]}
    url = f"{sandbox.url}/api/v1/auth/login"
    return httpx.post(url, json=credentials, trust_env=False, timeout=30)


def processes(sandbox: Sandbox) -> list[psutil.Process]:
    """Give nginx's master and its workers."""
    master = sandbox.nginx.service.process()
    assert master is not None
    return [master, *master.children()]


def insist_on_end(processes: list[psutil.Process]) -> None:
    """Wait until processes have ended."""
    assert all(gone(process, 60) for process in processes)


def test_requests_are_served(sandbox: Sandbox) -> None:
    """It answers on loopback, as user nobody under root, and opens files of its home only."""
    answer = log_in(sandbox)
    assert (answer.status_code, answer.headers["server"][:5]) == (200, "nginx")
    for process in processes(sandbox):
        assert process.name() == "nginx"
        assert process.uids().effective == (service_user() or os.geteuid())
        assert {
            file.path
            for file in process.open_files()
            if sandbox.home not in Path(file.path).parents
        } == set()
        listening = [
            connection.laddr.ip
            for connection in process.net_connections()
            if connection.status == psutil.CONN_LISTEN
        ]
        assert listening == ["127.0.0.1"]


def test_each_process_is_replaced_and_nobody_meets_it(
    sandbox: Sandbox, control: httpx.Client
) -> None:
    """Under load a drained process can be killed: it has no request, and gets none."""
    load = Load(sandbox.url, sandbox.settings.accounts["load"])
    load.start()
    for name in sandbox.upstreams:
        time.sleep(1)
        drained = control.post("/drain", params={"upstream": name, "patience": 20}).json()
        assert drained == {"ok": True, "in_flight": 0}
        sandbox.kill(name)
        time.sleep(1)
        sandbox.up()
        assert control.post("/undrain", params={"upstream": name}).json() == {"ok": True}
    time.sleep(1)
    report = load.stop()
    assert (report.failed, report.missing) == (0, [])


def test_drain_waits_for_what_is_in_flight(sandbox: Sandbox, control: httpx.Client) -> None:
    """A request that takes long keeps its process from being drained, and is answered."""
    token = log_in(sandbox).json()["access_token"]
    answers: list[int] = []

    def write() -> None:
        answer = httpx.post(
            f"{sandbox.url}/api/v1/programs",
            json={"name": "Slow"},
            headers={"Authorization": f"Bearer {token}"},
            trust_env=False,
            timeout=60,
        )
        answers.append(answer.status_code)

    writer = threading.Thread(target=write)
    with sandbox.connect() as session, session.transaction():
        session.execute("LOCK TABLE programs")
        writer.start()
        busy = until_busy(control)
        drained = control.post("/drain", params={"upstream": busy, "patience": 1}).json()
        assert drained == {"ok": False, "in_flight": 1}
        assert answers == []
    again = control.post("/drain", params={"upstream": busy, "patience": 20}).json()
    writer.join()
    assert (again, answers) == ({"ok": True, "in_flight": 0}, [201])
    assert control.get("/status").json()["upstreams"][busy]["drained"]
    assert control.post("/undrain", params={"upstream": busy}).json() == {"ok": True}
    assert not control.get("/status").json()["upstreams"][busy]["drained"]


def until_busy(control: httpx.Client) -> str:
    """Give the process that a request is at."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        upstreams: dict[str, Any] = control.get("/status").json()["upstreams"]
        busy = [name for name, upstream in upstreams.items() if upstream["in_flight"]]
        if busy:
            return busy[0]
        time.sleep(0.05)
    pytest.fail("no request in flight")


def test_what_nginx_refuses_is_not_put_into_force(sandbox: Sandbox) -> None:
    """A configuration that fails `nginx -t` is told, and the one before stays."""
    before = (sandbox.home / "nginx" / "nginx.conf").read_text()
    sandbox.nginx.upstreams = {"application-1": 99_999}
    with pytest.raises(PreconditionFailed, match="invalid port"):
        sandbox.nginx.reload(set())
    assert (sandbox.home / "nginx" / "nginx.conf").read_text() == before
    assert log_in(sandbox).status_code == 200


def test_no_pause_is_had(sandbox: Sandbox, sandbox_target: SandboxTarget) -> None:
    """The block runs, and is told that requests go on."""
    with sandbox_target.application.pause(5) as paused:
        assert not paused
        assert log_in(sandbox).status_code == 200


def test_a_restore_goes_without_the_pause(sandbox: Sandbox, sandbox_target: SandboxTarget) -> None:
    """Damaged, restored, cut over, proved from outside, all behind nginx."""
    targets.give(sandbox_target)
    work = Work(target=sandbox_target.name, remediation=ID)
    original = snapshot(sandbox)
    with planning_for(ID):
        carry_out(back_up_database.planner(sandbox_target.name), work)
    damage(sandbox, Damage.ROWS_DELETED)
    _, answers = swap(work, prepare(work))
    assert [answer.verdict for answer in answers] == [Verdict.HELD, Verdict.HELD], answers
    assert snapshot(sandbox) == original


def test_up_repairs_a_killed_nginx(sandbox: Sandbox, control: httpx.Client) -> None:
    """Its workers outlive a killed master; `up` ends them, and nobody is drained any more."""
    control.post("/drain", params={"upstream": "application-1", "patience": 20})
    master, *workers = processes(sandbox)
    master.send_signal(signal.SIGKILL)
    insist_on_end([master])
    assert all(worker.is_running() for worker in workers)
    sandbox.up()
    insist_on_end(workers)
    assert log_in(sandbox).status_code == 200
    assert not control.get("/status").json()["upstreams"]["application-1"]["drained"]


@pytest.mark.parametrize("killed", [False, True])
def test_down_ends_it(sandbox: Sandbox, killed: bool) -> None:
    """No process of nginx is left, killed before or not."""
    master, *workers = processes(sandbox)
    if killed:
        master.send_signal(signal.SIGKILL)
        insist_on_end([master])
    sandbox.down()
    insist_on_end([master, *workers])
    assert not any(state["running"] for state in sandbox.status().values())


def test_the_command_line_chooses(sandbox: Sandbox, tmp_path: Path) -> None:
    """`--proxy` changes what stands before the application; without it all stays."""
    (tmp_path / "sandbox").symlink_to(sandbox.home)
    services = {"nginx": ["proxy", "proxy-control"], "own": ["proxy"]}
    for words, kind in (
        (["--proxy", "own"], "own"),
        (["--proxy", "nginx"], "nginx"),
        ([], "nginx"),
    ):
        done = remedy(tmp_path, "sandbox", "up", *words)
        assert done.returncode == 0, done.stderr
        states = Sandbox(sandbox.home).status()
        assert [name for name in states if name.startswith("proxy")] == services[kind]
        assert all(state["running"] for state in states.values())
        assert log_in(sandbox).status_code == 200


def test_a_missing_nginx_is_said(
    sandbox_system: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice is refused with what to do; the proxy that is there stays."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(nginx, "ELSEWHERE", ())
    sandbox = Sandbox(sandbox_system.home)
    with pytest.raises(PreconditionFailed, match="Run `apt install nginx`, or take"):
        sandbox.use_proxy("nginx")
    assert Sandbox(sandbox_system.home).settings.proxy == "own"
    assert sandbox.status()["proxy"]["running"]
