"""rebuild_indexes on a sandbox under load, whose indexes were damaged for real."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from prefect.client.schemas.objects import State

from flows.database.rebuild_indexes import rebuild_indexes
from infra.sandbox.damage import INDEX, Damage, damage
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import carry_out
from tests.prefect_fixtures import Runs
from tests.snapshots import snapshot
from tests.users import under_load
from tests.waiting import until


def rebuild(runs: Runs, sandbox: Planner, **parameters: str) -> tuple[Case, State[object]]:
    """Rebuild what is damaged; nobody is asked."""
    run, state = runs.start(rebuild_indexes, target=sandbox.settings.name, **parameters)
    assert state is not None
    return Case.read(Ledger(), runs.id_of(run)), state


def indexes(sandbox: Planner) -> dict[str, tuple[bool, str, int]]:
    """Read the indexes: name -> valid, definition, OID."""
    with sandbox.connect() as session:
        rows = session.execute(
            "SELECT indexrelid::regclass::text, indisvalid, pg_get_indexdef(indexrelid), "
            "indexrelid::int FROM pg_index WHERE indrelid >= 16384"
        ).fetchall()
    return {row[0]: (row[1], row[2], row[3]) for row in rows}


def definitions(sandbox: Planner) -> dict[str, str]:
    """Read the definitions of the valid indexes."""
    return {name: text for name, (valid, text, _) in indexes(sandbox).items() if valid}


def amcheck_says(sandbox: Planner, name: str) -> str:
    """Ask amcheck of an index as an administrator would; '' where it is sound."""
    with sandbox.connect() as session:
        session.execute("CREATE EXTENSION IF NOT EXISTS amcheck")
        try:
            session.execute("SELECT bt_index_check(%s::regclass, true)", (name,))
        except psycopg.Error as error:
            return str(error)
        finally:
            session.rollback()
    return ""


@pytest.mark.parametrize(
    ("planner", "kind"),
    [
        ("sandbox", Damage.INDEX_ORDER),
        ("sandbox", Damage.INDEX_PAGE),
        ("compose", Damage.INDEX_PAGE),
    ],
    indirect=["planner"],
)
def test_a_damaged_index_is_rebuilt_under_load(runs: Runs, planner: Planner, kind: Damage) -> None:
    """It alone is built anew; no request fails, and the rows are as they were."""
    before, original = indexes(planner), snapshot(planner)
    damage(planner, kind)
    assert amcheck_says(planner, INDEX)
    with under_load(planner):
        case, state = rebuild(runs, planner)
    assert state.name == "Remediated", state.message
    assert amcheck_says(planner, INDEX) == ""
    after = indexes(planner)
    assert {name for name in before if before[name] != after.get(name)} == {INDEX}
    assert after[INDEX][:2] == before[INDEX][:2]
    assert set(after) == set(before)
    assert snapshot(planner, without_load=True).schema == original.schema
    (watched,) = case.of_kind("watched")
    assert watched.facts["failed"] == 0


def test_sound_indexes_are_left_alone(runs: Runs, sandbox: Sandbox) -> None:
    """Nothing is planned, and looking has left nothing behind."""
    before, original = indexes(sandbox), snapshot(sandbox)
    _, state = rebuild(runs, sandbox)
    assert state.name == "Unchanged", state.message
    assert indexes(sandbox) == before
    assert snapshot(sandbox) == original


def test_all_are_rebuilt_where_that_is_asked_for(runs: Runs, sandbox: Sandbox) -> None:
    """Unique ones and those of primary keys too; each has the same definition afterwards."""
    before = indexes(sandbox)
    _, state = rebuild(runs, sandbox, which="all")
    assert state.name == "Remediated", state.message
    after = indexes(sandbox)
    assert {name: one[:2] for name, one in after.items()} == {
        name: one[:2] for name, one in before.items()
    }
    assert [name for name in before if before[name][2] == after[name][2]] == []


def test_what_stays_as_it_is_and_a_disk_that_nobody_sees_are_told(
    runs: Runs, sandbox: Sandbox
) -> None:
    """Indexes of exclusion constraints and of the catalogue; and what has to be free."""
    with sandbox.connect() as session:
        session.execute("CREATE TABLE rooms (during tsrange, EXCLUDE USING gist (during WITH &&))")
    settings = sandbox.target_settings()
    targets.give(SandboxTarget(**{**settings, "data_directory": None}))
    case, state = carry_out(runs, sandbox, rebuild_indexes, which="all", dry_run=True)
    assert state.name == "Planned", state.message
    stage = case.stages[0].stage
    (told,) = [one for one in stage.findings if "cannot be rebuilt concurrently" in one.what]
    assert told.rows[0] == ("public.rooms_during_excl", "rooms", "exclusion constraint")
    assert {row[2] for row in told.rows[1:]} == {"catalogue"}
    assert not [one for one in stage.changes if "rooms" in one.title]
    assert "see yourself that" in " ".join(stage.notes)


def test_what_is_mostly_waste_is_rebuilt_where_that_is_asked_for(
    runs: Runs, sandbox: Sandbox
) -> None:
    """An index whose rows were deleted keeps its size; rebuilt it is small, and the others stay."""
    with sandbox.connect() as session:
        session.execute("CREATE TABLE many AS SELECT n FROM generate_series(1, 100000) AS n")
        session.execute("CREATE INDEX many_index ON many (n)")
        session.execute("DELETE FROM many WHERE n % 10 <> 0")
        session.execute("VACUUM ANALYZE many")
    _, state = rebuild(runs, sandbox)
    assert state.name == "Unchanged", state.message
    before, large = indexes(sandbox), size_of(sandbox, "many_index")
    case, state = rebuild(runs, sandbox, which="bloated")
    assert state.name == "Remediated", state.message
    assert "waste" in case.stages[0].stage.changes[0].before_and_after[0]
    after = indexes(sandbox)
    assert {name for name in before if before[name] != after[name]} == {"many_index"}
    assert size_of(sandbox, "many_index") < large / 5


def size_of(sandbox: Planner, name: str) -> int:
    """Give the bytes of an index."""
    with sandbox.connect() as session:
        row = session.execute("SELECT pg_relation_size(%s::regclass)", (name,)).fetchone()
    assert row
    return int(row[0])


def test_a_collation_that_has_changed_is_told(runs: Runs, sandbox: Sandbox) -> None:
    """As after an upgrade of the system's libraries; amcheck says which indexes are hurt."""
    with sandbox.connect() as session:
        row = session.execute(
            "SELECT quote_ident(collname), oid::int FROM pg_collation WHERE collversion IS NOT NULL"
            " AND collencoding IN (-1, pg_char_to_encoding('UTF8')) AND collprovider = 'i' LIMIT 1"
        ).fetchone()
        if row is None:
            pytest.skip("this server was built without ICU: none of its collations has a version")
        session.execute(f"CREATE TABLE words (word text COLLATE {row[0]} UNIQUE)".encode())
        session.execute("UPDATE pg_collation SET collversion = '1.0' WHERE oid = %s", (row[1],))
    case, state = rebuild(runs, sandbox)
    assert state.name == "Advised", state.message
    (told,) = [one for one in case.stages[0].stage.findings if "was version 1.0" in one.what]
    assert "REFRESH VERSION" in told.patch


