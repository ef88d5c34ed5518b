"""The platform: up, down, status, and what is left of it when parts are killed."""

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from deployments.services import environment, places
from deployments.services.platform import Platform
from deployments.services.server import PrefectServer
from deployments.services.settings import PlatformSettings, free_port
from infra.sandbox.processes import gone
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.leases import held
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import Settings
from tests.integration.test_services_fixtures import (
    REMEDY,
    clean_environment,
    data,
    live_home,
    new_home,
    remedy,
)

OURS = ("postgresql", "prefect-server", "worker")


@pytest.fixture
def live() -> Path:
    """Give the home of the platform that is up, repaired from the test before."""
    home = live_home()
    if remedy(home, "status").returncode:
        assert remedy(home, "up").returncode == 0
    return home


def pids(home: Path) -> dict[str, int]:
    """Give the processes of all services."""
    states: list[dict[str, Any]] = data(home, "status")
    return {state["name"]: state["pid"] for state in states}


def test_up_again_leaves_what_runs_alone(live: Path) -> None:
    """The second `up` starts nothing."""
    before = pids(live)
    assert remedy(live, "up").returncode == 0
    assert pids(live) == before


@pytest.mark.parametrize("name", [*OURS, "sandbox/proxy", "sandbox/postgresql"])
def test_up_repairs_what_was_killed(live: Path, name: str) -> None:
    """Whatever is killed, the next `up` has it back, and everything answers."""
    before = pids(live)
    killed = psutil.Process(before[name])
    killed.kill()
    assert gone(killed, 60)
    done = remedy(live, "up")
    assert done.returncode == 0, done.stderr
    after = pids(live)
    assert after[name] != before[name]
    assert data(live, "target", "check", "sandbox")


