"""rewrite_tables by VACUUM FULL, on a sandbox under load whose table was made loose for real."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql

from flows.database.rewrite_tables import rewrite_tables
from flows.database.vacuum_database import vacuum_database
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from tasks.database.vacuum import rewrite_cost
from tasks.database.vacuum.rewritable import find_holders
from tasks.guardrails.case import Case
from tasks.platforms import targets
from tasks.platforms.postgresql import PostgreSQL
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import carry_out
from tests.loose_tables import (
    ODD,
    SLOW,
    SLOW_ROWS,
    be_slow,
    file_of,
    make_loose,
    make_slow,
)
from tests.prefect_fixtures import Runs
from tests.snapshots import snapshot
from tests.table_identity import RICH, identity_of, make_rich, order_of, remove_rich_role
from tests.users import under_load
from tests.waiting import until

FULL = {"way": "vacuum_full"}


def told(case: Case) -> str:
    """Give all that was found, with the advice."""
    return " ".join(f"{one.what} {one.patch}" for one in case.stages[0].stage.findings)


def rows_of(sandbox: Sandbox, table: str) -> int:
    """Count the rows, as somebody who waits for nobody."""
    with sandbox.connect() as session:
        session.execute("SET lock_timeout = '1s'")
        row = session.execute(f"SELECT count(*) FROM {table}").fetchone()
    return int(row[0]) if row else -1


def waits_for_a_lock(session: psycopg.Connection[tuple[Any, ...]]) -> bool:
    """Say whether somebody waits for a table for himself."""
    row = session.execute(
        "SELECT count(*) FROM pg_locks WHERE NOT granted AND mode = 'AccessExclusiveLock'"
    ).fetchone()
    return bool(row and row[0])


@pytest.mark.parametrize(
    ("planner", "limited"),
    [("sandbox", False), ("sandbox", True), ("compose", False)],
    indirect=["planner"],
)
def test_a_loose_table_is_written_anew_under_load(
    runs: Runs, planner: Planner, *, limited: bool
) -> None:
    """Its file is small, its rows are as they were, and no request fails."""
    if limited:
        targets.give(SandboxTarget(**planner.target_settings(limited=True)))
    make_loose(planner)
    before, original = file_of(planner), snapshot(planner)
    assert before[1] > 60_000_000
    with under_load(planner):
        case, state = carry_out(runs, planner, rewrite_tables, **FULL)
    assert state.name == "Remediated", state.message
    after = file_of(planner)
    assert after[0] != before[0]
    assert after[1] < 5_000_000
    assert snapshot(planner, without_load=True) == original
    (done,) = case.of_kind("done")
    assert "MB came free" in done.facts["note"]
    assert "s each at the most" in case.stages[0].stage.effects.outage

    case, state = carry_out(runs, planner, rewrite_tables, **FULL)
    assert state.name == "Unchanged", state.message
    assert file_of(planner)[0] == after[0]


def test_nothing_of_a_table_but_its_file_is_another_one(runs: Runs, sandbox: Sandbox) -> None:
    """Rows and their order, what hangs on it, what others know it by; so there is no undo."""
    make_rich(sandbox)
    before, file = (
        (snapshot(sandbox), identity_of(sandbox), order_of(sandbox)),
        file_of(sandbox, RICH),
    )
    case, state = carry_out(runs, sandbox, rewrite_tables, tables=[RICH], **FULL)
    assert state.name == "Remediated", state.message
    assert file_of(sandbox, RICH)[0] != file[0]
    assert (snapshot(sandbox), identity_of(sandbox), order_of(sandbox)) == before

    _, ended = carry_out(runs, sandbox, undo_remediation, remediation=case.id)
    assert (snapshot(sandbox), identity_of(sandbox), order_of(sandbox)) == before
    assert ended.name == "Unchanged", ended.message
    remove_rich_role(sandbox)


def test_what_a_vacuum_cannot_give_back_leads_here(runs: Runs, sandbox: Sandbox) -> None:
    """vacuum_database names the loose table, and the run that gives its room back."""
    make_loose(sandbox)
    case, _ = carry_out(runs, sandbox, vacuum_database)
    assert 'rewrite_tables tables=["public.programs"]' in told(case)


def test_rows_are_measured_where_pgstattuple_may_be_used(runs: Runs, sandbox: Sandbox) -> None:
    """Also of a table that was emptied, of which statistics say nothing."""
    targets.give(SandboxTarget(**sandbox.target_settings(limited=True)))
    with sandbox.connect() as session:
        session.execute("CREATE EXTENSION pgstattuple")
        session.execute("CREATE TABLE emptied (n int, what text)")
        session.execute("ALTER TABLE emptied OWNER TO planner")
        session.execute("ALTER TABLE emptied SET (autovacuum_enabled = false)")
        session.execute(
            "INSERT INTO emptied SELECT n, repeat(md5(n::text), 40) "
            "FROM generate_series(1, 60000) n"
        )
        session.execute("DELETE FROM emptied WHERE n < 60000")
    case, state = carry_out(runs, sandbox, rewrite_tables, **FULL)
    assert state.name == "Remediated", state.message
    (row,) = case.stages[0].stage.findings[0].rows
    assert row[0] == "public.emptied"
    assert row[4] == "measured"
    assert file_of(sandbox, "emptied")[1] < 100_000


def test_nothing_is_written_anew_without_need(runs: Runs, sandbox: Sandbox) -> None:
    """Tables as large as their rows are listed and left alone, and pg_repack is not asked for."""
    before = file_of(sandbox)
    case, state = carry_out(runs, sandbox, rewrite_tables)
    assert state.name == "Unchanged", state.message
    assert case.stages[0].stage.findings[0].rows
    assert file_of(sandbox) == before


def test_a_name_that_is_not_there_is_told_with_those_that_are(runs: Runs, sandbox: Sandbox) -> None:
    """Nothing is guessed, and nothing touched."""
    case, state = carry_out(runs, sandbox, rewrite_tables, tables=["public.program"], **FULL)
    assert state.name == "Refused", state.message
    assert "public.programs" in (state.message or "")
    assert not case.of_kind("begun")


def test_odd_names_are_written_as_names(runs: Runs, sandbox: Sandbox) -> None:
    """Quotes, spaces and braces in a schema's and a table's name."""
    with sandbox.connect() as session:
        full = sql.Identifier(*ODD)
        session.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(ODD[0])))
        session.execute(sql.SQL("CREATE TABLE {} (n int)").format(full))
        quoted = full.as_string(session)
    before = file_of(sandbox, quoted)
    _, state = carry_out(runs, sandbox, rewrite_tables, tables=[".".join(ODD)], **FULL)
    assert state.name == "Remediated", state.message
    assert file_of(sandbox, quoted)[0] != before[0]


def test_what_would_lock_too_long_is_left_alone(
    runs: Runs, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a slow server it is told for how long, and the other way is named."""
    monkeypatch.setattr(rewrite_cost, "_COPIED_A_SECOND", 1e3)
    make_loose(sandbox)
    before = file_of(sandbox)
    case, state = carry_out(runs, sandbox, rewrite_tables, **FULL)
    assert state.name == "Advised", state.message
    assert "way=pg_repack" in told(case)
    assert file_of(sandbox) == before


