"""Deployments: `prefect deploy --all` and `remedy up` give the same; schedules make runs."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from deployments import registration
from flows.catalogue import load_all
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import Settings
from tests.integration.test_services_fixtures import ROOT, clean_environment, live_home

_COMPARED = (
    "name",
    "entrypoint",
    "tags",
    "pull_steps",
    "parameter_openapi_schema",
    "enforce_parameter_schema",
    "description",
    "work_pool_name",
    "concurrency_limit",
    "concurrency_options",
    "parameters",
    "path",
)


@pytest.fixture(scope="module")
def api() -> dict[str, str]:
    """Give the environment of a client of the platform that is up."""
    home = live_home()
    settings = (home / "services.json").read_text()
    port = int(settings.split('"api_port": ')[1].split(",")[0])
    return clean_environment(
        home, PREFECT_API_URL=f"http://127.0.0.1:{port}/api", PREFECT_HOME=str(home / "prefect")
    )


def registered(api: dict[str, str]) -> dict[str, dict[str, Any]]:
    """Read all deployments, by a process of its own: this one may know another server."""
    script = (
        "import json\n"
        "from prefect.client.orchestration import get_client\n"
        "with get_client(sync_client=True) as client:\n"
        "    found = client.read_deployments(limit=200)\n"
        "print(json.dumps([one.model_dump(mode='json') for one in found]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=api, capture_output=True, text=True, check=True
    )

    return {one["name"]: one for one in json.loads(done.stdout)}


def test_prefect_yaml_is_current() -> None:
    """The file is what the definitions give; written by `python -m deployments.registration`."""
    assert registration.PREFECT_YAML.read_text() == registration.prefect_yaml()


def test_every_flow_has_its_deployment(api: dict[str, str]) -> None:
    """File name = function = flow = deployment."""
    names = {name.replace("_", "-") for name in load_all()}
    assert set(registered(api)) == names


def test_prefect_deploy_gives_the_same(api: dict[str, str]) -> None:
    """Both ways of registering lead to equal deployments."""
    ours = registered(api)
    prefect = Path(sys.executable).with_name("prefect")
    done = subprocess.run(
        [prefect, "--no-prompt", "deploy", "--all"],
        cwd=ROOT,
        env=api,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    theirs = registered(api)
    assert set(theirs) == set(ours)
    for name, one in ours.items():
        for field in _COMPARED:
            assert theirs[name][field] == one[field], f"{name}.{field}"
        for which in (one, theirs[name]):
            for schedule in which["schedules"]:
                for volatile in ("id", "created", "updated", "deployment_id"):
                    schedule.pop(volatile, None)
                schedule["schedule"].pop("anchor_date", None)
        assert theirs[name]["schedules"] == one["schedules"], name


def test_schedules_are_known_requesters(api: dict[str, str]) -> None:
    """What the catalogue schedules is in the ledger, where no client of the API can write."""
    ledger = Ledger(Settings(home=Path(api["REMEDY_HOME"])))
    entries = [entry.facts for entry in ledger.entries(kinds=("schedule_registered",))]
    names = ("back_up_database", "clean_up_backups", "vacuum_database")
    assert entries == [{"name": name, "parameters": {"target": "sandbox"}} for name in names]


def test_schedules_make_runs(api: dict[str, str]) -> None:
    """The server's scheduler works: with SQLAlchemy 2.1 it fails at each insert, silently."""
    script = (
        "from prefect.client.orchestration import get_client\n"
        "with get_client(sync_client=True) as client:\n"
        "    print(sum(run.auto_scheduled for run in client.read_flow_runs(limit=200)))\n"
    )
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        done = subprocess.run(
            [sys.executable, "-c", script], env=api, capture_output=True, text=True, check=True
        )
        if int(done.stdout):
            return
        time.sleep(2)
    pytest.fail("no scheduled run within four minutes")
