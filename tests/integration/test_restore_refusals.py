"""What a restore refuses, each with a message that says what to do."""

import re
import subprocess
from pathlib import Path

import pytest

from flows.database.restore_from_backup import Attached
from tasks.guardrails.errors import PreconditionFailed, TargetBusy
from tasks.guardrails.plan import Work
from tests.postgres_fixtures import (
    WORK,
    Cluster,
    PlannerSystem,
    carry_out,
    plan_cut_over,
    plan_restore,
    take,
)

NAME = "backup-20261124-100000"


def test_no_backup(planner_system: PlannerSystem) -> None:
    """An empty store, and a name that is not in it."""
    with pytest.raises(PreconditionFailed) as raised:
        plan_restore()
    assert raised.value.facts() == {
        "error": "precondition_failed",
        "expected": "a backup in the target's store.",
        "found": "the store is empty.",
        "state": "Nothing was changed.",
        "todo": "Correct the store in the target, or take a backup: remedy run back_up_database.",
    }
    (planner_system.backups.folder / "one.sql").write_text("x")
    with pytest.raises(PreconditionFailed, match=r"none; there are one\.sql"):
        plan_restore(backup="other.sql")
    with pytest.raises(PreconditionFailed, match="neither plain SQL nor an archive"):
        plan_restore()


@pytest.mark.parametrize(
    ("option", "why"), [("-Fp", "is cut off"), ("-Fc", "cannot be read to its end")]
)
@pytest.mark.parametrize("share", [0.5, 0.99])
def test_a_cut_off_backup(
    planner: Cluster, planner_system: PlannerSystem, option: str, why: str, share: float
) -> None:
    """Half a file, and one that lacks its last bytes only."""
    path = take(planner, planner_system, f"{NAME}.x", option)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(PreconditionFailed, match=why):
        plan_restore()


def test_a_damaged_backup(planner: Cluster, planner_system: PlannerSystem) -> None:
    """Flipped bytes in the packed data, a missing file of a folder, a packed file cut off."""
    path = take(planner, planner_system, f"{NAME}.dump", "-Fc")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = bytes(64)
    path.write_bytes(data)
    folder = take(planner, planner_system, "backup-20261124-110000.dir", "-Fd")
    next(folder.glob("*.dat.gz")).unlink()
    packed = planner_system.backups.folder / "backup-20261124-120000.sql.gz"
    plain = take(planner, planner_system, "backup-20261124-120000.sql")
    subprocess.run(["gzip", str(plain)], check=True)
    packed.write_bytes(packed.read_bytes()[:-100])
    with pytest.raises(PreconditionFailed) as raised:
        plan_restore()
    assert raised.value.found.count("cannot be read to its end") == 3


def test_the_newest_sound_one_is_chosen(planner: Cluster, planner_system: PlannerSystem) -> None:
    """A damaged newer backup is passed over, and said."""
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    newer = take(planner, planner_system, "backup-20261124-230000.sql")
    newer.write_bytes(newer.read_bytes()[:-200])
    plan = plan_restore()
    verdicts = [row[2] for row in plan.findings[0].rows]
    assert verdicts[0].startswith("it is cut off")
    assert verdicts[1] == "sound, chosen"


def test_another_databases_backup(planner: Cluster, planner_system: PlannerSystem) -> None:
    """By the name in an archive, and by the tables of a plain file."""
    planner.run("CREATE DATABASE shop")
    planner.run("CREATE TABLE orders (id int PRIMARY KEY)", "shop")
    folder = planner_system.backups.folder
    planner.program("pg_dump", "-Fc", "-f", folder / f"{NAME}.dump", "shop")
    with pytest.raises(PreconditionFailed, match="a backup of database shop, not of planner"):
        plan_restore()
    planner.program("pg_dump", "-f", folder / "backup-20261124-110000.sql", "shop")
    with pytest.raises(PreconditionFailed, match="another database's: it has 0 of the 7 tables"):
        plan_restore(backup="backup-20261124-110000.sql")


def test_a_newer_servers_backup(planner: Cluster, planner_system: PlannerSystem) -> None:
    """Judged by the server's version, not by pg_dump's."""
    path = take(planner, planner_system, f"{NAME}.sql")
    text = path.read_text()
    path.write_text(re.sub(r"(from database version) \d+", r"\1 99", text))
    with pytest.raises(PreconditionFailed, match=r"from PostgreSQL 99\.\d+, newer than"):
        plan_restore()
    text = re.sub(r"(from database version) \d+", r"\1 14", text)
    path.write_text(re.sub(r"(by pg_dump version) \d+", r"\1 99", text))
    assert plan_restore()


def test_a_backup_that_must_not_be_run(planner: Cluster, planner_system: PlannerSystem) -> None:
    """A command of psql, and a dump made for its own database (-C)."""
    path = take(planner, planner_system, f"{NAME}.sql")
    path.write_text(path.read_text().replace("CREATE VIEW", "\\! id\nCREATE VIEW", 1))
    with pytest.raises(PreconditionFailed, match="must not be run: the psql command"):
        plan_restore()
    take(planner, planner_system, f"{NAME}.sql", "-C")
    with pytest.raises(PreconditionFailed, match="must not be run: CREATE DATABASE PLANNER"):
        plan_restore()


