"""vacuum_database on a sandbox under load, with dead rows that nobody tidied up behind."""

import pytest
from prefect.client.schemas.objects import State
from psycopg import sql

from flows.database.vacuum_database import vacuum_database
from infra.sandbox.load import USER, Load
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.platforms import targets
from tasks.platforms.postgresql import PostgreSQL
from tasks.platforms.sandbox.target import SandboxTarget
from tests.configured import configured
from tests.loose_tables import file_of
from tests.prefect_fixtures import Runs
from tests.snapshots import snapshot


def vacuum(runs: Runs, sandbox: Planner) -> tuple[Case, State[object]]:
    """Vacuum what is worth it; nobody is asked."""
    run, state = runs.start(vacuum_database, target=sandbox.settings.name)
    assert state is not None
    return Case.read(Ledger(), runs.id_of(run)), state


def kill_rows(sandbox: Planner) -> None:
    """Write every row of two tables anew, with autovacuum off for them."""
    with sandbox.connect() as session:
        for table in ("projects", "actuals"):
            session.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)")
            session.execute(f"UPDATE {table} SET updated_at = updated_at")


def dead_rows(sandbox: Planner, table: str) -> int:
    """Count the dead rows of a table as pgstattuple finds them in its pages."""
    with sandbox.connect() as session:
        session.execute("CREATE EXTENSION IF NOT EXISTS pgstattuple")
        row = session.execute("SELECT dead_tuple_count FROM pgstattuple(%s)", (table,)).fetchone()
        session.execute("DROP EXTENSION pgstattuple")
    return int(row[0]) if row else -1


def test_dead_rows_go_under_load(runs: Runs, planner: Planner) -> None:
    """They are gone from the pages, no request fails, and every row is as it was."""
    kill_rows(planner)
    assert dead_rows(planner, "actuals") > 1000
    original = snapshot(planner)
    load = Load(planner.url, planner.settings.accounts[USER], rate=10)
    load.start()
    try:
        case, state = vacuum(runs, planner)
    finally:
        seen = load.stop()
    assert state.name == "Remediated", state.message
    assert (seen.failed, seen.missing) == (0, [])
    assert dead_rows(planner, "actuals") == 0
    assert snapshot(planner, without_load=True) == original
    notes = [entry.facts["note"] for entry in case.of_kind("done")]
    assert all("dead rows" in note for note in notes)


def test_nothing_is_vacuumed_without_need(runs: Runs, sandbox: Sandbox) -> None:
    """Tables with hardly a dead row are listed and left alone."""
    case, state = vacuum(runs, sandbox)
    assert state.name == "Unchanged", state.message
    assert case.stages[0].stage.findings[0].rows


def test_who_keeps_dead_rows_is_named(runs: Runs, sandbox: Sandbox) -> None:
    """An old transaction keeps them: it is told which, and it is not ended."""
    with sandbox.connect() as holder, sandbox.connect() as others:
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM users")
        pid = holder.info.backend_pid
        for _ in range(1100):
            others.execute("SELECT txid_current()")
        kill_rows(sandbox)
        case, state = vacuum(runs, sandbox)
        assert state.name == "Remediated", state.message
        told = [one.what for one in case.stages[0].stage.findings]
        assert [what for what in told if f"session {pid} of" in what]
        assert dead_rows(sandbox, "actuals") > 1000
        holder.execute("SELECT 1")
        holder.rollback()


def test_the_end_of_a_file_goes_back_to_the_disk(runs: Runs, sandbox: Sandbox) -> None:
    """Where only the first rows of a table are left, its file ends behind them."""
    with sandbox.connect() as session:
        session.execute(
            "CREATE TABLE emptied WITH (autovacuum_enabled = false) AS "
            "SELECT n, md5(n::text) FROM generate_series(1, 20000) n"
        )
        session.execute("DELETE FROM emptied WHERE n > 100")
    before = file_of(sandbox, "emptied")
    _, state = vacuum(runs, sandbox)
    assert state.name == "Remediated", state.message
    number, size = file_of(sandbox, "emptied")
    assert number == before[0]
    assert size < before[1] / 100


