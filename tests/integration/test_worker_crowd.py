"""Many runs and several workers at once, on a Prefect server with PostgreSQL as `up` starts it.

On SQLite, where writers wait for each other, fifty runs take five minutes.
"""

import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments.services.database import PrefectDatabase, usable_programs
from deployments.services.server import PrefectServer
from deployments.services.settings import PlatformSettings, free_port
from tests.integration.test_worker_fixtures import Workers
from tests.waiting import until


@pytest.fixture(scope="module")
def api_url() -> Iterator[str]:
    """Start Prefect's server and its database; gives the API's address."""
    programs = usable_programs()
    assert programs is not None, "PostgreSQL comes with the wheel"
    home = Path(tempfile.mkdtemp(prefix="remedy-test-prefect-"))
    home.chmod(0o711)  # PostgreSQL runs as nobody
    settings = PlatformSettings(
        api_port=free_port(), database_port=free_port(), database="postgresql"
    )
    database = PrefectDatabase(home, programs, settings.database_port, settings.database_password)
    server = PrefectServer(home, settings, database.url)
    try:
        database.start()
        server.service.start()
        server.wait()
        yield settings.api_url
    finally:
        server.service.stop()
        database.service.stop()
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture
def workers(api_url: str, home: Path) -> Iterator[Workers]:
    """Give a pool without workers yet."""
    with temporary_settings({PREFECT_API_URL: api_url}):
        made = Workers(home)
        yield made
        made.stop()


@pytest.mark.timeout(1200)
def test_fifty_runs_at_once_are_queued(workers: Workers) -> None:
    """No more than the worker's limit are at work; in the end all have run, each once."""
    runs = [workers.create("stay", name=f"{number}", seconds=0.2) for number in range(50)]
    workers.start(limit=4)
    ids = [run.id for run in runs]
    with workers.client() as client:
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=ids))

        def ended() -> list[FlowRun] | None:
            found = client.read_flow_runs(flow_run_filter=wanted, limit=50)
            return found if all(one.state and one.state.is_final() for one in found) else None

        found = until(ended, seconds=900)
    assert len(found) == 50
    assert [one.state for one in found if one.state_type != StateType.COMPLETED] == []
    crowd = [line.split() for line in (workers.folder / "crowd").read_text().splitlines()]
    assert sorted(int(name) for name, _ in crowd) == list(range(50))
    assert max(int(together) for _, together in crowd) <= 4


def test_several_workers_share_a_pool(workers: Workers) -> None:
    """Each run is carried out once, by one of them; all of them work."""
    for _ in range(2):
        workers.start(limit=1)
    # Each is held at its first run until the other has one: who is slow is waited for.
    holds = [workers.folder / f"hold-{number}" for number in range(2)]
    for hold in holds:
        hold.touch()
    runs = [workers.create("stay", name=f"{number}") for number in range(2)]
    for number in range(2):
        until((workers.folder / f"here-{number}").exists)
    for hold in holds:
        hold.unlink()
    runs += [workers.create("stay", name=f"{number}", seconds=1) for number in range(2, 6)]
    assert all(workers.end(run).is_completed() for run in runs)
    crowd = (workers.folder / "crowd").read_text().splitlines()
    assert sorted(line.split()[0] for line in crowd) == list("012345")
    names = {until(partial(workers.worker_of, run)) for run in runs}
    assert names == {f"worker {number} of {workers.pool}" for number in range(2)}
