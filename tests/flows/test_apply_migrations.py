"""apply_migrations under load, on applications that ship revisions of all sorts."""

import hashlib
import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.application.apply_migrations import apply_migrations
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.migrations import BEFORE_HEAD, HEAD, migrate
from infra.sandbox.planner import Planner
from tasks.application.answers import ApplicationAnswers
from tasks.database.migrations.applying import ApplyRevision
from tasks.database.migrations.measured import Measured
from tasks.database.migrations.pending import find_pending, find_scripts
from tasks.database.migrations.plan import insist_on
from tasks.database.migrations.rehearsal import describe_scripts
from tasks.database.migrations.rehearsing import RehearseRevision
from tasks.database.schema.settings import settings_of
from tasks.guardrails.case import Case
from tasks.guardrails.errors import PreconditionFailed, WorldMoved
from tasks.guardrails.holders import holders
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Risk, Standing, Verdict, Work
from tasks.platforms import targets
from tasks.platforms.applications import Completed
from tasks.platforms.sandbox.application import LocalApplication
from tests.approving import Approvers, carry_out
from tests.prefect_fixtures import Runs
from tests.shipped import (
    ADDS_COLUMN,
    HOSTILE,
    ONLY_IN_LIVE,
    QUOTED,
    Shipped,
    alter_role,
    asked,
    back_up,
    found,
    left_over,
    sandbox_alembic,
)
from tests.snapshots import databases, snapshot
from tests.users import log_in, under_load

COPIES = """op.execute("LOCK TABLE actuals IN ACCESS EXCLUSIVE MODE")
op.execute("CREATE TABLE actuals_copy AS SELECT a.* FROM actuals a, generate_series(1, 60)")
op.execute("DO $$ BEGIN PERFORM pg_sleep(2); END $$")"""
# The table is locked for its writes only, and so is each of its rows until the end.
BACKFILLS = """op.execute("UPDATE users SET is_active = is_active")
op.execute("INSERT INTO kept SELECT max(n) + 1 FROM kept")
op.execute("UPDATE shades SET name = 'grey' || n")
op.execute("DO $$ BEGIN PERFORM pg_sleep(2); END $$")"""
# Committed before it fails: what is CONCURRENTLY cannot be rolled back.
TORN = f"""with op.get_context().autocommit_block():
    op.execute("CREATE INDEX CONCURRENTLY ix_torn ON workers (name)")
op.execute("{ONLY_IN_LIVE.format(does="RAISE 'only here'")}")"""
NAMES_ROLE = 'op.execute("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC")'
# Long enough in its first transaction to be seen.
WAITS_TORN = """op.execute("DO $$ BEGIN PERFORM pg_sleep(3); END $$")
with op.get_context().autocommit_block():
    op.execute("CREATE INDEX CONCURRENTLY ix_torn ON workers (name)")"""
# Commits on its way, and gives up on its lock by itself.
LOCKS_TORN = """with op.get_context().autocommit_block():
    op.execute("SET lock_timeout = '200ms'")
op.execute("LOCK TABLE projects IN ACCESS EXCLUSIVE MODE")"""
# As live and copy have the same rows: only in live does it hold its lock for long.
STALLS = f"""op.execute("LOCK TABLE projects IN ACCESS EXCLUSIVE MODE")
op.execute("{ONLY_IN_LIVE.format(does="PERFORM pg_sleep(25)")}")"""
# Not rolled back with the rest: it stalls at its first attempt alone.
STALLS_ONCE = f"""op.add_column("projects", sa.Column("colour", sa.Text()))
op.execute("{ONLY_IN_LIVE.format(does="PERFORM pg_sleep(25) WHERE nextval('attempts') = 1")}")"""
# Without a database there are no rows to read: it cannot be written as SQL.
READS = """op.execute("CREATE TABLE seen AS SELECT id FROM users LIMIT 0")
for row in op.get_bind().execute(sa.text("SELECT id FROM users")).all():
    op.get_bind().execute(sa.text("INSERT INTO seen VALUES (:id)"), {"id": row.id})"""
