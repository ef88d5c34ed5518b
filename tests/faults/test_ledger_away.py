"""The ledger's database goes away in the middle: nothing is begun without it, nothing is lost."""

import os
import signal
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from deployments.services.settings import free_port
from flows.help.recover_remediation import recover_remediation
from infra.sandbox.database_server import DatabaseServer
from infra.sandbox.processes import Service
from infra.sandbox.settings import HOST
from tasks.guardrails import faults
from tasks.guardrails.case import Case
from tasks.guardrails.holders import holders
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.verify import verify
from tasks.platforms.postgresql_programs import find_programs
from tests import toy
from tests.faults import in_child
from tests.faults.sampling import ALL, sample
from tests.integration.test_services_fixtures import new_home
from tests.prefect_fixtures import Runs
from tests.waiting import until

AWAY_SECONDS = 30 if ALL else 10
POINTS = ("before-apply:toy.write_file#2", "before-entry:begun#2", "before-entry:ended#1")


@pytest.fixture
def server() -> Iterator[DatabaseServer]:
    """A PostgreSQL server for the ledger alone."""
    home = new_home()
    made = DatabaseServer(
        data=home / "postgresql",
        programs=find_programs(),
        port=free_port(),
        user="postgres",
        password="throw-away",
        configuration="",
        service=partial(Service, run=home / "run", logs=home / "logs"),
    )
    made.make()
    made.start()
    yield made
    made.service.stop()


@pytest.mark.parametrize("point", sample(POINTS, 1))
def test_ledger_is_away_in_the_middle(
    runs: Runs, folder: Path, server: DatabaseServer, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """A run waits for the ledger; whether it or its recovery goes on, all is done once."""
    port = server.service.command[-1]
    url = f"postgresql://postgres:throw-away@{HOST}:{port}/postgres"
    monkeypatch.setenv("REMEDY_LEDGER_URL", url)
    ledger = Ledger()
    run = runs.create(toy.toy_one_stage, target="toy")
    child = in_child.start(
        str(run.id),
        "tests.toy:toy_one_stage",
        f"toy={folder}",
        "",
        REMEDY_HOME=os.environ["REMEDY_HOME"],
        REMEDY_LEDGER_URL=url,
        **{faults.VARIABLE: f"STOP={point}"},
    )
    while psutil.Process(child.pid).status() != psutil.STATUS_STOPPED:
        assert child.is_alive()
        time.sleep(0.01)
    server.service.stop(kill=True)
    assert child.pid
    os.kill(child.pid, signal.SIGCONT)
    time.sleep(AWAY_SECONDS)
    # What was begun is done without it, however slowly; what was not is not begun.
    if point.startswith("before-entry:begun"):
        assert not (folder / "b").exists()
    else:
        until((folder / "b").exists)
    server.start()
    child.join()
    case = Case.read(ledger, runs.id_of(run))
    if not case.outcome:
        runs.start(recover_remediation, remediation=case.id)
        case = Case.read(ledger, case.id)
    assert case.outcome == "remediated"
    assert {(folder / name).read_text() for name in "ab"} == {"new a", "new b"}
    begun = [entry.facts["title"] for entry in case.of_kind("begun")]
    assert begun == ["write a", "write b"]
    assert verify(ledger).is_sound
    assert not any(one.is_live and not one.is_dead for one in holders(ledger))
    ledger.engine.dispose()
