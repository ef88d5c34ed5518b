"""rewrite_tables by pg_repack: a real one, on a server of its own, killed and held up for real."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest
from psycopg import sql

from flows.database.rewrite_tables import rewrite_tables
from infra.sandbox import pristine
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from infra.testbed.compose.system import ComposeSystem
from tasks.database.vacuum.repack_needs import numbers
from tasks.database.vacuum.repack_table import RepackTable
from tasks.guardrails.case import Case
from tasks.guardrails.plan import Standing, Work
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import carry_out
from tests.loose_tables import (
    ODD,
    SLOW,
    SLOW_ROWS,
    be_slow,
    file_of,
    left_by_repack,
    make_loose,
    make_slow,
)
from tests.prefect_fixtures import Runs
from tests.server_with_extension import compose_with, sandbox_with
from tests.snapshots import snapshot
from tests.table_identity import RICH, identity_of, make_rich, order_of, remove_rich_role
from tests.users import under_load
from tests.waiting import until


@pytest.fixture(scope="module")
def repack_system() -> Iterator[Sandbox]:
    """A sandbox whose server has pg_repack."""
    with sandbox_with("repack") as system:
        yield system


@pytest.fixture
def repacked(repack_system: Sandbox, home: Path) -> Sandbox:
    """Give that sandbox as it was seeded, with the extension, known as a target."""
    assert home
    pristine.reset(repack_system)
    with repack_system.connect() as session:
        session.execute("CREATE EXTENSION pg_repack")
    targets.give(SandboxTarget(**repack_system.target_settings()))
    return repack_system


@pytest.fixture
def repacked_in_container(
    fresh_compose: ComposeSystem, home: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ComposeSystem]:
    """Give a compose project whose database's container has pg_repack, known as a target."""
    assert home
    targets.give(ComposeTarget(**fresh_compose.target_settings()))
    laid = tmp_path_factory.mktemp("repack")
    with (
        compose_with("repack", fresh_compose, laid) as programs,
        pytest.MonkeyPatch.context() as patch,
        fresh_compose.connect() as session,
    ):
        patch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
        session.execute("CREATE EXTENSION pg_repack")
        yield fresh_compose
        session.execute("DROP EXTENSION pg_repack CASCADE")


def told(case: Case) -> str:
    """Give all that was found, with the advice."""
    return " ".join(f"{one.what} {one.patch}" for one in case.stages[0].stage.findings)


def version_of(sandbox: Sandbox) -> str:
    """Give the version of the extension."""
    with sandbox.connect() as session:
        row = session.execute(
            "SELECT extversion FROM pg_extension WHERE extname = 'pg_repack'"
        ).fetchone()
    assert row is not None
    return str(row[0])


def lets_owners(sandbox: Sandbox) -> bool:
    """Say whether the owner of a table suffices for it."""
    return numbers(version_of(sandbox)) >= (1, 5, 2)


def rows_of(sandbox: Sandbox) -> int:
    """Count the rows of the slow table."""
    with sandbox.connect() as session:
        row = session.execute(f"SELECT count(*) FROM {SLOW}").fetchone()
    return int(row[0]) if row else -1


def builds_an_index(sandbox: Sandbox) -> bool:
    """Say whether a pg_repack has copied the rows and builds an index now."""
    with sandbox.connect() as session:
        row = session.execute(
            "SELECT count(*) FROM pg_stat_progress_create_index p JOIN pg_class c "
            "ON c.oid = p.relid WHERE c.relname LIKE 'table_%'"
        ).fetchone()
    return bool(row and row[0])


def ours() -> list[psutil.Process]:
    """Give the pg_repack that we have at work."""
    found = []
    for one in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            found += [one] if one.name() == "pg_repack" else []
    return found


@contextmanager
def anothers(sandbox: Sandbox) -> Iterator[subprocess.Popen[bytes]]:
    """Have somebody else's pg_repack at work on the slow table, as far as its slow index."""
    settings = sandbox.settings
    process = subprocess.Popen(
        [
            *(sandbox.cluster.programs / "pg_repack", "--table", SLOW, "--no-password"),
            *("--host", "127.0.0.1", "--port", str(settings.ports["postgresql"])),
            *("--username", settings.superuser, "--dbname", settings.database),
        ],
        env={**os.environ, "PGPASSWORD": settings.superuser_password},
        stderr=subprocess.DEVNULL,
    )
    try:
        until(lambda: builds_an_index(sandbox))
        yield process
    finally:
        process.kill()
        process.wait()
        with sandbox.connect() as session:
            session.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE application_name = 'pg_repack'"
            )
        until(lambda: not builds_an_index(sandbox))