# Another value each time it is written as SQL.
MAKES_UUID = """import uuid
op.execute("CREATE TABLE made (id uuid, note text)")
op.execute(f"INSERT INTO made VALUES ('{uuid.uuid4()}', 'as planned')")"""
FAILS_IN_LIVE = f"""op.add_column("projects", sa.Column("half", sa.Text()))
op.execute("{ONLY_IN_LIVE.format(does="RAISE 'only here'")}")"""
FAILS = """op.add_column("projects", sa.Column("half", sa.Text()))
op.execute("INSERT INTO users (username) VALUES ('hunter2-is-a-secret')")"""


def apply(runs: Runs, sandbox: Planner) -> tuple[Case, State[Any]]:
    """Apply what is pending, with the approvals that it asks for."""
    return carry_out(runs, sandbox, apply_migrations)


def torn_change(script: str = "") -> ApplyRevision:
    """Give the change that applies a revision that is no single transaction."""
    return ApplyRevision(
        live="planner",
        before=HEAD,
        after="aa01",
        in_transaction=False,
        script=script,
        cut_after=30.0,
        statement_seconds=60.0,
    )


def test_pending_revisions_are_rehearsed_and_applied_under_load(
    runs: Runs, shipped: Shipped
) -> None:
    """Two revisions are applied one after the other, and no request fails."""
    sandbox = shipped.sandbox
    with sandbox.connect() as session:
        session.execute(f"SET ROLE {sandbox.settings.application_user}".encode())
        session.execute("CREATE TABLE kept (n int)")
    back_up(runs, sandbox)
    shipped.ship("aa01", HEAD, ADDS_COLUMN.format(column="colour"))
    index = 'op.create_index("ix_workers_name", "workers", ["name"])'
    # Longer than the default of the target allows, on a table that nobody asks for.
    held = "LOCK TABLE kept IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(2)"
    shipped.ship("bb02", "aa01", f'op.execute("{held}")\n{index}')
    shipped.allow_stalls(10)
    with under_load(sandbox):
        case, state = apply(runs, sandbox)
    assert state.name == "Remediated", state.message
    assert shipped.at() == ("bb02",)
    assert "colour" in shipped.columns("projects")
    assert asked(case) == ["migrate disruptive"]
    assert left_over(sandbox) == []
    seen = [one.facts["note"] for one in case.of_kind("done") if "rehearse" in one.facts["title"]]
    assert len(seen) == 2
    assert all("s at work; " in note for note in seen)
    assert "ALTER TABLE projects ADD COLUMN colour TEXT" in found(case)
    assert "require-concurrent-index-creation" in found(case)