@contextmanager
def old_snapshot(sandbox: Planner) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """Hold a transaction open that every concurrent build has to wait for."""
    with sandbox.connect() as session:
        session.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        session.execute("SELECT count(*) FROM users")
        yield session
        session.rollback()


def test_what_a_rebuild_left_is_dropped(runs: Runs, sandbox: Sandbox) -> None:
    """An invalid copy of an interrupted REINDEX goes; the index that it was to replace stays."""
    before = indexes(sandbox)
    with old_snapshot(sandbox), sandbox.connect() as session:

        def cancel() -> None:
            try:
                until(lambda: f"{INDEX}_ccnew" in indexes(sandbox))
            finally:
                session.cancel()

        other = threading.Thread(target=cancel)
        other.start()
        with pytest.raises(psycopg.errors.QueryCanceled):
            session.execute(f"REINDEX INDEX CONCURRENTLY {INDEX}")
        other.join()
    assert set(indexes(sandbox)) - set(before) == {f"{INDEX}_ccnew"}
    _, state = rebuild(runs, sandbox)
    assert state.name == "Remediated", state.message
    assert indexes(sandbox) == before


def test_rows_let_in_twice_are_shown_and_kept(runs: Runs, sandbox: Sandbox) -> None:
    """A unique index that missed a row cannot be rebuilt: which rows, and nothing is touched."""
    with sandbox.connect() as session:
        ready = (
            "UPDATE pg_index SET indisready = {0}, indisvalid = {0} "
            "WHERE indexrelid = 'users_username_key'::regclass"
        )
        session.execute(ready.format("false"))
        session.execute(
            "INSERT INTO users SELECT (jsonb_populate_record(u, jsonb_build_object('id', "
            "gen_random_uuid(), 'email', 'twin@example.org'))).* FROM users u "
            "WHERE username = 'admin'"
        )
        session.execute(ready.format("true"))
    before, rows = indexes(sandbox), snapshot(sandbox)
    case, state = rebuild(runs, sandbox)
    assert state.name == "Advised", state.message
    shown = [one for one in case.stages[0].stage.findings if "users_username_key" in one.what]
    assert shown
    assert shown[0].rows, shown[0]
    assert shown[0].rows[0][:2] == ("admin", "2")
    assert indexes(sandbox) == before
    assert snapshot(sandbox) == rows