@pytest.mark.parametrize("having", ["repacked", "repacked_in_container"])
def test_a_loose_table_is_written_anew_beside_itself_under_load(
    request: pytest.FixtureRequest, runs: Runs, having: str
) -> None:
    """Its file is small, its rows are as they were, no request fails, and nothing is left."""
    repacked: Planner = request.getfixturevalue(having)
    make_loose(repacked)
    before, original = file_of(repacked), snapshot(repacked)
    with under_load(repacked):
        case, state = carry_out(runs, repacked, rewrite_tables)
    assert state.name == "Remediated", state.message
    after = file_of(repacked)
    assert after[0] != before[0]
    assert after[1] < 5_000_000
    assert snapshot(repacked, without_load=True) == original
    assert left_by_repack(repacked) == []
    (done,) = case.of_kind("done")
    assert "MB came free" in done.facts["note"]


def test_nothing_of_a_table_but_its_file_is_another_one(runs: Runs, repacked: Sandbox) -> None:
    """Rows and their order, though it has one to be clustered by, and all that hangs on it."""
    make_rich(repacked)
    before, file = (
        (snapshot(repacked), identity_of(repacked), order_of(repacked)),
        file_of(repacked, RICH),
    )
    _, state = carry_out(runs, repacked, rewrite_tables, tables=[RICH])
    assert state.name == "Remediated", state.message
    assert file_of(repacked, RICH)[0] != file[0]
    assert (snapshot(repacked), identity_of(repacked), order_of(repacked)) == before
    assert left_by_repack(repacked) == []
    remove_rich_role(repacked)


def test_who_holds_the_table_is_not_ended(runs: Runs, repacked: Sandbox) -> None:
    """pg_repack gives up instead, again and again; requests go on, and nothing is left."""
    before = file_of(repacked)
    with repacked.connect() as holder:
        holder.execute("BEGIN")
        holder.execute("SELECT count(*) FROM programs")
        with under_load(repacked):
            _, state = carry_out(runs, repacked, rewrite_tables, tables=["public.programs"])
        assert state.name == "Undone", state.message
        assert "timed out" in (state.message or "")
        assert holder.execute("SELECT 1").fetchone() == (1,)
        holder.rollback()
    assert file_of(repacked)[0] == before[0]
    assert left_by_repack(repacked) == []


def test_what_somebodys_pg_repack_has_left_is_found_and_cleared(
    runs: Runs, repacked: Sandbox
) -> None:
    """It was killed: its trigger slows each write, and stands in the way of the next one."""
    make_slow(repacked)
    before = file_of(repacked, SLOW)
    with anothers(repacked) as process:
        process.send_signal(signal.SIGKILL)
    assert "repack_trigger" in left_by_repack(repacked)
    be_slow(repacked, 0)
    case, state = carry_out(runs, repacked, rewrite_tables, tables=[SLOW])
    assert state.name == "Remediated", state.message
    assert "A pg_repack of public.slowly did not end, and has left" in told(case)
    titles = [entry.facts["title"] for entry in case.of_kind("done")]
    assert titles[0] == "clear what a pg_repack of public.slowly has left"
    assert left_by_repack(repacked) == []
    assert file_of(repacked, SLOW)[0] != before[0]
    assert rows_of(repacked) == SLOW_ROWS


def test_somebodys_pg_repack_at_work_is_left_alone(runs: Runs, repacked: Sandbox) -> None:
    """Neither what it needs is dropped, nor a second one begun."""
    make_slow(repacked)
    be_slow(repacked, 0.2)  # it is at work until the end
    with anothers(repacked):
        needed = left_by_repack(repacked)
        case, state = carry_out(runs, repacked, rewrite_tables, tables=[SLOW])
        assert state.name == "Advised", state.message
        assert "a pg_repack is at work on it" in told(case)
        assert left_by_repack(repacked) == needed