def test_two_ups_at_once_start_each_service_once(live: Path) -> None:
    """The second waits for the first, and finds all of it done."""
    before = pids(live)
    for name in ("worker", "prefect-server"):
        os.kill(before[name], signal.SIGKILL)
    both = [
        subprocess.Popen(
            [REMEDY, "up"],
            env=clean_environment(live),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    told = [one.communicate(timeout=400)[1] for one in both]
    assert [one.returncode for one in both] == [0, 0], told
    assert sum("the worker started" in one for one in told) == 1


def test_a_worker_that_does_not_start_is_told(live: Path) -> None:
    """`up` says why, and the next one, with that mended, starts it."""
    os.kill(pids(live)["worker"], signal.SIGKILL)
    done = remedy(live, "up", REMEDY_WORKER_LIMIT="0")
    assert done.returncode != 0
    assert "the platform's worker to take runs" in done.stderr
    assert "greater than or equal to 1" in done.stderr
    assert "the worker started" not in done.stderr
    assert remedy(live, "up").returncode == 0
    assert all(state["running"] for state in data(live, "status"))


def test_two_homes_come_up_at_once() -> None:
    """Both prefer the same port; who finds it taken in the last moment takes another one."""
    homes = [new_home(), new_home()]
    try:
        both = [
            subprocess.Popen(
                [REMEDY, "up", "--no-sandbox"],
                env=clean_environment(home),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
            for home in homes
        ]
        told = [one.communicate(timeout=400)[1] for one in both]
        assert [one.returncode for one in both] == [0, 0], told
        ports = [PlatformSettings.load(environment.settings_file(home)) for home in homes]
        assert len({one.api_port for one in ports if one}) == 2
    finally:
        for home in homes:
            assert remedy(home, "down").returncode == 0
            shutil.rmtree(home)


def test_up_is_taken_up_after_it_was_killed() -> None:
    """A first `up`, killed at several moments, is finished by the next one."""
    home = new_home()
    try:
        for seconds in (0.5, 1.5, 4.0):
            child = subprocess.Popen(
                [REMEDY, "up", "--no-sandbox"],
                env=clean_environment(home),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            time.sleep(seconds)
            child.kill()
            child.wait()
        done = remedy(home, "up", "--no-sandbox")
        assert done.returncode == 0, done.stderr
        assert all(state["running"] for state in data(home, "status"))
    finally:
        assert remedy(home, "down").returncode == 0
    assert not [state for state in data(home, "status", expected=11) if state["running"]]
    shutil.rmtree(home)


def test_down_leaves_a_stranger_with_our_pid_alone(tmp_path: Path) -> None:
    """A pid in a record that another process has by now is not killed."""
    settings = PlatformSettings(api_port=1, database_port=2, database="sqlite")
    settings.save(environment.settings_file(tmp_path))
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        (tmp_path / "run").mkdir()
        record = tmp_path / "run" / "worker.pid"
        record.write_text(f"{stranger.pid} {time.time() - 3600:.2f}\n")
        Platform(tmp_path).down()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_a_port_that_somebody_took_is_given_up(tmp_path: Path) -> None:
    """While our server is down another program may take its port: ours moves."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = PlatformSettings(api_port=port, database_port=port, database="sqlite")
        settings.save(environment.settings_file(tmp_path))
        services_of = Platform(tmp_path)._services  # noqa: SLF001 - without starting a server
        moved = places.choose(tmp_path, services_of, "")
    assert moved.api_port != port
    assert PlatformSettings.load(environment.settings_file(tmp_path)) == moved


def test_a_strangers_server_is_not_taken_for_ours(tmp_path: Path) -> None:
    """Another home's `up` may have chosen the same free port at the same moment."""

    class Healthy(BaseHTTPRequestHandler):
        """A server that is well."""

        def do_GET(self) -> None:
            """Answer as Prefect's health check does."""
            self.send_response(200)
            self.end_headers()

    with HTTPServer(("127.0.0.1", 0), Healthy) as stranger:
        threading.Thread(target=stranger.serve_forever, daemon=True).start()
        settings = PlatformSettings(
            api_port=stranger.server_port, database_port=free_port(), database="sqlite"
        )
        with pytest.raises(PreconditionFailed, match="prefect-server to answer"):
            PrefectServer(tmp_path, settings, "sqlite://").wait()
        stranger.shutdown()


def test_the_environment_keeps_a_remote_api(tmp_path: Path) -> None:
    """PREFECT_API_URL goes before the platform under the home; without both it is said."""
    with pytest.raises(PreconditionFailed, match="remedy up"):
        environment.environment(tmp_path, {})
    settings = PlatformSettings(api_port=4321, database_port=2, database="sqlite")
    settings.save(environment.settings_file(tmp_path))
    local = environment.environment(tmp_path, {})
    assert local["PREFECT_API_URL"] == "http://127.0.0.1:4321/api"
    remote = environment.environment(tmp_path, {"PREFECT_API_URL": "https://elsewhere/api"})
    assert "PREFECT_API_URL" not in remote
    assert remote["PREFECT_HOME"] == str(tmp_path / "prefect")


def test_settings_are_readable_by_their_owner_only(live: Path) -> None:
    """The file holds the password of Prefect's database."""
    assert environment.settings_file(live).stat().st_mode & 0o777 == 0o600


def test_nothing_listens_beyond_loopback(live: Path) -> None:
    """No service of the platform is served to the network."""
    ours = {
        child.pid
        for pid in pids(live).values()
        for child in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True))
    }
    places = {
        one.laddr.ip
        for one in psutil.net_connections("inet")
        if one.pid in ours and one.laddr and one.status == psutil.CONN_LISTEN
    }
    assert places == {"127.0.0.1"}


def test_a_foreign_page_may_not_use_the_api(live: Path) -> None:
    """A browser that somebody has open on this machine asks first, and is told no."""
    settings = PlatformSettings.load(environment.settings_file(live))
    assert settings is not None
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x"}
    allowed = []
    for origin in ("https://elsewhere.example", settings.ui_url):
        url = f"{settings.api_url}/flows/count"
        preflight = httpx.options(url, headers={**asked, "Origin": origin}, timeout=60)
        answer = httpx.post(url, json={}, headers={"Origin": origin}, timeout=60)
        allowed.append(
            ["access-control-allow-origin" in one.headers for one in (preflight, answer)]
        )
    assert allowed == [[False, False], [True, True]]


def test_down_while_a_remediation_acts_asks_for_force(tmp_path: Path) -> None:
    """Stopping the worker kills what it runs: that is said first."""
    ledger = Ledger(Settings(home=tmp_path))
    with held(ledger, "target:x", "abc", "run"):
        done = remedy(tmp_path, "down")
    assert done.returncode == 8
    assert "remediation abc holds it" in done.stderr
    assert "--force" in done.stderr


def test_nothing_is_written_to_the_users_home(live: Path, tmp_path: Path) -> None:
    """What Prefect and the platform keep lies under REMEDY_HOME."""
    os.kill(pids(live)["worker"], signal.SIGKILL)
    assert remedy(live, "up", HOME=str(tmp_path)).returncode == 0
    done = remedy(
        live, "run", "back-up-database", "--target", "sandbox", "--dry-run", "--wait",
        "--timeout", "200", HOME=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not list(tmp_path.iterdir())