def test_a_damaged_table_is_not_mended_by_its_indexes(runs: Runs, sandbox: Sandbox) -> None:
    """It is told which table, and that only a restore helps."""
    damage(sandbox, Damage.HEAP_PAGE)
    before = indexes(sandbox)
    case, state = rebuild(runs, sandbox)
    assert state.name == "Advised", state.message
    told = [one for one in case.stages[0].stage.findings if "Table projects itself" in one.what]
    assert told
    assert "restore_from_backup" in told[0].patch
    assert indexes(sandbox) == before


def test_it_gives_way_to_who_queues_behind_it(runs: Runs, sandbox: Sandbox) -> None:
    """Somebody who needs the table gets it while the rebuild waits; then it is done anyway."""
    damage(sandbox, Damage.INDEX_ORDER)
    got: list[float] = []

    def rebuilding() -> bool:
        with sandbox.connect() as session:
            row = session.execute("SELECT count(*) FROM pg_stat_progress_create_index").fetchone()
        return bool(row and row[0])

    def lock() -> None:
        try:
            until(rebuilding)
            with sandbox.connect() as session, session.transaction():
                session.execute("LOCK TABLE actuals IN SHARE UPDATE EXCLUSIVE MODE")
                got.append(time.monotonic())
        finally:
            holder.rollback()

    with old_snapshot(sandbox) as holder:
        other = threading.Thread(target=lock)
        other.start()
        case, state = rebuild(runs, sandbox)
        other.join()
    assert got, "the other never had the table while the old transaction was open"
    assert state.name == "Remediated", state.message
    assert amcheck_says(sandbox, INDEX) == ""
    assert not [name for name, (valid, _, _) in indexes(sandbox).items() if not valid]
    assert len(case.of_kind("begun")) == 1


def test_looking_gives_way_too(runs: Runs, sandbox: Sandbox) -> None:
    """Who needs a table whose check takes long gets it; the index counts as not verified."""
    with sandbox.connect() as session:
        session.execute(
            "CREATE FUNCTION slow(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN "
            "IF current_setting('test.slow', true) = 'on' THEN PERFORM pg_sleep(0.02); END IF; "
            "RETURN n; END $$"
        )
        session.execute("CREATE TABLE slowly AS SELECT n FROM generate_series(1, 1000) AS n")
        session.execute("CREATE INDEX slowly_index ON slowly (slow(n))")
        session.execute(f"ALTER DATABASE {sandbox.settings.database} SET test.slow = 'on'")
    got: list[bool] = []

    def checking() -> bool:
        with sandbox.connect() as session:
            row = session.execute(
                "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) "
                # Neither who reads what it is called, nor autovacuum.
                "WHERE relation = 'slowly'::regclass AND granted AND query LIKE '%bt_index%'"
            ).fetchone()
        return bool(row and row[0])

    def lock() -> None:
        until(checking)
        with sandbox.connect() as session, session.transaction():
            session.execute("LOCK TABLE slowly IN ACCESS EXCLUSIVE MODE")
            got.append(True)

    other = threading.Thread(target=lock)
    other.start()
    case, state = rebuild(runs, sandbox)
    other.join()
    assert got
    assert state.name == "Advised", state.message
    assert "again when there is less traffic" in case.stages[0].stage.findings[0].patch
    rows = case.stages[0].stage.findings[0].rows
    (told,) = [row for row in rows if row[0] == "public.slowly_index"]
    assert told[2] == "not verifiable"
    assert "waited for it with: LOCK TABLE slowly" in told[3]
