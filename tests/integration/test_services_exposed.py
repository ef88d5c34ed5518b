"""Prefect served beyond loopback: it asks for a password, which nobody reads on the way."""

import json
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from deployments.services import addresses, password
from deployments.services.environment import environment, settings_file
from deployments.services.settings import PlatformSettings, free_port
from deployments.worker.exposure import answers_anybody
from tasks.guardrails.errors import BadInput, PreconditionFailed
from tasks.guardrails.leases import held
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import Settings
from tests.e2e import person
from tests.integration.test_services_fixtures import (
    REMEDY,
    clean_environment,
    data,
    new_home,
    remedy,
)
from tests.integration.test_worker_refusals import outward
from tests.nginx_fixtures import make_certificate, manual, nginx_with
from tests.waiting import until

WAITS = 60.0  # seconds for an answer, on a machine that is busy
# Each changes something, or reads what is secret.
QUESTIONS = (
    ("GET", "/admin/version"),
    ("POST", "/flows/count"),
    ("POST", "/block_documents/filter"),
    ("GET", "/csrf-token?client=x"),
)


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """Give the home of a platform that is served at an address of this machine."""
    address = outward()
    home = new_home()
    try:
        done = remedy(home, "up", "--no-sandbox", "--host", address)
        assert done.returncode == 0, done.stderr
        assert str(password.file_of(home)) in done.stdout
        assert "TLS" in done.stdout
        yield home
    finally:
        remedy(home, "down", "--force")
        shutil.rmtree(home, ignore_errors=True)


def urls(home: Path) -> list[str]:
    """Give the API's address on loopback, and the one by which others reach it."""
    settings = PlatformSettings.load(settings_file(home))
    assert settings is not None
    assert settings.host == outward()
    return [settings.api_url, f"{settings.ui_url}/api"]


def basic(home: Path) -> httpx.BasicAuth:
    """Give the password as HTTP wants it."""
    user, _, secret = password.read(home).partition(":")
    return httpx.BasicAuth(user, secret)