def test_an_application_whose_schema_is_behind_answers_again(runs: Runs, shipped: Shipped) -> None:
    """Reads fail as a column is missing; an older backup is migrated to rehearse on."""
    sandbox = shipped.sandbox
    migrate(sandbox, BEFORE_HEAD)
    assert sandbox_alembic(shipped, "downgrade", "-1").status == 0
    back_up(runs, sandbox)
    assert sandbox_alembic(shipped, "upgrade", BEFORE_HEAD).status == 0
    work = Work(target=sandbox.settings.name, remediation="aaaabbbb22")
    assert ApplicationAnswers().ask(work).verdict is Verdict.NOT_HELD
    case, state = apply(runs, sandbox)
    assert state.name == "Remediated", state.message
    assert shipped.at() == (HEAD,)
    assert ApplicationAnswers().ask(work).verdict is Verdict.HELD
    kinds = [change.kind for change in case.stages[0].stage.changes]
    assert kinds.count("database.migrate_side_database") == 1
    _, undone = carry_out(runs, sandbox, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert shipped.at() == (HEAD,)  # what was applied stays


@pytest.mark.parametrize("planner", ["compose"], indirect=True)
def test_revisions_that_come_in_an_image_are_applied(runs: Runs, planner: Planner) -> None:
    """They are read, rehearsed and applied in containers like the application's own."""
    migrate(planner, BEFORE_HEAD)
    back_up(runs, planner)
    case, state = apply(runs, planner)
    assert state.name == "Remediated", state.message
    with planner.connect() as session:
        assert session.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
    assert log_in(planner).is_success
    assert left_over(planner) == []
    assert "ALTER TABLE programs ADD COLUMN health" in found(case)


def test_nothing_is_done_where_nothing_is_pending(runs: Runs, shipped: Shipped) -> None:
    """A database at the head is left alone, and nothing is rehearsed."""
    case, state = apply(runs, shipped.sandbox)
    assert state.name == "Unchanged", state.message
    assert not case.of_kind("begun")


def test_a_long_transaction_stalls_nobody_and_fails_nothing(runs: Runs, shipped: Shipped) -> None:
    """The revision gives way while the table is held, and is applied when that has ended."""
    sandbox = shipped.sandbox
    back_up(runs, sandbox)
    shipped.ship("aa01", HEAD, ADDS_COLUMN.format(column="colour"))
    held, ended = threading.Event(), threading.Event()

    def hold() -> None:
        with sandbox.connect() as session:
            session.execute("BEGIN")
            session.execute("SELECT count(*) FROM projects")
            held.set()
            ended.wait()
            session.rollback()

    holder = threading.Thread(target=hold)
    tries: list[Sequence[str]] = []
    run = LocalApplication.run

    def counted_run(
        application: LocalApplication, command: Sequence[str], environment: Mapping[str, str]
    ) -> Completed:
        if command[-1] == "aa01" and "POSTGRES_DB" not in environment:  # else on the copy
            tries.append(command)
            if len(tries) == 1:
                holder.start()
                assert held.wait(120)
            if len(tries) == 4:
                ended.set()
        return run(application, command, environment)

    with pytest.MonkeyPatch.context() as patch, under_load(sandbox):
        patch.setattr(LocalApplication, "run", counted_run)
        try:
            case, state = apply(runs, sandbox)
        finally:
            ended.set()
    holder.join()
    assert state.name == "Remediated", state.message
    assert len(tries) >= 4
    assert "colour" in shipped.columns("projects")
    (note,) = [one.facts["note"] for one in case.of_kind("done") if "apply" in one.facts["title"]]
    assert "at attempt" in note


def test_a_revision_that_copies_data_is_known_before(runs: Runs, shipped: Shipped) -> None:
    """Its measured stall is in the plan, and it and what follows are approved apart."""
    sandbox = shipped.sandbox
    with sandbox.connect() as session:
        session.execute(f"SET ROLE {sandbox.settings.application_user}".encode())
        session.execute(f"CREATE TABLE {QUOTED} (a int)".encode())
    back_up(runs, sandbox)
    # For a table of its own nobody waits, however busy the machine is.
    shipped.ship("aa01", HEAD, 'op.create_table("shades", sa.Column("name", sa.Text()))')
    shipped.ship("bb02", "aa01", COPIES)
    # Held for as long as it takes to be seen: shorter locks may be missed.
    adds = f"ALTER TABLE {QUOTED} ADD b int; SELECT pg_sleep(2)"
    shipped.ship("cc03", "bb02", f"op.execute('{adds}')")
    shipped.allow_stalls(0.4)
    case, state = apply(runs, sandbox)
    assert state.name == "Remediated", state.message
    assert shipped.at() == ("cc03",)
    assert list(dict.fromkeys(asked(case))) == ["migrate disruptive", "migrate_slow destructive"]
    plain, slow = case.stages[1].stage, case.stages[2].stage
    assert [one.after for one in plain.changes if isinstance(one, ApplyRevision)] == ["aa01"]
    assert [one.after for one in slow.changes if isinstance(one, ApplyRevision)] == ["bb02", "cc03"]
    assert slow.risk is Risk.DESTRUCTIVE
    assert "public.actuals AccessExclusive" in slow.effects.locks
    assert HOSTILE.replace('"', '""') in str(slow.findings[0].rows)
    assert shipped.columns(QUOTED) == {"a", "b"}
    seconds = float(slow.effects.outage.split()[2])
    assert seconds >= 0.5


def test_who_waits_for_rows_that_a_revision_changes_is_known_before(
    runs: Runs, shipped: Shipped
) -> None:
    """A backfill locks its rows until its end, and is approved apart; what it adds stalls none."""
    sandbox = shipped.sandbox
    with sandbox.connect() as session:
        session.execute(f"SET ROLE {sandbox.settings.application_user}".encode())
        session.execute("CREATE TABLE kept AS SELECT 1 AS n")
        session.execute(
            "CREATE TABLE shades AS SELECT n, 'green' AS name FROM generate_series(1, 40000) AS n"
        )
    back_up(runs, sandbox)
    shipped.ship("aa01", HEAD, BACKFILLS)
    case, state = apply(runs, sandbox)
    assert state.name == "Remediated", state.message
    assert asked(case) == ["migrate_slow destructive"]
    slow = case.stages[2].stage
    assert "public.shades rows" in slow.effects.locks
    assert "public.users rows" in slow.effects.locks
    assert "kept" not in slow.effects.locks
    assert "kept RowExclusive" in str(slow.findings[0].rows)
    assert float(slow.effects.outage.split()[2]) >= 1.5


def test_a_revision_that_fails_in_its_rehearsal_touches_nothing(
    runs: Runs, shipped: Shipped
) -> None:
    """Live, its databases and roles are as before; what is told holds no row."""
    sandbox = shipped.sandbox
    back_up(runs, sandbox)
    shipped.ship("aa01", HEAD, FAILS)
    before, names = snapshot(sandbox), databases(sandbox)
    case, state = apply(runs, sandbox)
    assert state.name == "Undone", state.message
    assert "NotNullViolation" in (state.message or "")
    assert "hunter2" not in (state.message or "") + found(case)
    assert snapshot(sandbox) == before
    assert databases(sandbox) == names
    assert left_over(sandbox) == []


def test_a_revision_that_fails_in_live_rolls_itself_back(runs: Runs, shipped: Shipped) -> None:
    """The one before it stays, nothing of it is left, and the lease is free."""
    sandbox = shipped.sandbox
    back_up(runs, sandbox)
    shipped.ship("aa01", HEAD, ADDS_COLUMN.format(column="colour"))
    shipped.ship("bb02", "aa01", FAILS_IN_LIVE)
    case, state = apply(runs, sandbox)
    assert state.name == "Undone", state.message
    assert "its schema was read again and is as before" in (state.message or "")
    assert shipped.at() == ("aa01",)
    assert "colour" in shipped.columns("projects")
    assert "half" not in shipped.columns("projects")
    assert left_over(sandbox) == []
    assert not case.of_kind("stuck")
    assert not [one for one in holders(Ledger()) if one.is_live or one.stuck]


def test_a_maintenance_user_without_all_rights_suffices(runs: Runs, shipped: Shipped) -> None:
    """It is told which right it lacks; with CREATEROLE, and as no superuser, it is done."""
    sandbox = shipped.sandbox
    shipped.known(limited=True)
    back_up(runs, sandbox)
    shipped.ship("aa01", HEAD, ADDS_COLUMN.format(column="colour"))
    _, state = apply(runs, sandbox)
    assert state.name == "Refused", state.message
    assert f"CREATEROLE for {sandbox.settings.maintenance_user}" in (state.message or "")
    try:
        alter_role(sandbox, "CREATEROLE")
        _, state = apply(runs, sandbox)
    finally:
        alter_role(sandbox, "NOCREATEROLE")
    assert state.name == "Remediated", state.message
    assert "colour" in shipped.columns("projects")
    assert left_over(sandbox) == []


def test_who_holds_others_up_for_longer_than_rehearsed_is_ended(
    runs: Runs, shipped_there: Shipped
) -> None:
    """Users wait a second for it and no request fails; nothing of it is left."""
    shipped = shipped_there
    sandbox = shipped.sandbox
    back_up(runs, sandbox)
    shipped.ship("aa01", HEAD, STALLS)
    shipped.take_up()
    with under_load(sandbox):
        _, state = apply(runs, sandbox)
    assert state.name == "Undone", state.message
    assert "it takes longer here than in its rehearsal" in (state.message or "")
    assert shipped.at() == (HEAD,)


def test_who_held_others_up_for_a_moment_is_tried_again(runs: Runs, shipped: Shipped) -> None:
    """It stalls users once, is ended and rolled back, and goes through at the next attempt."""
    sandbox = shipped.sandbox
    with sandbox.connect() as session:
        session.execute(f"SET ROLE {sandbox.settings.application_user}".encode())
        session.execute("CREATE SEQUENCE attempts")
    back_up(runs, sandbox)
    shipped.ship("aa01", HEAD, STALLS_ONCE)
    with under_load(sandbox):
        _, state = apply(runs, sandbox)
    assert state.name == "Remediated", state.message
    assert shipped.at() == ("aa01",)
    with sandbox.connect() as session:
        row = session.execute("SELECT nextval('attempts')").fetchone()
    assert row
    assert row[0] >= 3, "an attempt was ended before the one that went through"


def test_what_is_left_of_a_revision_that_is_no_transaction_is_named(
    runs: Runs, shipped: Shipped
) -> None:
    """An index that was built before it failed stays, and the error says so."""
    sandbox = shipped.sandbox
    back_up(runs, sandbox)
    shipped.ship("aa01", HEAD, TORN)
    case, state = apply(runs, sandbox)
    assert state.name == "Undone", state.message
    assert "this is left of it: new: index public.ix_torn" in (state.message or "")
    assert "Not one transaction, so may be half applied: aa01" in found(case)
    assert shipped.at() == (HEAD,)


@pytest.mark.parametrize("kind", ["heads", "unknown", "empty", "backup"])
def test_what_cannot_be_applied_is_said(runs: Runs, shipped: Shipped, kind: str) -> None:
    """Several heads, an unknown revision, none, or no backup: advice, and nothing is touched."""
    sandbox = shipped.sandbox
    shipped.ship("aa01", HEAD, ADDS_COLUMN.format(column="colour"))
    told = "remedy run back_up_database"
    with sandbox.connect() as session:
        session.autocommit = True
        if kind == "heads":
            shipped.ship("bb02", HEAD, ADDS_COLUMN.format(column="shape"))
            told = "alembic merge aa01 bb02"
        if kind == "unknown":
            session.execute("UPDATE alembic_version SET version_num = 'of another; version'")
            told = "which the application does not know"
        if kind == "empty":
            session.execute("DELETE FROM alembic_version")
            told = "alembic stamp"
    before, names = snapshot(sandbox), databases(sandbox)
    case, state = apply(runs, sandbox)
    assert state.name == "Advised", state.message
    assert told in found(case)
    assert snapshot(sandbox) == before
    assert databases(sandbox) == names


@pytest.mark.parametrize("own_timeout", ["0", "5s"])
def test_a_lock_timeout_without_effect_is_found_in_the_rehearsal(
    runs: Runs, shipped: Shipped, own_timeout: str
) -> None:
    """An application that sets its own options is refused before live is touched."""
    sandbox = shipped.sandbox
    back_up(runs, sandbox)
    shipped.ship("aa01", HEAD, ADDS_COLUMN.format(column="colour"))
    session = shipped.folder / "app" / "db" / "session.py"
    own = f'"application_name": "planner-app", "options": "-c lock_timeout={own_timeout}"'
    session.write_text(session.read_text().replace('"application_name": "planner-app"', own))
    _, state = apply(runs, sandbox)
    assert state.name == "Undone", state.message
    assert "PGOPTIONS has no effect" in (state.message or "")
    assert shipped.at() == (HEAD,)
    assert left_over(sandbox) == []


def test_what_a_kill_leaves_is_recognised(shipped: Shipped) -> None:
    """A revision that is no single transaction is not run again, once it was begun."""
    target = shipped.sandbox.settings.name
    change = ApplyRevision(
        live="planner", before=HEAD, after="aa01", cut_after=2.0, statement_seconds=60.0
    )
    torn = change.model_copy(update={"in_transaction": False})
    work = Work(target=target, remediation="aaaabbbb22")
    begun = Work(target=target, remediation="aaaabbbb22", begun_at=datetime.now(UTC))
    assert change.observe(begun).standing is Standing.BEFORE
    assert torn.observe(work).standing is Standing.BEFORE
    seen = torn.observe(begun)
    assert seen.standing is Standing.OTHER
    assert "what it committed stands; finish it or take it back by hand, then stamp" in seen.detail


def test_what_cannot_be_read_as_sql_is_not_taken_for_one_transaction(shipped: Shipped) -> None:
    """Nobody knows what it commits on its way, and the plan says so."""
    shipped.ship("aa01", HEAD, 'raise ValueError("nothing to show")')
    target = shipped.sandbox.settings.name
    scripts = find_scripts(target, find_pending(target))
    assert scripts["aa01"].problem
    assert not scripts["aa01"].in_transaction
    assert "Unread, so treated like that: aa01" in describe_scripts(scripts)[0].what
    settings_of(targets.load(target)).show = ["alembic", "no-such-command"]
    unseen = find_scripts(target, find_pending(target))
    assert unseen["aa01"].digest == ""
    assert "whether it stays as rehearsed is not seen" in str(describe_scripts(unseen)[0].rows)


def test_what_cannot_be_read_as_sql_is_applied_as_it_was_rehearsed(
    runs: Runs, shipped: Shipped
) -> None:
    """A revision that reads rows has no SQL without a database: its file is what was approved."""
    sandbox = shipped.sandbox
    back_up(runs, sandbox)
    shipped.ship("aa01", HEAD, READS)
    target = sandbox.settings.name
    pending = find_pending(target)
    scripts = find_scripts(target, pending)
    file = shipped.versions / "aa01.py"
    text = file.read_text()
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest in str(describe_scripts(scripts)[0].rows)
    rehearsed = RehearseRevision(
        side="side", live="planner", owner="o", before=HEAD, after="aa01", script=digest
    )
    revisions = ((rehearsed, Measured(revision="aa01")),)
    insist_on(pending, scripts, revisions)
    file.write_text(text.replace("seen", "another"))
    with pytest.raises(WorldMoved, match="aa01: not as rehearsed any more"):
        insist_on(pending, find_scripts(target, pending), revisions)
    file.write_text(text)
    _, state = apply(runs, sandbox)
    assert state.name == "Remediated", state.message
    assert shipped.at() == ("aa01",)
    with sandbox.connect() as session:
        assert session.execute("SELECT count(*) > 0 FROM seen").fetchone() == (True,)


def test_what_is_deployed_anew_while_an_approval_waits_is_not_applied(
    runs: Runs, shipped: Shipped
) -> None:
    """Another content under the name that was approved: nobody rehearsed that."""
    sandbox = shipped.sandbox
    back_up(runs, sandbox)
    shipped.ship("aa01", HEAD, ADDS_COLUMN.format(column="colour"))
    run, state = runs.start(apply_migrations, target=sandbox.settings.name)
    assert state is None, state
    shipped.ship("aa01", HEAD, ADDS_COLUMN.format(column="another"))
    state = Approvers(Ledger()).approve_until_it_ends(runs, run)
    assert state.is_failed()
    assert "another version of it is deployed now" in str(state.message)
    assert shipped.at() == (HEAD,)
    assert not {"colour", "another"} & shipped.columns("projects")
    assert left_over(sandbox) == []


@pytest.mark.parametrize("does", [READS, MAKES_UUID])
def test_what_has_no_lasting_sql_is_compared_by_its_file_before_it_runs(
    shipped: Shipped, does: str
) -> None:
    """Edited since, it is not run; as it was planned it is."""
    shipped.ship("aa01", HEAD, does)
    target = shipped.sandbox.settings.name
    planned = find_scripts(target, find_pending(target))["aa01"]
    file = shipped.versions / "aa01.py"
    text = file.read_text()
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert planned.digest == digest
    assert digest in planned.shown[-1]
    work = Work(target=target, remediation="aaaabbbb22")
    file.write_text(text.replace("as planned", "another").replace("seen", "another"))
    with pytest.raises(WorldMoved, match="another version of it is deployed now"):
        torn_change(planned.digest).apply(work)
    assert shipped.at() == (HEAD,)
    file.write_text(text)
    torn_change(planned.digest).apply(work)
    assert shipped.at() == ("aa01",)


def test_what_is_deployed_anew_is_not_rehearsed(shipped: Shipped) -> None:
    """What runs on the copy is what will be asked about."""
    shipped.ship("aa01", HEAD, ADDS_COLUMN.format(column="colour"))
    system = targets.load(shipped.sandbox.settings.name)
    scripts = find_scripts(system.name, find_pending(system.name))
    rehearsal = RehearseRevision(
        side="side",
        live="planner",
        owner="o",
        before=HEAD,
        after="aa01",
        script=scripts["aa01"].digest,
    )
    rehearsal.insist_on_scripts(system, settings_of(system))
    shipped.ship("aa01", HEAD, ADDS_COLUMN.format(column="another"))
    with pytest.raises(WorldMoved, match="another version of it is deployed now"):
        rehearsal.insist_on_scripts(system, settings_of(system))


def test_a_role_that_the_copy_names_goes_with_it(runs: Runs, shipped: Shipped) -> None:
    """A default privilege of it keeps it from being dropped before the copy is."""
    sandbox = shipped.sandbox
    back_up(runs, sandbox)
    shipped.ship("aa01", HEAD, NAMES_ROLE)
    shipped.ship("bb02", "aa01", ADDS_COLUMN.format(column="colour"))
    _, state = apply(runs, sandbox)
    assert state.name == "Remediated", state.message
    assert shipped.at() == ("bb02",)
    assert left_over(sandbox) == []


def test_a_torn_revision_is_tried_once(shipped: Shipped) -> None:
    """Where it does not get its lock it is not run again: what it committed would be twice."""
    shipped.ship("aa01", HEAD, LOCKS_TORN)
    sandbox, tries = shipped.sandbox, list[Sequence[str]]()
    run = LocalApplication.run

    def counted_run(
        application: LocalApplication, command: Sequence[str], environment: Mapping[str, str]
    ) -> Completed:
        tries.extend([command] if command[-1] == "aa01" else [])
        return run(application, command, environment)

    with pytest.MonkeyPatch.context() as patch, sandbox.connect() as session:
        session.execute("BEGIN")
        session.execute("LOCK TABLE projects IN ACCESS SHARE MODE")
        patch.setattr(LocalApplication, "run", counted_run)
        with pytest.raises(PreconditionFailed) as raised:
            torn_change().apply(Work(target=sandbox.settings.name, remediation="aaaabbbb22"))
        session.rollback()
    assert len(tries) == 1
    assert "is not tried again" in raised.value.found
    assert "its rows may not be" in raised.value.state


def test_who_waits_too_long_outside_of_a_transaction_is_ended(shipped: Shipped) -> None:
    """An index that is built behind an idle transaction does not wait for it for ever."""
    shipped.ship("aa01", HEAD, WAITS_TORN)
    sandbox = shipped.sandbox
    with pytest.MonkeyPatch.context() as patch, sandbox.connect() as session:
        session.execute("BEGIN")
        session.execute("LOCK TABLE workers IN ROW EXCLUSIVE MODE")
        patch.setattr("tasks.database.migrations.moving.PATIENCE_SECONDS", 2.0)
        with pytest.raises(PreconditionFailed) as raised:
            torn_change().apply(Work(target=sandbox.settings.name, remediation="aaaabbbb22"))
        session.rollback()
    assert "it was ended: it had waited" in raised.value.found
    assert "index public.ix_torn" in raised.value.state
