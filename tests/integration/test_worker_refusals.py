"""What the worker refuses: everything by which Prefect could tell it what to run, and how."""

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.schemas.actions import WorkPoolUpdate
from prefect.client.schemas.objects import FlowRun
from prefect.states import Pending

from deployments.worker.admission import admit
from deployments.worker.exposure import insist_on_protection
from deployments.worker.pool import template
from tasks.guardrails.errors import BadInput, PreconditionFailed
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import Settings
from tests.integration import test_worker_flows
from tests.integration.test_worker_fixtures import ROOT, Workers, workers
from tests.waiting import until

__all__ = ["workers"]

EVIL = "touch {folder}/evil"
STEPS = [{"prefect.deployments.steps.run_shell_script": {"script": EVIL}}]
OPEN_TEMPLATE = {
    "job_configuration": {"command": "{{ command }}"},
    "variables": {
        "type": "object",
        "properties": {
            "command": {"type": "string", "default": EVIL},
            "env": {"type": "object"},
            "working_dir": {"type": "string"},
        },
    },
}
DEPLOYMENT: dict[str, tuple[dict[str, Any], str]] = {
    "pull_steps": ({"pull_steps": STEPS}, "the deployment's pull_steps"),
    "entrypoint": ({"entrypoint": "evil.py:evil"}, "the deployment's entrypoint"),
    "path": ({"path": "/tmp"}, "the deployment's path"),  # noqa: S108 - nothing is written there
    "command": ({"job_variables": {"command": EVIL}}, "the deployment's job_variables"),
    "env": ({"job_variables": {"env": {"A": "b"}}}, "the deployment's job_variables"),
    "working_dir": ({"job_variables": {"working_dir": "/"}}, "the deployment's job_variables"),
    "unknown": ({"name": "evil"}, "one of the installed deployments"),
    "other": ({"name": "look-around"}, "one of the installed deployments"),
}


