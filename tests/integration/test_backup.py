"""back_up_database on a real server, and what restore reads of backups."""

import json
import subprocess
import threading
from pathlib import Path

import pytest

from flows.database.back_up_database import back_up_database
from tasks.database.backup import dump
from tasks.database.backup.backups import find_backups, read_backup
from tasks.database.backup.manifest import read_manifest
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Plan, Risk, Standing, Verdict
from tasks.guardrails.remediation import planning_for
from tasks.platforms.postgresql_programs import major_version
from tests.postgres_fixtures import (
    ID,
    WORK,
    Cluster,
    PlannerSystem,
    carry_out,
    make_system,
    plan_restore,
    take,
    undo,
)


def plan_backup() -> Plan:
    """Plan a backup as the engine does."""
    with planning_for(ID):
        return back_up_database.planner("planner-test")


def has_zstd(cluster: Cluster) -> bool:
    """Say whether the server's pg_dump compresses by zstd: it may be older, or built without."""
    try:
        cluster.program("pg_dump", "-Fc", "-s", "--compress=zstd", "--no-sync", "-f", "/dev/null")
    except subprocess.CalledProcessError:
        return False
    return True


def test_a_backup_is_stored_with_roles_and_manifest(
    planner: Cluster, planner_system: PlannerSystem
) -> None:
    """The manifest says what restore trusts, and nothing is left on the server."""
    plan = plan_backup()
    assert plan.risk is Risk.HARMLESS
    carry_out(plan, WORK)
    folder = planner_system.backups.folder
    names = sorted(path.name for path in folder.iterdir())
    base = names[0]
    assert names == [base, f"{base}.manifest.json", f"{base}.roles.sql"]
    manifest = read_manifest(folder / f"{base}.manifest.json")
    assert manifest is not None
    assert manifest.tables["public.projects"] == 20_000
    assert manifest.revision == "c47d91ab02e5"
    assert manifest.database == "planner"
    version = planner.one("SELECT current_setting('server_version_num')::int")
    assert manifest.compression == ("zstd" if has_zstd(planner) else "gzip")
    assert manifest.server_version.startswith(f"{version // 10000}.")
    assert f"pg_dump (PostgreSQL) {major_version(planner.programs)}." in manifest.dump_version
    assert manifest.started < manifest.finished
    assert manifest.system_identifier == str(
        planner.one("SELECT system_identifier FROM pg_control_system()")
    )
    roles = (folder / f"{base}.roles.sql").read_text()
    assert "CREATE ROLE planner" in roles
    assert "PASSWORD" not in roles
    assert planner.one("SELECT count(*) FROM pg_database WHERE datname ~ 'verify'") == 0
    restore = plan_restore()
    assert "manifest, its checksum compared" in restore.findings[0].how
    carry_out(restore, WORK)


def test_undo_removes_it(planner: Cluster, planner_system: PlannerSystem) -> None:
    """Backup, roles and manifest go; a second undo finds nothing to do."""
    plan = plan_backup()
    carry_out(plan, WORK)
    undo(plan, WORK)
    undo(plan, WORK)
    assert list(planner_system.backups.folder.iterdir()) == []
    assert planner.one("SELECT count(*) FROM projects", "planner") == 20_000


def test_counts_are_those_of_the_snapshot(planner: Cluster, planner_system: PlannerSystem) -> None:
    """Rows written while it is dumped are neither in the dump nor counted."""
    begun, stop = threading.Event(), threading.Event()

    def write() -> None:
        with planner.connect("planner", user="planner") as session:
            while not stop.is_set():
                session.execute("INSERT INTO notes_without_key VALUES ('busy')")
                begun.set()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        assert begun.wait(60)
        carry_out(plan_backup(), WORK)
    finally:
        stop.set()
        writer.join()
    manifest = next(planner_system.backups.folder.glob("*.manifest.json"))
    counted = json.loads(manifest.read_text())["tables"]["public.notes_without_key"]
    assert 50 <= counted < planner.one("SELECT count(*) FROM notes_without_key", "planner")