def ages(sandbox: Sandbox, relation: str) -> int:
    """Give the age of a table, or of its TOAST table alone."""
    with sandbox.connect() as session:
        row = session.execute(
            sql.SQL("SELECT age(relfrozenxid) FROM pg_class WHERE oid = ({})").format(
                sql.SQL(relation)
            )
        ).fetchone()
    return int(row[0]) if row else -1


def test_old_rows_are_frozen(runs: Runs, sandbox: Sandbox) -> None:
    """Of a table, and of one whose TOAST table alone is old; other databases are named."""
    table = "SELECT 'longs'::regclass"
    toast = "SELECT reltoastrelid FROM pg_class WHERE oid = 'longs'::regclass"
    # The least that PostgreSQL takes: rows are old after 50,000 transactions.
    with configured(sandbox, "autovacuum_freeze_max_age = 100000\nautovacuum = off"):
        with sandbox.connect() as session:
            session.execute("CREATE TABLE longs AS SELECT repeat('x', 10) AS text")
            session.execute("SET synchronous_commit = on")  # what is not flushed is not settled
            session.execute("CREATE TABLE settled AS SELECT n FROM generate_series(1, 20000) n")
            session.execute("VACUUM settled")  # its pages are skipped from now on
            session.execute(
                "DO $$ BEGIN FOR i IN 1..60000 LOOP PERFORM pg_current_xact_id(); COMMIT; "
                "END LOOP; END $$"
            )
            session.execute("SET vacuum_freeze_min_age = 0; SET vacuum_freeze_table_age = 0")
            if session.info.server_version >= 140000:
                session.execute("VACUUM (PROCESS_TOAST false) longs")
                assert ages(sandbox, table) < 50_000
        assert ages(sandbox, toast) > 50_000
        assert ages(sandbox, "SELECT 'settled'::regclass") > 50_000
        case, state = vacuum(runs, sandbox)
        assert state.name == "Remediated", state.message
        for relation in (table, toast, "SELECT 'settled'::regclass"):
            assert ages(sandbox, relation) < 51_000
    told = {one.what.split(" old rows")[0]: one for one in case.stages[0].stage.findings}
    assert [one for one in told if "other databases have" in one or "other database has" in one]
    assert [one for one in told if "system catalogue" in one]


def test_a_disk_that_is_too_full_is_said_beforehand(
    runs: Runs, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A vacuum writes to the log, and no room for that ends the server: nothing is begun."""
    kill_rows(sandbox)
    monkeypatch.setattr(PostgreSQL, "free_bytes", lambda _self: 50_000_000)
    case, state = vacuum(runs, sandbox)
    assert state.name == "Refused", state.message
    assert "drop_kept_databases" in (state.message or "")
    assert not case.of_kind("begun")
    assert dead_rows(sandbox, "actuals") > 1000


def test_a_table_of_somebody_else_is_named(runs: Runs, sandbox: Sandbox) -> None:
    """It is left alone until the maintenance user has a right to it: MAINTAIN, where that is."""
    targets.give(SandboxTarget(**sandbox.target_settings(limited=True)))
    owner, user = sandbox.settings.application_user, sandbox.settings.maintenance_user
    with sandbox.connect() as session:
        session.execute("CREATE TABLE foreign_rows AS SELECT i FROM generate_series(1, 5000) i")
        session.execute("ALTER TABLE foreign_rows SET (autovacuum_enabled = false)")
        session.execute("UPDATE foreign_rows SET i = i")
        session.execute(f"ALTER DATABASE {sandbox.settings.database} OWNER TO postgres".encode())
        new = session.info.server_version >= 170000
    case, state = vacuum(runs, sandbox)
    assert state.name == "Advised", state.message
    told = [one.what for one in case.stages[0].stage.findings]
    assert "public.foreign_rows may not be vacuumed by the maintenance user." in told
    assert dead_rows(sandbox, "foreign_rows") > 1000
    with sandbox.connect() as session:
        right = f"MAINTAIN ON foreign_rows TO {user}" if new else f"{owner} TO {user}"
        session.execute(f"GRANT {right}".encode())
        if not new:
            session.execute(f"ALTER TABLE foreign_rows OWNER TO {owner}".encode())
    _, state = vacuum(runs, sandbox)
    assert state.name == "Remediated", state.message
    assert dead_rows(sandbox, "foreign_rows") == 0
