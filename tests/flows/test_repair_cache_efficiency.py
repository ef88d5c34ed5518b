"""repair_cache_efficiency on a cache that evicts what is asked for, and waiting jobs with it."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

from flows.application.repair_cache_efficiency import repair_cache_efficiency
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from infra.testbed.compose.project import FILES
from infra.testbed.compose.system import ComposeSystem
from tests.approving import carry_out
from tests.cache_states import cache_as, restart_alone
from tests.prefect_fixtures import Runs
from tests.users import log_in

MIB = 2**20
BRIEF = 3


@pytest.fixture(autouse=True)
def as_shipped(planner: Planner) -> Iterator[None]:
    """Have options and files be as they were shipped in the next test."""
    files = text_of(planner)
    with closing(cache_as(planner, "")) as client:
        before = {name: str(value) for name, value in client.config_get("maxmemory*").items()}
    yield
    if isinstance(planner, Sandbox):
        planner.valkey.service.stop()
        return
    assert isinstance(planner, ComposeSystem)
    for name, data in files.items():
        (planner.folder / name).write_bytes(data)
    with closing(cache_as(planner, "")) as client:
        client.flushall()
        for name in ("maxmemory", "maxmemory-policy"):
            client.config_set(name, before[name])


def text_of(planner: Planner) -> dict[str, bytes]:
    """Read the files from which the cache has its options when it starts."""
    if isinstance(planner, Sandbox):
        return {"valkey.conf": (planner.valkey.folder / "valkey.conf").read_bytes()}
    assert isinstance(planner, ComposeSystem)
    return {name: (planner.folder / name).read_bytes() for name in FILES}


def options(planner: Planner) -> tuple[str, str]:
    """Ask the cache for its options."""
    with closing(cache_as(planner, "")) as client:
        found = client.config_get("maxmemory*")
        return str(found["maxmemory"]), str(found["maxmemory-policy"])


@contextmanager
def evicting(planner: Planner) -> Iterator[None]:
    """Have the cache be too small for what is put into it while the block runs."""
    over = threading.Event()

    def use() -> None:
        with closing(cache_as(planner, "")) as client:
            number = 0
            while not over.wait(0.002):
                number += 1
                client.set(f"planner:report:{number % 900}", "x" * 10_000, ex=300)
                client.get(f"planner:report:{(number * 7) % 900}")

    with closing(cache_as(planner, "")) as client:
        client.config_set("maxmemory", 5 * MIB)
        for number in range(900):
            client.set(f"planner:report:{number}", "x" * 10_000, ex=300)
    thread = threading.Thread(target=use)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_it_gets_room_and_spares_waiting_jobs(runs: Runs, planner: Planner) -> None:
    """Measured, set while it runs, kept at its next start, and taken back."""
    before = text_of(planner)
    with evicting(planner):
        small = options(planner)
        case, state = carry_out(runs, planner, repair_cache_efficiency, watch_seconds=BRIEF)
    assert state.name == "Remediated", state.message
    told = case.stages[0].stage.findings
    rows = {row[0]: row[1] for row in told[0].rows}
    assert int(rows["evicted for want of memory"].replace(",", "")) > 0
    assert int(rows["misses"].replace(",", "")) > 0
    assert rows["hit rate"].endswith("%")
    assert told[1].rows[0][0] == "planner:report:{id}"
    assert 10 <= float(told[1].rows[0][3]) < 13
    assert any("evicts waiting jobs (planner:queue:reports)" in one.what for one in told)
    assert options(planner) == (str(10 * MIB), "volatile-lru")
    assert log_in(planner).is_success
    if isinstance(planner, Sandbox):
        text = (planner.valkey.folder / "valkey.conf").read_text()
        assert f"maxmemory {10 * MIB}\nmaxmemory-policy volatile-lru\n" in text
        restart_alone(planner)
        assert options(planner) == (str(10 * MIB), "volatile-lru")
    else:
        command = f"--maxmemory {10 * MIB} --maxmemory-policy volatile-lru\n"
        assert command in text_of(planner)[FILES[0]].decode()
    _, state = carry_out(runs, planner, undo_remediation, remediation=case.id)
    assert state.name == "Remediated", state.message
    assert options(planner) == small
    assert text_of(planner) == before


def test_what_serves_well_is_left_alone(runs: Runs, planner: Planner) -> None:
    """One that was told what to evict, and has room; what is asked for in vain is refused."""
    before = text_of(planner)
    with closing(cache_as(planner, "")) as client:
        client.config_set("maxmemory-policy", "volatile-lru")
        client.set("planner:one", "x", ex=300)
    _, state = carry_out(runs, planner, repair_cache_efficiency, watch_seconds=0)
    assert state.name == "Unchanged", state.message
    for memory in ("1M", "900000G"):
        _, state = carry_out(runs, planner, repair_cache_efficiency, watch_seconds=0, memory=memory)
        assert state.name == "Refused", state.message
        assert "of the memory of its container or machine" in (state.message or "")
    assert text_of(planner) == before