def test_missing_roles_and_extensions(planner: Cluster, planner_system: PlannerSystem) -> None:
    """Named before anything is made; an extension that only a superuser may create as well."""
    path = take(planner, planner_system, f"{NAME}.sql")
    text = path.read_text()
    path.write_text(text.replace("OWNER TO planner", "OWNER TO gone", 1))
    with pytest.raises(PreconditionFailed, match="names gone, which the server has not"):
        plan_restore()
    extension = "CREATE EXTENSION IF NOT EXISTS {} WITH SCHEMA public;\nCREATE TYPE"
    path.write_text(text.replace("CREATE TYPE", extension.format("nonesuch"), 1))
    with pytest.raises(PreconditionFailed, match="creates nonesuch, which the server has not"):
        plan_restore()
    path.write_text(text.replace("CREATE TYPE", extension.format("pageinspect"), 1))
    with pytest.raises(PreconditionFailed, match="creates pageinspect: only a superuser may"):
        plan_restore()


def test_no_disk(
    planner: Cluster, planner_system: PlannerSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The forecast includes WAL; free space is measured where the server keeps its data."""
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    monkeypatch.setattr(planner_system.database, "free_bytes", lambda: 1_000_000)
    with pytest.raises(PreconditionFailed, match="1 MB free where the server keeps its data"):
        plan_restore()


@pytest.mark.parametrize(
    ("take_away", "give_back", "named"),
    [
        ("ALTER ROLE planner_admin NOCREATEDB", "ALTER ROLE planner_admin CREATEDB", "CREATEDB"),
        ("REVOKE planner FROM planner_admin", "GRANT planner TO planner_admin", "membership in"),
        (
            "REVOKE pg_signal_backend FROM planner_admin",
            "GRANT pg_signal_backend TO planner_admin",
            "pg_signal_backend",
        ),
        (
            "REVOKE pg_monitor FROM planner_admin",
            "GRANT pg_monitor TO planner_admin",
            "pg_read_all_stats",
        ),
    ],
)
def test_no_rights(
    planner: Cluster, planner_system: PlannerSystem, take_away: str, give_back: str, named: str
) -> None:
    """Each missing right is named with the statement that gives it."""
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    planner.run(take_away)
    try:
        with pytest.raises(PreconditionFailed, match=named):
            plan_restore()
    finally:
        planner.run(give_back)


@pytest.mark.usefixtures("planner_system")
def test_a_user_without_the_rights_of_its_roles(planner: Cluster) -> None:
    """Until PostgreSQL 15 it is the member that says whether it has them."""
    if planner.one("SELECT current_setting('server_version_num')::int") >= 160000:
        pytest.skip("each membership says it since PostgreSQL 16: see test_postgresql_17")
    planner.run("ALTER ROLE planner_admin NOINHERIT")
    try:
        with pytest.raises(PreconditionFailed, match="ALTER ROLE planner_admin INHERIT"):
            plan_restore()
    finally:
        planner.run("ALTER ROLE planner_admin INHERIT")


def test_another_restore(planner: Cluster, planner_system: PlannerSystem) -> None:
    """Ours that has no end, and one by hand."""
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    first = plan_restore("firstfirst")
    carry_out(first, Work(target="planner-test", remediation="firstfirst"))
    with pytest.raises(TargetBusy, match="by remediation firstfirst"):
        plan_restore()
    planner.run("DROP DATABASE planner_restore_firstfirst")
    with planner.connect("planner") as session:
        session.execute("SET application_name = 'pg_restore'")
        with pytest.raises(TargetBusy, match="pg_restore by postgres"):
            plan_restore()


def test_prepared_transactions_and_sessions_in_the_way(
    planner: Cluster, planner_system: PlannerSystem
) -> None:
    """Refused beforehand by name, also where they appear after the first stage."""
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    plan = plan_restore()
    carry_out(plan, WORK)
    with planner.connect("planner") as session:
        session.execute("BEGIN; INSERT INTO tickets (title) VALUES ('p')")
        session.execute("PREPARE TRANSACTION 'left-over'")
    try:
        with pytest.raises(PreconditionFailed, match="prepared transaction 'left-over'"):
            plan_cut_over(plan)
    finally:
        planner.run("ROLLBACK PREPARED 'left-over'", "planner")
    with planner.connect("planner"), pytest.raises(PreconditionFailed, match="of postgres"):
        plan_cut_over(plan)
    assert plan_cut_over(plan)


def test_what_is_attached_blocks_until_said(
    planner: Cluster, planner_system: PlannerSystem
) -> None:
    """Publications, slots and servers are listed; 'leave' says what happens to them."""
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    planner.run("CREATE PUBLICATION changes FOR ALL TABLES", "planner")
    planner.run("SELECT pg_create_logical_replication_slot('feed', 'pgoutput')", "planner")
    planner.run("CREATE EXTENSION postgres_fdw", "planner")
    planner.run("CREATE SERVER other FOREIGN DATA WRAPPER postgres_fdw", "planner")
    with pytest.raises(PreconditionFailed) as raised:
        plan_restore()
    assert raised.value.found == "publication changes, foreign server other, logical slot feed."
    plan = plan_restore(attached=Attached.LEAVE)
    assert any("logical slot feed" in note for note in plan.notes)


def test_a_backup_that_was_replaced(
    planner: Cluster, planner_system: PlannerSystem, tmp_path: Path
) -> None:
    """What was read for the plan is what is loaded."""
    path = take(planner, planner_system, f"{NAME}.dump", "-Fc")
    plan = plan_restore()
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(Exception, match="it was replaced since the plan was made"):
        carry_out(plan, WORK)
    assert tmp_path.exists()