def insist_on_a_run(home: Path, **more: str) -> None:
    """Start a run by Prefect's own command, and see that it ends well.

    It is let in alone: while the schedule's own run is at work, it is cancelled at once. Prefect's
    `--watch` waits for ever for a run that ended before it watched.
    """
    api, prefect = urls(home)[0], REMEDY.with_name("prefect")

    def start() -> str:
        started = subprocess.run(
            [prefect, "deployment", "run", "reap-remediations/reap-remediations"],
            env={**clean_environment(home), **environment(home, {}), **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=400,
        )
        assert started.returncode == 0, started.stdout + started.stderr
        found = re.search(r"UUID: (\S+)", started.stdout)
        assert found, started.stdout
        return found[1]

    def ended(run: str) -> str:
        asked = httpx.get(f"{api}/flow_runs/{run}", auth=basic(home), timeout=WAITS)
        asked.raise_for_status()
        state = asked.json()["state_name"]
        return state if state in {"Completed", "Failed", "Crashed", "Cancelled"} else ""

    def let_in() -> str:
        run = start()
        state: str = until(lambda: ended(run))
        return "" if state == "Cancelled" else state

    assert until(let_in) == "Completed"


def test_nothing_is_answered_without_the_password(home: Path) -> None:
    """Neither at the address nor through loopback, with a wrong password neither."""
    wrong = httpx.BasicAuth("remedy", "x")
    for url in urls(home):
        for method, path in QUESTIONS:
            for auth in (None, wrong):
                answer = httpx.request(method, url + path, json={}, auth=auth, timeout=WAITS)
                # What would change something lacks a token as well, and is refused by that first.
                refusal = 401 if method == "GET" else 403
                assert answer.status_code == refusal, (url, path, answer.text)
        assert httpx.get(f"{url}/admin/version", auth=basic(home), timeout=WAITS).status_code == 200
        assert not answers_anybody(url)


def test_a_foreign_page_changes_nothing(home: Path) -> None:
    """Who has the password in a browser needs a token too, and a foreign page is given none."""
    foreign = {"Origin": "https://elsewhere.example"}
    for url in urls(home):
        answer = httpx.post(f"{url}/flows/count", json={}, auth=basic(home), timeout=WAITS)
        assert (answer.status_code, answer.json()) == (403, {"detail": "Missing CSRF token."})
        asked = httpx.get(
            f"{url}/csrf-token?client=x", headers=foreign, auth=basic(home), timeout=WAITS
        )
        assert asked.status_code == 200
        assert "access-control-allow-origin" not in asked.headers


def test_our_own_clients_have_it(home: Path) -> None:
    """The worker takes a run and carries it out, the command starts, shows and doctors."""
    assert all(state["running"] for state in data(home, "status"))
    insist_on_a_run(home)
    found = {one["what"]: one for one in data(home, "doctor")}
    assert found["API's protection"]["answer"] == "fine"
    assert found["API's protection"]["detail"] == f"served at {outward()}, with a password"
    assert data(home, "target", "list") == []


def test_the_password_is_in_no_command_line(home: Path) -> None:
    """Arguments of a process are read by everybody on its machine; so is a file's mode."""
    secret = password.read(home).partition(":")[2]
    assert len(secret) == 32
    lines = [process.info["cmdline"] or [] for process in psutil.process_iter(["cmdline"])]
    assert any("deployments.services.serving" in line for line in lines)
    assert not [line for line in lines if secret in " ".join(line)]
    assert password.file_of(home).stat().st_mode & 0o777 == 0o600
    for log in (home / "logs").iterdir():
        assert secret not in log.read_text(), log


@pytest.mark.skipif(not Path(person.CHROMIUM).exists(), reason=f"no {person.CHROMIUM} to look with")
def test_the_ui_asks_for_the_password(home: Path) -> None:
    """A browser gets a form, and with the line of the file behind it the runs."""
    ui = urls(home)[1].removesuffix("/api")
    asked = httpx.get(f"{ui}/ui-settings", timeout=WAITS).json()
    assert (asked["auth"], asked["csrf_enabled"], asked["api_url"]) == ("BASIC", True, "/api")
    with person.browser_page() as page:
        page.goto(f"{ui}/deployments")
        page.locator("input[type=password]").fill(password.read(home))
        page.keyboard.press("Enter")
        page.get_by_role("link", name="back-up-database", exact=True).first.wait_for()


def test_tls_in_front_as_the_manual_has_it(home: Path, nginx_folder: Path, tmp_path: Path) -> None:
    """By the manual's own lines requests, the command and the events' websocket pass by TLS."""
    port = free_port()
    certificate = make_certificate(tmp_path)
    api = f"https://127.0.0.1:{port}/api"
    lines = {
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "/etc/nginx/remedy.crt": str(certificate),
        "/etc/nginx/remedy.key": str(tmp_path / "key.pem"),
        "http://192.0.2.10:4200": urls(home)[1].removesuffix("/api"),
    }
    with nginx_with(manual(lines), nginx_folder, tmp_path):
        trust = ssl.create_default_context(cafile=certificate)
        with httpx.Client(verify=trust, trust_env=False, timeout=WAITS) as client:
            assert client.get(f"{api}/admin/version").status_code == 401
            assert client.get(f"{api}/admin/version", auth=basic(home)).status_code == 200
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{api}/admin/version", trust_env=False, timeout=WAITS)
        events = api.replace("https", "wss") + "/events/out"
        with connect(
            events, ssl=trust, subprotocols=[Subprotocol("prefect")], open_timeout=WAITS
        ) as socket:
            socket.send(json.dumps({"type": "auth", "token": password.read(home)}))
            assert json.loads(socket.recv(timeout=WAITS)) == {"type": "auth_success"}
        insist_on_a_run(home, PREFECT_API_URL=api, PREFECT_API_SSL_CERT_FILE=str(certificate))


def test_the_host_is_kept_until_another_is_chosen(home: Path) -> None:
    """`up` alone leaves all as it is; at 127.0.0.1 nothing asks or is served elsewhere."""
    before = data(home, "status")
    assert data(home, "up", "--no-sandbox")["password_file"] == str(password.file_of(home))
    assert data(home, "status") == before
    beyond = urls(home)[1]
    done = data(home, "up", "--no-sandbox", "--host", "127.0.0.1")
    assert done["password_file"] is None
    assert answers_anybody(done["api"])
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{beyond}/health", timeout=WAITS)
    back = data(home, "up", "--no-sandbox", "--host", outward())
    assert not answers_anybody(back["api"])


def test_a_lost_password_is_made_anew(home: Path) -> None:
    """Removing the file is how it is changed: the next `up` starts all with another one."""
    old = basic(home)
    password.file_of(home).unlink()
    refused = remedy(home, "target", "list")
    assert refused.returncode == 6
    assert "401" in refused.stderr
    done = data(home, "up", "--no-sandbox")
    assert httpx.get(f"{done['api']}/admin/version", auth=old, timeout=WAITS).status_code == 401
    assert (
        httpx.get(f"{done['api']}/admin/version", auth=basic(home), timeout=WAITS).status_code
        == 200
    )
    assert data(home, "target", "list") == []


def test_what_acts_is_not_stopped_for_another_host(home: Path) -> None:
    """Its worker would be started anew: that has to wait."""
    before = data(home, "status")
    with held(Ledger(Settings(home=home)), "target:x", "abc", "run"):
        done = remedy(home, "up", "--no-sandbox", "--host", "127.0.0.1")
    assert done.returncode == 8
    assert "remediation abc holds it" in done.stderr
    assert data(home, "status") == before


def test_a_password_that_others_read_is_not_used(tmp_path: Path) -> None:
    """It is said how to get another one."""
    password.make(tmp_path)
    password.file_of(tmp_path).chmod(0o644)
    with pytest.raises(PreconditionFailed, match=r"mode 0644\.") as refused:
        password.make(tmp_path)
    assert "Remove" in refused.value.todo


@pytest.mark.parametrize("address", ["192.0.2.254", "localhost", "", "::x", "127.0.0.1 -x", "0"])
def test_a_host_that_is_none_of_this_machine(address: str, tmp_path: Path) -> None:
    """It is refused before anything is started."""
    with pytest.raises(BadInput, match="an IP address of this machine"):
        addresses.insist_on_own(address)
    if address:
        assert remedy(tmp_path, "up", "--host", address).returncode == 2
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("host", "exposed", "served", "ui"),
    [
        ("127.0.0.1", False, ("127.0.0.1",), "http://127.0.0.1:4200"),
        ("127.0.0.2", False, ("127.0.0.1", "127.0.0.2"), "http://127.0.0.2:4200"),
        ("::1", False, ("127.0.0.1", "::1"), "http://[::1]:4200"),
        ("0.0.0.0", True, ("0.0.0.0",), "http://127.0.0.1:4200"),  # noqa: S104 - as chosen
        ("::", True, ("127.0.0.1", "::"), "http://127.0.0.1:4200"),
        ("192.0.2.7", True, ("127.0.0.1", "192.0.2.7"), "http://192.0.2.7:4200"),
    ],
)
def test_where_it_listens(host: str, exposed: bool, served: tuple[str, ...], ui: str) -> None:
    """Our own clients reach it at 127.0.0.1 whatever the host; only loopback needs no password."""
    settings = PlatformSettings(api_port=4200, database_port=1, database="sqlite", host=host)
    assert (settings.is_exposed, settings.addresses, settings.ui_url) == (exposed, served, ui)
    for address in set(served) - {"192.0.2.7"}:
        addresses.listening(address, 0).close()