def test_one_of_ours_that_is_killed_leaves_nothing(runs: Runs, repacked: Sandbox) -> None:
    """Its program is ended with -9 at work: the table is as it was, without a trigger."""
    make_slow(repacked)
    before = file_of(repacked, SLOW)
    killed: list[int] = []

    def kill() -> None:
        until(lambda: builds_an_index(repacked))
        for child in ours():
            child.kill()
            killed.append(child.pid)

    other = threading.Thread(target=kill)
    other.start()
    _, state = carry_out(runs, repacked, rewrite_tables, tables=[SLOW])
    other.join()
    assert len(killed) == 1
    assert state.name == "Undone", state.message
    assert left_by_repack(repacked) == []
    assert file_of(repacked, SLOW) == before
    assert rows_of(repacked) == SLOW_ROWS


def test_who_holds_the_table_at_the_end_holds_nobody_up(runs: Runs, repacked: Sandbox) -> None:
    """pg_repack gives up, and does not wait to clear up, with every reader queued behind it."""
    make_slow(repacked)
    before = file_of(repacked, SLOW)
    ended = threading.Event()
    missed: list[str] = []

    def hold_until_it_has_given_up() -> None:
        until(lambda: builds_an_index(repacked))
        (first,) = ours()
        be_slow(repacked, 0)
        holder.execute("BEGIN")
        holder.execute(f"SELECT count(*) FROM {SLOW}")
        try:
            first.wait(180)  # the next one may be there at once
        finally:
            holder.rollback()

    def read() -> None:
        with repacked.connect() as session:
            session.execute("SET lock_timeout = '20s'")
            while not ended.wait(0.1):
                try:
                    session.execute(f"SELECT count(*) FROM {SLOW}")
                except psycopg.Error as error:
                    missed.append(str(error))

    with repacked.connect() as holder:
        others = [threading.Thread(target=one) for one in (hold_until_it_has_given_up, read)]
        for other in others:
            other.start()
        _, state = carry_out(runs, repacked, rewrite_tables, tables=[SLOW])
        ended.set()
        for other in others:
            other.join()
    assert missed == []
    assert state.name == "Remediated", state.message
    assert left_by_repack(repacked) == []
    assert file_of(repacked, SLOW)[0] != before[0]
    assert rows_of(repacked) == SLOW_ROWS


def test_what_a_killed_run_leaves_is_seen_as_half_done(repacked: Sandbox) -> None:
    """Begun, with a trigger there: it is cleared and gone on with, or cleared and taken back."""
    make_slow(repacked)
    name = repacked.settings.name
    with repacked.connect() as session:
        row = session.execute("SELECT 'slowly'::regclass::oid::bigint, now()").fetchone()
    assert row is not None
    change = RepackTable(
        schema_name="public",
        name="slowly",
        oid=row[0],
        file=file_of(repacked, SLOW)[0],
        version=version_of(repacked),
        as_owner=False,
    )
    begun = Work(target=name, remediation="r", begun_at=row[1])
    with anothers(repacked) as process:
        process.send_signal(signal.SIGKILL)
    assert change.observe(Work(target=name, remediation="r")).standing is Standing.BEFORE
    assert change.observe(begun).standing is Standing.HALF
    change.revert(begun)
    assert left_by_repack(repacked) == []
    assert change.observe(begun).standing is Standing.BEFORE
    with anothers(repacked) as process:
        process.send_signal(signal.SIGKILL)
    be_slow(repacked, 0)
    change.apply(begun)
    assert left_by_repack(repacked) == []
    assert change.observe(begun).standing is Standing.AFTER
    assert rows_of(repacked) == SLOW_ROWS


def test_who_is_no_superuser_is_told_so(runs: Runs, repacked: Sandbox) -> None:
    """Up to 1.5.1 pg_repack asks for one on the server, whatever the program is told."""
    if lets_owners(repacked):
        pytest.skip("the pg_repack here lets owners")
    targets.give(SandboxTarget(**repacked.target_settings(limited=True)))
    before = file_of(repacked)
    _, state = carry_out(runs, repacked, rewrite_tables, tables=["public.programs"])
    assert state.name == "Refused", state.message
    assert "pg_repack 1.5.2 or newer" in (state.message or "")
    assert file_of(repacked) == before


