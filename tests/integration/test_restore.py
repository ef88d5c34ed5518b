"""Restores of every format and damage on a real server, and their undo."""

import gzip
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
import zstandard

from flows.database.restore_from_backup import Writes
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Risk, Standing, Verdict
from tests.postgres_fixtures import (
    ID,
    WORK,
    Cluster,
    PlannerSystem,
    carry_out,
    plan_cut_over,
    plan_restore,
    restore_all,
    swap_only,
    take,
    undo,
)

NAME = "backup-20261124-100000"


@pytest.mark.parametrize("form", ["sql", "sql.gz", "sql.zst", "dump", "dir", "inserts"])
def test_every_format_restores_to_what_was_backed_up(
    planner: Cluster, planner_system: PlannerSystem, form: str
) -> None:
    """Schema dump and row checksums are those of the time of the backup."""
    wanted, schema = planner.checksums("planner"), planner.dump("planner")
    options = {"dump": ["-Fc"], "dir": ["-Fd"], "inserts": ["--inserts"]}.get(form, [])
    name = f"{NAME}.{form.split('.', maxsplit=1)[0]}"
    path = take(planner, planner_system, name, *options)
    if form == "sql.gz":
        Path(f"{path}.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    if form == "sql.zst":
        Path(f"{path}.zst").write_bytes(zstandard.compress(path.read_bytes()))
        path.unlink()
    planner.run("DELETE FROM projects WHERE budget < 9000", "planner")
    _, _, answers = restore_all()
    assert planner.checksums("planner") == wanted
    assert planner.dump("planner") == schema
    assert {answer.verdict for answer in answers} <= {Verdict.HELD, Verdict.NOT_ASKED}
    large = "SELECT convert_from(lo_get(oid), 'UTF8') FROM pg_largeobject_metadata"
    assert planner.one(large, "planner") == "a large object"


def damage(planner: Cluster, kind: str) -> None:
    """Damage the database for real."""
    match kind:
        case "rows deleted":
            planner.run("DELETE FROM projects WHERE budget < 9000", "planner")
        case "table dropped":
            planner.run("DROP TABLE projects CASCADE", "planner")
        case "index page":
            planner.overwrite_page("planner", "projects_pkey", 1)
        case "heap page":
            planner.overwrite_page("planner", "projects", 3)
        case "foreign keys":
            planner.run(
                "SET session_replication_role = replica; DELETE FROM programs WHERE name < 'Q'",
                "planner",
            )


@pytest.mark.parametrize(
    "kind", ["rows deleted", "table dropped", "index page", "heap page", "foreign keys"]
)
def test_each_damage_is_repaired(
    planner: Cluster, planner_system: PlannerSystem, kind: str
) -> None:
    """Whatever is broken, the restored database is that of the backup."""
    wanted = planner.checksums("planner")
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    damage(planner, kind)
    plan = plan_restore()
    if kind == "heap page":
        assert "1 table cannot be read" in plan.findings[1].what
        assert any("cannot be read" in row[2] for row in plan.findings[1].rows)
    carry_out(plan, WORK)
    stage = plan_cut_over(plan)
    if kind == "heap page":
        assert "1 table of it cannot be read" in stage.findings[0].what
    answers = carry_out(swap_only(stage), WORK)
    assert answers[0].verdict is Verdict.HELD
    assert planner.checksums("planner") == wanted


def test_undo_gives_back_what_was_there(planner: Cluster, planner_system: PlannerSystem) -> None:
    """After an undo schema, rows, rights, settings and comment are those of before."""
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    planner.run("DELETE FROM projects WHERE budget < 9000; CREATE TABLE newer (a int)", "planner")
    planner.run(
        "COMMENT ON DATABASE planner IS 'ours'; ALTER DATABASE planner SET work_mem = '7MB'"
    )
    before = planner.checksums("planner"), planner.dump("planner", "-C")
    plan, stage, _ = restore_all()
    assert planner.checksums("planner") != before[0]
    undo(stage, WORK)
    undo(plan, WORK)
    assert (planner.checksums("planner"), planner.dump("planner", "-C")) == before
    kept = planner.one("SELECT datname FROM pg_database WHERE datname LIKE '%undone%'")
    assert kept == f"planner_undone_{ID}"
    undo(stage, WORK)  # again: nothing happens
    undo(plan, WORK)


def test_undo_of_the_first_stage_leaves_nothing(
    planner: Cluster, planner_system: PlannerSystem
) -> None:
    """The copy is dropped while it is ours, and not when it is not."""
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    plan = plan_restore()
    carry_out(plan, WORK)
    undo(plan, WORK)
    assert (
        planner.one("SELECT count(*) FROM pg_database WHERE datname LIKE 'planner~_r%' ESCAPE '~'")
        == 0
    )
    carry_out(plan, WORK)
    planner.run(f"COMMENT ON DATABASE planner_restore_{ID} IS 'taken over by another'")
    with pytest.raises(PreconditionFailed.__mro__[1], match="taken over"):
        undo(plan, WORK)


def test_a_plan_changes_nothing(planner: Cluster, planner_system: PlannerSystem) -> None:
    """Planning alone, as in a dry run, leaves catalogue and data as they are."""
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    seen = (planner.checksums("planner"), planner.dump("planner", "-C"))
    databases = planner.one("SELECT string_agg(datname, ',' ORDER BY oid) FROM pg_database")
    plan = plan_restore()
    assert plan.risk is Risk.HARMLESS
    assert (planner.checksums("planner"), planner.dump("planner", "-C")) == seen
    assert planner.one("SELECT string_agg(datname, ',' ORDER BY oid) FROM pg_database") == databases


def test_rights_settings_and_sequences_come_over(
    planner: Cluster, planner_system: PlannerSystem
) -> None:
    """ACL, settings (also per role), comment, and the greater of both sequence values."""
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    planner.run(
        'ALTER DATABASE planner SET search_path = "$user", public; '
        "ALTER DATABASE planner CONNECTION LIMIT 50; COMMENT ON DATABASE planner IS 'prod'; "
        "ALTER ROLE planner IN DATABASE planner SET work_mem = '9MB'; "
        "REVOKE TEMPORARY ON DATABASE planner FROM PUBLIC; "
        "GRANT CREATE ON DATABASE planner TO reporter"
    )
    planner.run(
        "SELECT setval('ticket_numbers', 5000); GRANT ALL ON programs TO reporter", "planner"
    )
    before = planner.dump("planner", "-C").split("\\connect")[0]
    facts = (
        "SELECT datconnlimit::text || datacl::text || shobj_description(oid, 'pg_database') || "
        "pg_get_userbyid(datdba) || (SELECT string_agg(setrole::text || setconfig::text, '' "
        "ORDER BY setrole) FROM pg_db_role_setting WHERE setdatabase = d.oid) "
        "FROM pg_database d WHERE datname = 'planner'"
    )
    was = planner.one(facts)
    plan = plan_restore()
    carry_out(plan, WORK)
    stage = plan_cut_over(plan)
    text = next(f for f in stage.findings if "owners or privileges" in f.what)
    assert text.rows[0][0] == "relation public.programs"
    carry_out(swap_only(stage), WORK)
    assert planner.dump("planner", "-C").split("\\connect")[0] == before
    assert sorted(planner.one(facts)) == sorted(was)
    assert planner.one("SELECT last_value FROM ticket_numbers", "planner") == 5000


def test_refused_writes_lose_nothing(planner: Cluster, planner_system: PlannerSystem) -> None:
    """With writes=refuse live is read-only until the cut-over; the undo takes that back."""
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    plan = plan_restore(writes=Writes.REFUSE)
    assert plan.risk is Risk.DISRUPTIVE
    open_session = planner.connect("planner", user="planner")
    administrator = planner.connect("planner")  # may not be ended by the maintenance user
    carry_out(plan, WORK)
    with pytest.raises(Exception, match=r"terminat|closed|lost"):
        open_session.execute("SELECT 1")
    administrator.close()
    with pytest.raises(Exception, match="read-only transaction"):
        planner.run("SET ROLE planner; INSERT INTO tickets (title) VALUES ('x')", "planner")
    stage = swap_only(plan_cut_over(plan))
    carry_out(stage, WORK)
    planner.run("INSERT INTO notes_without_key VALUES ('writes again')", "planner")
    undo(stage, WORK)
    undo(plan, WORK)
    planner.run("INSERT INTO notes_without_key VALUES ('writes again')", "planner")


def test_lost_rows_are_counted_by_key(planner: Cluster, planner_system: PlannerSystem) -> None:
    """Added, changed, deleted, by table, with keys; tables without a key as well."""
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    planner.run(
        "SET ROLE planner; INSERT INTO tickets (title) VALUES ('new'); "
        "UPDATE tickets SET title = 'z' WHERE id < 4; "
        "DELETE FROM tickets WHERE id = 50; INSERT INTO notes_without_key VALUES ('n'); "
        "CREATE TABLE added_table (id int PRIMARY KEY); INSERT INTO added_table VALUES (1)",
        "planner",
    )
    plan = plan_restore()
    carry_out(plan, WORK)
    stage = plan_cut_over(plan)
    assert stage.findings[0].rows == (
        ("public.added_table", "1", "0", "0", ""),
        ("public.notes_without_key", "1", "0", "0", ""),
        ("public.tickets", "1", "3", "1", ""),
    )
    assert ("public.tickets", "(101)") in stage.findings[1].rows
    limit = stage.limits[0]
    assert limit.measure(WORK) == 6
    planner.run("INSERT INTO tickets (title) SELECT 'more' FROM generate_series(1, 200)", "planner")
    assert limit.exceeded(limit.measure(WORK))


def test_amcheck_is_asked_where_it_may_be(planner: Cluster, planner_system: PlannerSystem) -> None:
    """With the extension's rights the indexes are checked, and no extension stays behind."""
    planner.run("ALTER ROLE planner_admin SUPERUSER")
    try:
        take(planner, planner_system, f"{NAME}.dump", "-Fc")
        plan = plan_restore()
        assert plan.changes[1].model_dump()["load_as"] == "planner"
        answers = carry_out(plan, WORK)
        assert [answer.verdict for answer in answers] == [Verdict.HELD] * 3
        side = f"planner_restore_{ID}"
        assert planner.one("SELECT count(*) FROM pg_extension", side) == 1
        planner.overwrite_page(side, "projects_pkey", 2)
        assert plan.checks[2].ask(WORK).verdict is Verdict.NOT_HELD
    finally:
        planner.run("ALTER ROLE planner_admin NOSUPERUSER")


def test_a_copy_that_lacks_rows_is_not_proved(
    planner: Cluster, planner_system: PlannerSystem
) -> None:
    """The check before the act cannot be asked; afterwards a missing row is noticed."""
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    plan = plan_restore()
    assert {check.ask(WORK).verdict for check in plan.checks} == {Verdict.NOT_ASKED}
    carry_out(plan, WORK)
    planner.run("DELETE FROM tickets WHERE id = 1", f"planner_restore_{ID}")
    answer = plan.checks[0].ask(WORK)
    assert answer.verdict is Verdict.NOT_HELD
    assert answer.detail == "public.tickets: 99 instead of 100"
    shutil.rmtree(planner_system.backups.folder)


def test_sessions_that_began_read_only_end_with_it(
    planner: Cluster, planner_system: PlannerSystem
) -> None:
    """Killed after the setting was lifted, an undo still ends what had read it before."""
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    change = plan_restore(writes=Writes.REFUSE).changes[0]
    work = replace(WORK, begun_at=datetime.now(UTC))
    change.apply(work)
    assert change.observe(work).standing is Standing.AFTER
    with planner.connect("planner", user="planner") as pooled:
        shown = pooled.execute("SHOW transaction_read_only").fetchone()
        assert shown == {"transaction_read_only": "on"}
        planner.run("ALTER DATABASE planner SET default_transaction_read_only = off")
        assert change.observe(work).standing is Standing.HALF
        change.revert(work)
        with pytest.raises(psycopg.OperationalError):
            pooled.execute("SHOW transaction_read_only")
    assert change.observe(work).standing is Standing.BEFORE
    assert planner.one("SHOW transaction_read_only", "planner") == "off"