def test_what_takes_longer_than_it_may_is_rolled_back(runs: Runs, sandbox: Sandbox) -> None:
    """The table has its old file and all rows, and everybody may use it at once."""
    make_slow(sandbox)
    before = file_of(sandbox, SLOW)
    case, state = carry_out(runs, sandbox, rewrite_tables, tables=[SLOW], most_seconds=1, **FULL)
    assert state.name == "Undone", state.message
    assert "larger most_seconds" in (state.message or "")
    assert file_of(sandbox, SLOW) == before
    assert rows_of(sandbox, SLOW) == SLOW_ROWS
    assert len(case.of_kind("begun")) == 1


def test_a_disk_without_room_for_the_copy_is_said_beforehand(
    runs: Runs, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is begun."""
    make_loose(sandbox)
    before = file_of(sandbox)
    monkeypatch.setattr(PostgreSQL, "free_bytes", lambda _self: 50_000_000)
    case, state = carry_out(runs, sandbox, rewrite_tables, **FULL)
    assert state.name == "Refused", state.message
    assert "drop_kept_databases" in (state.message or "")
    assert not case.of_kind("begun")
    assert file_of(sandbox) == before


@pytest.mark.parametrize("seen", [True, False])
def test_a_disk_that_cannot_be_seen_is_said(runs: Runs, sandbox: Sandbox, *, seen: bool) -> None:
    """A target may not say where its server's data lies: the plan says what has to be free."""
    settings = sandbox.target_settings()
    targets.give(SandboxTarget(**(settings if seen else {**settings, "data_directory": None})))
    case, state = carry_out(
        runs, sandbox, rewrite_tables, tables=["public.users"], dry_run=True, **FULL
    )
    assert state.name == "Planned", state.message
    stage = case.stages[0].stage
    needed = f"see yourself that {stage.effects.disk_needed / 1e6:,.0f} MB are free"
    assert (needed in " ".join(stage.notes)) is not seen
    assert (stage.effects.disk_free is None) is not seen


def test_a_disk_that_becomes_full_ends_it(
    runs: Runs, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is written: it is cancelled, and rolled back."""

    def free(_self: PostgreSQL) -> int:
        with sandbox.connect() as session:
            row = session.execute("SELECT count(*) FROM pg_stat_progress_cluster").fetchone()
        return 50_000_000 if row and row[0] else 10_000_000_000

    make_slow(sandbox)
    before = file_of(sandbox, SLOW)
    monkeypatch.setattr(PostgreSQL, "free_bytes", free)
    _, state = carry_out(runs, sandbox, rewrite_tables, tables=[SLOW], **FULL)
    assert state.name == "Undone", state.message
    assert "only 50 MB are free" in (state.message or "")
    assert file_of(sandbox, SLOW) == before
    assert rows_of(sandbox, SLOW) == SLOW_ROWS


def test_a_lock_that_others_hold_is_asked_for_again(runs: Runs, sandbox: Sandbox) -> None:
    """Somebody has the table for a while: nobody queues for long, and it is done afterwards."""
    before = file_of(sandbox)

    def let_go_when_it_has_waited() -> None:
        until(lambda: waits_for_a_lock(looking))  # for 0.3 s at a time
        until(lambda: not waits_for_a_lock(looking))
        holder.rollback()

    with sandbox.connect() as holder, sandbox.connect() as looking:
        holder.execute("BEGIN")
        holder.execute("SELECT count(*) FROM programs")
        other = threading.Thread(target=let_go_when_it_has_waited)
        other.start()
        with under_load(sandbox):
            case, state = carry_out(
                runs, sandbox, rewrite_tables, tables=["public.programs"], **FULL
            )
        other.join()
    assert state.name == "Remediated", state.message
    assert file_of(sandbox)[0] != before[0]
    assert len(case.of_kind("begun")) == 1


def test_a_lock_that_others_keep_is_given_up(runs: Runs, sandbox: Sandbox) -> None:
    """It is told whose it is; their session lives on, and nobody else waits."""
    before = file_of(sandbox)
    with sandbox.connect() as holder:
        holder.execute("BEGIN")
        holder.execute("SELECT count(*) FROM programs")
        with under_load(sandbox):
            _, state = carry_out(runs, sandbox, rewrite_tables, tables=["public.programs"], **FULL)
        assert state.name == "Undone", state.message
        assert f"session {holder.info.backend_pid} of" in (state.message or "")
        assert holder.execute("SELECT 1").fetchone() == (1,)
        holder.rollback()
    assert file_of(sandbox)[0] == before[0]


def test_who_keeps_dead_rows_is_named_before(runs: Runs, sandbox: Sandbox) -> None:
    """What an old transaction may still see is written anew too: no room would come of it."""
    with sandbox.connect() as holder, sandbox.connect() as others:
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM users")
        for _ in range(1100):
            others.execute("SELECT txid_current()")
        case, state = carry_out(
            runs, sandbox, rewrite_tables, tables=["public.programs"], dry_run=True, **FULL
        )
        assert state.name == "Planned", state.message
        assert f"session {holder.info.backend_pid} of" in told(case)
        assert "keeps rows that died in the last" in told(case)
        holder.rollback()


def test_what_is_missing_of_pg_repack_is_told(runs: Runs, sandbox: Sandbox) -> None:
    """How to get it, and what the other way would cost."""
    make_loose(sandbox)
    before = file_of(sandbox)
    case, state = carry_out(runs, sandbox, rewrite_tables)
    assert state.name == "Refused", state.message
    assert "CREATE EXTENSION pg_repack" in (state.message or "")
    assert "way=vacuum_full, which locks everybody out of public.programs for about" in (
        state.message or ""
    )
    assert not case.of_kind("begun")
    assert file_of(sandbox) == before


@contextmanager
def autovacuum_at_work(sandbox: Sandbox) -> Iterator[None]:
    """Have autovacuum look at the slow table for minutes."""
    make_slow(sandbox)
    be_slow(sandbox, 0.2)
    with sandbox.connect() as session:
        session.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
        session.execute("SELECT pg_reload_conf()")
        try:
            session.execute(
                f"ALTER TABLE {SLOW} SET (autovacuum_enabled = true, "
                "autovacuum_analyze_threshold = 0, autovacuum_analyze_scale_factor = 0)"
            )
            session.execute(f"UPDATE {SLOW} SET what = 'new' WHERE n < 100")
            until(
                lambda: session.execute(
                    "SELECT pid FROM pg_stat_activity JOIN pg_locks USING (pid) WHERE granted "
                    "AND backend_type = 'autovacuum worker' AND relation = 'slowly'::regclass"
                ).fetchone()
            )
            be_slow(sandbox, 0)
            yield
        finally:
            session.execute("ALTER SYSTEM RESET autovacuum_naptime")
            session.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("limited", [False, True])
def test_autovacuum_gives_way(runs: Runs, sandbox: Sandbox, *, limited: bool) -> None:
    """It does after deadlock_timeout, so long as its worker is not taken for a user."""
    targets.give(SandboxTarget(**sandbox.target_settings(limited=limited)))
    with autovacuum_at_work(sandbox):
        before = file_of(sandbox, SLOW)
        with targets.load("sandbox").database.connect() as session:
            row = session.execute(f"SELECT '{SLOW}'::regclass::oid AS oid".encode()).fetchone()
            assert row is not None
            (holder,) = find_holders(session, row["oid"])
            assert "of autovacuum (" in holder
        _, state = carry_out(runs, sandbox, rewrite_tables, tables=[SLOW], **FULL)
    assert state.name == "Remediated", state.message
    assert file_of(sandbox, SLOW)[0] != before[0]
    assert "canceling autovacuum task" in sandbox.cluster.service.log.read_text()