def test_an_owner_who_is_no_superuser_needs_rights_in_its_schema(
    runs: Runs, repacked: Sandbox
) -> None:
    """Without them it is told which; with them users go on writing, and nothing else differs."""
    if not lets_owners(repacked):
        pytest.skip("it is let by pg_repack 1.5.2 and newer: REMEDY_TEST_PG_REPACK may name one")
    targets.give(SandboxTarget(**repacked.target_settings(limited=True)))
    make_rich(repacked)
    make_loose(repacked)
    file, rich = file_of(repacked), file_of(repacked, RICH)
    _, state = carry_out(runs, repacked, rewrite_tables)
    assert state.name == "Refused", state.message
    assert file_of(repacked) == file
    (needed,) = re.findall(r"As a superuser: (GRANT .*?); (GRANT .*?)\.", state.message or "")
    with repacked.connect() as session:
        for statement in needed:
            session.execute(statement.encode())
    before = snapshot(repacked), identity_of(repacked), order_of(repacked)
    both = ["public.programs", RICH]
    with under_load(repacked):
        _, state = carry_out(runs, repacked, rewrite_tables, tables=both)
    assert state.name == "Remediated", state.message
    assert file_of(repacked)[0] != file[0]
    assert file_of(repacked, RICH)[0] != rich[0]
    after = snapshot(repacked, without_load=True), identity_of(repacked), order_of(repacked)
    assert after == before
    assert left_by_repack(repacked) == []
    remove_rich_role(repacked)


def test_a_table_of_somebody_else_is_left_to_its_owner(runs: Runs, repacked: Sandbox) -> None:
    """An owner's rights are asked for before pg_repack would be refused them."""
    if not lets_owners(repacked):
        pytest.skip("it is let by pg_repack 1.5.2 and newer: REMEDY_TEST_PG_REPACK may name one")
    settings = repacked.settings
    targets.give(SandboxTarget(**repacked.target_settings(limited=True)))
    with repacked.connect() as session:
        me = sql.Identifier(settings.maintenance_user)
        for what in ("USAGE, CREATE ON SCHEMA repack", "SELECT ON ALL TABLES IN SCHEMA repack"):
            session.execute(sql.SQL("GRANT {} TO {}").format(sql.SQL(what), me))
        session.execute("CREATE TABLE theirs (n int PRIMARY KEY)")
        session.execute(sql.SQL("GRANT SELECT ON theirs TO {}").format(me))
    before = file_of(repacked, "theirs")
    case, state = carry_out(runs, repacked, rewrite_tables, tables=["public.theirs"])
    assert state.name == "Advised", state.message
    assert "the maintenance user is no member of its owner" in told(case)
    assert file_of(repacked, "theirs") == before


def test_tables_that_it_cannot_write_anew_are_told_with_the_reason(
    runs: Runs, repacked: Sandbox
) -> None:
    """No key, a key whose column would be run, an invalid index: none of them is touched."""
    with repacked.connect() as session:
        session.execute("CREATE TABLE keyless (n int)")
        session.execute("""CREATE TABLE odd ("it's" int PRIMARY KEY)""")
        session.execute("CREATE TABLE doubtful (n int PRIMARY KEY, what int)")
        session.execute("CREATE INDEX doubtful_what ON doubtful (what)")
        session.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'doubtful_what'::regclass"
        )
        session.execute("CREATE MATERIALIZED VIEW seen AS SELECT 1 AS n")
    runs_names = numbers(version_of(repacked)) < (1, 5, 0)
    odd = ["public.odd"] if runs_names else []
    names = ["public.keyless", *odd, "public.doubtful", "public.seen"]
    case, state = carry_out(runs, repacked, rewrite_tables, tables=names)
    assert state.name == "Advised", state.message
    said = told(case)
    assert "public.keyless is left as it is: it has no primary key" in said
    assert ("public.odd is left as it is: a key column has an apostrophe" in said) == runs_names
    assert "would stay with the old file (doubtful_what)" in said
    assert "it is a materialised view" in said


def test_odd_names_reach_pg_repack_as_names(runs: Runs, repacked: Sandbox) -> None:
    """Quotes, spaces and braces in a schema's and a table's name."""
    with repacked.connect() as session:
        session.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(ODD[0])))
        full = sql.Identifier(*ODD)
        session.execute(sql.SQL("CREATE TABLE {} (n int PRIMARY KEY)").format(full))
        quoted = full.as_string(session)
    before = file_of(repacked, quoted)
    _, state = carry_out(runs, repacked, rewrite_tables, tables=[".".join(ODD)])
    assert state.name == "Remediated", state.message
    assert file_of(repacked, quoted)[0] != before[0]
    assert left_by_repack(repacked) == []