def test_a_killed_attempt_is_begun_anew(
    planner: Cluster, planner_system: PlannerSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stored file without manifest and a throw-away database are ours to clear."""
    plan = plan_backup()
    change = plan.changes[0]
    planner.run(f"CREATE DATABASE planner_verify_{ID} OWNER planner")
    assert change.observe(WORK).standing is Standing.HALF
    name = change.model_dump()["name"]
    (planner_system.backups.folder / name).write_bytes(b"half")
    change.apply(WORK)
    assert change.observe(WORK).standing is Standing.AFTER
    change.revert(WORK)

    def fail(*_: object) -> None:
        raise PreconditionFailed(expected="a store.", found="none.", todo="None.")

    monkeypatch.setattr(planner_system.backups, "store", fail)
    with pytest.raises(PreconditionFailed, match="a store"):
        change.apply(WORK)
    assert change.observe(WORK).standing is Standing.BEFORE


def test_a_backup_that_does_not_restore_is_not_stored(
    planner: Cluster, planner_system: PlannerSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that are counted and not restored stop it: nothing is in the store."""
    plan = plan_backup()
    counts = iter([{"public.users": 201}, {"public.users": 200}])
    monkeypatch.setattr(dump, "count_rows", lambda _: next(counts))
    with pytest.raises(PreconditionFailed, match="users: 200 instead of 201"):
        carry_out(plan, WORK)
    assert list(planner_system.backups.folder.iterdir()) == []
    assert planner.one("SELECT count(*) FROM pg_database WHERE datname ~ 'verify'") == 0


def test_a_damaged_database_is_not_backed_up(
    planner: Cluster, planner_system: PlannerSystem
) -> None:
    """pg_dump's own words are in the error."""
    planner.overwrite_page("planner", "projects", 3)
    with pytest.raises(PreconditionFailed, match="invalid page in block 3"):
        carry_out(plan_backup(), WORK)
    assert list(planner_system.backups.folder.iterdir()) == []


def test_a_manifest_that_does_not_fit(planner: Cluster, planner_system: PlannerSystem) -> None:
    """A file that was changed since is refused by its checksum, whatever it holds."""
    carry_out(plan_backup(), WORK)
    path = next(planner_system.backups.folder.glob("*.dump"))
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(PreconditionFailed, match=r"its checksum is .* the manifest says"):
        plan_restore()
    assert planner.port


def test_what_each_format_says(planner: Cluster, planner_system: PlannerSystem) -> None:
    """Versions, database, time, revision and rows are read from every format."""
    take(planner, planner_system, "backup-20261101-101112.sql")
    take(planner, planner_system, "pre-deploy-20261102-101112.dump", "-Fc")
    take(planner, planner_system, "backup-20261103-101112", "-Fd")
    entries = find_backups(planner_system.backups)
    assert entries[0].name[-15:] == "20261103-101112"
    read = [
        read_backup(planner_system.database, planner_system.backups, entry, "alembic_version")
        for entry in entries
    ]
    assert [backup.format for backup in read] == ["directory", "custom", "plain"]
    major = planner.one("SELECT current_setting('server_version_num')::int / 10000")
    for backup in read:
        assert backup.problem == ""
        assert backup.tables["public.projects"] == 20_000
        assert backup.server_major == major
        assert backup.dump_version.startswith(f"{major_version(planner.programs)}.")
        assert backup.revision == "c47d91ab02e5"
        assert backup.roles == ("planner", "reporter")
    assert [backup.database for backup in read] == ["planner", "planner", ""]
    assert read[2].taken_from == "name"
    assert f"{read[2].taken:%d %H:%M:%S}" == "01 10:11:12"


def test_a_superuser_restores_as_the_owner(planner: Cluster, tmp_path: Path) -> None:
    """The throw-away database is loaded with no more rights than the owner's."""
    system = make_system(planner, tmp_path, user="postgres")
    carry_out(plan_backup(), WORK)
    assert len(list(system.backups.folder.iterdir())) == 3


@pytest.mark.parametrize(
    ("name", "options"), [("of.dump", ["-Fc"]), ("of.sql", []), ("of.dir", ["-Fd"])]
)
def test_the_schema_public_of_a_superuser(
    planner: Cluster, planner_system: PlannerSystem, name: str, options: list[str]
) -> None:
    """As before PostgreSQL 15, and after an upgrade from there: no superuser is needed for it."""
    planner.run(
        "ALTER SCHEMA public OWNER TO postgres; GRANT ALL ON SCHEMA public TO PUBLIC", "planner"
    )
    carry_out(plan_backup(), WORK)
    for path in planner_system.backups.folder.iterdir():
        path.unlink()
    path = take(planner, planner_system, f"backup-20261101-101112-{name}", *options)
    plan = plan_restore()
    old = major_version(planner.programs) < 15  # such a pg_dump says nothing of it
    assert any("that schema public is postgres's" in note for note in plan.notes) is not old
    answers = carry_out(plan, WORK)
    assert answers[0].verdict is Verdict.HELD, path
    side = f"planner_restore_{ID}"
    assert planner.checksums(side) == planner.checksums("planner")
    of = "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = 'public'"
    version = planner.one("SELECT current_setting('server_version_num')::int")
    assert planner.one(of, side) == ("pg_database_owner" if version >= 150000 else "postgres")
