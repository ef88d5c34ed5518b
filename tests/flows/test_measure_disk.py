"""measure_disk: what takes room is found where it was put, on each platform."""

import os
from contextlib import closing
from pathlib import Path

import pytest

from flows.database.measure_disk import measure_disk
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from infra.testbed.compose.system import ComposeSystem
from tasks.disk.full import measure_places
from tasks.guardrails.case import Case
from tasks.guardrails.plan import Finding
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tests.approving import carry_out
from tests.leftovers import Leftovers
from tests.prefect_fixtures import Runs

MB = 1_000_000


@pytest.fixture(autouse=True)
def all_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no row left out: machine and engine are others' too, and theirs may be larger."""
    for module in ("full", "logs", "stored"):
        monkeypatch.setattr(f"tasks.disk.{module}._SHOWN", 10_000)


def findings(case: Case) -> tuple[Finding, ...]:
    """Give what was found."""
    return case.stages[0].stage.findings


def row(case: Case, column: str, name: str) -> dict[str, str]:
    """Give the row of a table about something, by its columns."""
    for one in findings(case):
        for cells in one.rows:
            found = dict(zip(one.columns, cells, strict=True))
            if name in found.get(column, ""):
                return found
    message = f"no row about {name}"
    raise AssertionError(message)


def test_what_takes_room_is_found(runs: Runs, planner: Planner) -> None:
    """A full table, a backup, and a file that was deleted and is still open."""
    (planner.backups / "backup-20240101-020000.sql").write_bytes(b"-" * 3 * MB)
    gone = planner.backups / "was-deleted"
    with gone.open("wb") as file:
        file.write(os.urandom(2 * MB))
        file.flush()
        os.fsync(file.fileno())
        gone.unlink()
        with planner.connect() as session:
            session.execute("ALTER TABLE actuals SET (autovacuum_enabled = false)")
            for _ in range(5):
                session.execute("UPDATE actuals SET hours = hours + 1")
            session.execute("ANALYZE actuals")
        case, state = carry_out(runs, planner, measure_disk)
    assert state.name == "Advised", state.message
    held = row(case, "name that it had", str(gone))
    assert held["MB"].startswith("2.")
    assert f"({os.getpid()})" in held["held by"]
    assert row(case, "backup", "backup-20240101")["MB"] == "3.0"
    assert float(row(case, "database", planner.settings.database)["MB"]) > 5
    assert float(row(case, "what", "backups")["MB"]) >= 3
    said = {one.patch for one in findings(case)}
    assert {"clean_up_backups", "vacuum_database\nrewrite_tables"} <= said
    assert row(case, "folder", str(planner.backups))["bytes taken"].endswith("%")


def test_the_sandbox_has_no_engine(runs: Runs, sandbox: Sandbox) -> None:
    """It is said, and the rest is measured."""
    case, state = carry_out(runs, sandbox, measure_disk)
    assert state.name == "Unchanged", state.message
    assert any(one.what.startswith("There is no Docker engine") for one in findings(case))


def test_what_the_engine_keeps_is_told_one_by_one(
    runs: Runs, fresh_compose: ComposeSystem, home: Path
) -> None:
    """Who uses each, whether it runs or not; logs, and that nothing rotates them."""
    assert home
    targets.give(ComposeTarget(**fresh_compose.target_settings()))
    with closing(fresh_compose.project.engine.client()) as client:
        left = Leftovers(client)
        try:
            image = left.image(f"leftover:{left.mark}", MB)
            user = left.container(left.image(f"leftover:{left.mark}-used"))
            volume = left.volume()
            Path(volume.attrs["Mountpoint"], "data").write_bytes(b"-" * MB)
            case, state = carry_out(runs, fresh_compose, measure_disk)
            assert state.name == "Advised", state.message
        finally:
            left.clear()
    unused = row(case, "name", image.tags[0])
    assert (unused["MB"], unused["used by"]) == ("1.0", "nobody")
    assert row(case, "name", f"{left.mark}-used")["used by"] == f"container {user.name}"
    assert row(case, "name", str(volume.name))["MB"] == "1.0"
    project = fresh_compose.project.name
    assert project in row(case, "name", f"{project}_postgres_data")["used by"]
    assert row(case, "container", f"{project}-app")["bound by"] == "nothing"
    assert {row(case, "what", one)["what"] for one in ("images", "volumes", "logs")}
    patches = [one.patch for one in findings(case)]
    assert "clean_up_docker" in patches
    assert any("max-file" in one for one in patches)


def test_an_engine_elsewhere_is_measured_from_inside(
    compose_target: ComposeTarget, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By `df` in a container: the same file systems are seen; open files are said to be unknown."""
    assert home
    targets.give(compose_target)
    here, _ = compose_target.disks.places()
    monkeypatch.setattr(compose_target.engine, "is_local", False)
    there, unknown = compose_target.disks.places()
    assert [one.what for one in there] == ["database", "backups", "engine's data"]
    assert unknown == ()
    for one, other in zip(here, there, strict=True):
        assert (one.size, one.inodes) == (other.size, other.inodes)
        assert abs(one.free - other.free) < 2**31
    assert compose_target.disks.deleted_files() is None
    assert all(one.size is None for one in compose_target.engine_store.logs())
    assert len(measure_places("compose")) == 1