@pytest.fixture(scope="module")
def shared(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:  # noqa: ARG001 - it has to run
    """Give a pool with a worker that these tests share: none of their runs is executed."""
    made = Workers(tmp_path_factory.mktemp("refusals"))
    made.start()
    yield made
    made.stop()


def refused(workers: Workers, run: FlowRun, why: str) -> None:
    """Insist that a run ends refused, with the reason in the ledger too, and nothing executed."""
    state = workers.end(run)
    assert (state.name, state.type.value) == ("Refused", "FAILED")
    assert why in (state.message or "")
    assert "Do next:" in (state.message or "")
    assert "Nothing was executed." in (state.message or "")
    assert workers.read(run).infrastructure_pid is None
    assert not list(workers.folder.iterdir())
    ledger = Ledger(Settings(home=workers.home))
    (entry,) = until(lambda: ledger.entries(kinds=("run_refused",), run=str(run.id)))
    assert entry.facts["deployment"] == str(run.deployment_id or "")
    assert entry.facts["reason"] == state.message


@pytest.mark.parametrize("what", sorted(DEPLOYMENT))
def test_a_deployment_that_says_what_to_run_is_refused(shared: Workers, what: str) -> None:
    """Steps, entrypoint, path, job variables, a name that is not installed."""
    fields, why = DEPLOYMENT[what]
    with shared.client() as client:
        deployment = shared.register(client, "stay", **fields)
        run = client.create_flow_run_from_deployment(deployment, parameters={"name": "x"})
    try:
        refused(shared, run, why)
    finally:
        with shared.client() as client:
            shared.register(client, "stay", path=None)


def test_a_run_that_says_how_to_run_is_refused(shared: Workers) -> None:
    """Job variables of the run itself count as those of the deployment."""
    run = shared.create("stay", {"command": EVIL}, name="x")
    refused(shared, run, "the run's job_variables")


def test_a_run_without_deployment_is_refused(shared: Workers) -> None:
    """A run put into the pool by itself names nothing of ours."""
    with shared.client() as client:
        flow = client.create_flow(test_worker_flows.stay)
        asked = {"flow_id": str(flow), "work_pool_name": shared.pool}
        answer = client.request(
            "POST", "/flow_runs/", json={**asked, "state": {"type": "SCHEDULED"}}
        )
        run = client.read_flow_run(answer.json()["id"])
    refused(shared, run, "a run of a deployment")


def test_a_pool_that_says_how_to_run_is_refused(shared: Workers) -> None:
    """A template with a command is not ours, even though nothing of it would be read."""
    with shared.client() as client:
        deployment = client.read_deployment_by_name("stay/stay")
        run = client.create_flow_run_from_deployment(
            deployment.id, parameters={"name": "x"}, state=Pending()
        )
        client.update_work_pool(shared.pool, WorkPoolUpdate(base_job_template=OPEN_TEMPLATE))
        changed = client.read_work_pool(shared.pool)
        client.update_work_pool(shared.pool, WorkPoolUpdate(base_job_template=template()))
        flows = test_worker_flows.FLOWS
        with pytest.raises(BadInput, match="the pool's job configuration"):
            admit(flows, changed, run, deployment, "stay")
        assert admit(flows, client.read_work_pool(shared.pool), run, deployment, "stay")


def test_a_ledger_that_cannot_be_written_does_not_stop_a_refusal(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The run is refused all the same, and the worker's log says that the record is missing."""
    (workers.home / "file").touch()
    monkeypatch.setenv("REMEDY_LEDGER_URL", f"sqlite:///{workers.home}/file/ledger.db")
    workers.start()
    run = workers.create("stay", {"command": EVIL}, name="x")
    assert workers.end(run).name == "Refused"
    until(lambda: "record_refusal failed" in workers.log().read_text())


class _Open(http.server.BaseHTTPRequestHandler):
    """Answers anybody."""

    status = 200

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(self.status)
        self.end_headers()

    def do_POST(self) -> None:
        """Refuse for want of a CSRF token, as Prefect does: that protects from nobody."""
        self.send_response(403)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Closed(_Open):
    """Asks for a password."""

    status = 401


def serve(host: str, handler: type[_Open]) -> http.server.HTTPServer:
    """Serve at any port of a host."""
    server = http.server.HTTPServer((host, 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def outward() -> str:
    """Give an address of this machine that others reach."""
    for interface in psutil.net_if_addrs().values():
        for one in interface:
            if one.family == socket.AF_INET and not one.address.startswith("127."):
                return one.address
    pytest.skip("no address beyond loopback; `ip address add 192.0.2.2/32 dev lo` gives one")


@pytest.mark.parametrize(
    ("host", "handler", "password", "found"),
    [
        ("0.0.0.0", _Open, True, "answers without one"),  # noqa: S104 - that is what is tested
        ("0.0.0.0", _Open, False, "answers without one"),  # noqa: S104 - the same
        ("0.0.0.0", _Closed, False, "no password is set here"),  # noqa: S104 - the same
        ("0.0.0.0", _Closed, True, ""),  # noqa: S104 - the same
        ("127.0.0.1", _Open, False, ""),
    ],
)
@pytest.mark.parametrize("by", ["loopback", "address"])
def test_an_open_api_beyond_loopback_is_no_api_for_us(
    host: str, handler: type[_Open], found: str, by: str, *, password: bool
) -> None:
    """It is refused by whatever address it is named, unless it asks for a password."""
    address = outward()
    if host == "127.0.0.1" and by == "address":
        pytest.skip("it is not served there")
    server = serve(host, handler)
    where = "127.0.0.1" if by == "loopback" else address
    url = f"http://{where}:{server.server_port}/api"
    try:
        if not found:
            insist_on_protection(url, has_password=password)
            return
        with pytest.raises(PreconditionFailed, match="PREFECT_API_AUTH_STRING") as refusal:
            insist_on_protection(url, has_password=password)
        assert found in refusal.value.found
    finally:
        server.shutdown()
        server.server_close()


def test_the_worker_does_not_start_on_an_open_api(home: Path) -> None:
    """It ends with a code of its own, and says how to turn the password on."""
    server = serve("0.0.0.0", _Open)  # noqa: S104 - that is what is tested
    try:
        done = subprocess.run(
            [sys.executable, "-m", "deployments.services.worker"],
            cwd=ROOT,
            env={
                **os.environ,
                "REMEDY_HOME": str(home),
                "PREFECT_API_URL": f"http://{outward()}:{server.server_port}/api",
                "PREFECT_API_AUTH_STRING": "me:secret",
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    finally:
        server.shutdown()
        server.server_close()
    assert done.returncode == 78, done.stderr
    assert "Set PREFECT_SERVER_API_AUTH_STRING" in done.stderr


def test_an_api_that_does_not_answer_is_not_trusted() -> None:
    """Whether it asks for a password cannot be known."""
    with socket.socket() as taken:
        taken.bind((outward(), 0))
        url = "http://{}:{}/api".format(*taken.getsockname())
        with pytest.raises(PreconditionFailed, match="did not start"):
            insist_on_protection(url, has_password=True)


def test_what_the_worker_itself_imports_loads_no_flow_from_prefect() -> None:
    """No way leads from a deployment to code: the loaders are not even named."""
    package = ROOT / "deployments" / "worker"
    text = "\n".join(path.read_text() for path in package.glob("*.py"))
    for loader in ("load_flow_from", "load_script", "run_steps", "exec("):
        assert loader not in text
