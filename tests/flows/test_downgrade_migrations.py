"""downgrade_migrations on a system under load: what goes is counted, kept and named."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.objects import State

from flows.application.downgrade_migrations import downgrade_migrations
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.migrations import BEFORE_HEAD, HEAD
from infra.sandbox.planner import Planner
from tasks.application.answers import ApplicationAnswers
from tasks.database.backup.manifest import SUFFIX, Manifest, read_manifest
from tasks.database.migrations.downgrading import DowngradeRevision
from tasks.database.migrations.pending import find_pending
from tasks.database.migrations.way_back import find_steps, find_way
from tasks.guardrails.case import Case
from tasks.guardrails.errors import UndoFailed, WorldMoved
from tasks.guardrails.holders import holders
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Standing, Verdict, Work
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
from tests.users import under_load

COLOUR = ADDS_COLUMN.format(column="colour")
DROPS_COLOUR = 'op.drop_column("projects", "colour")'
WORKERS = """
op.execute("INSERT INTO workers (id, external_id, name, created_at, updated_at) SELECT"
    " md5('aa' || n)::uuid, 'aa' || n, 'A revision''s', timestamp '2025-01-01',"
    " timestamp '2025-01-01' FROM generate_series(1, 2) n")"""
NO_WORKERS = """
op.execute("DELETE FROM workers WHERE external_id LIKE 'aa_'")"""
TABLE = f"op.create_table({HOSTILE!r}, sa.Column('a \"b', sa.Integer()))"
DROPS_TABLE = f"op.drop_table({HOSTILE!r})"
FAILS_IN_LIVE = f"""{DROPS_COLOUR}
op.execute("{ONLY_IN_LIVE.format(does="RAISE 'only here'")}")"""
LEAVES_TYPE = """op.execute("CREATE TYPE mood AS ENUM ('good')")
op.execute("ALTER TABLE projects ADD mood mood")"""


def downgrade(runs: Runs, sandbox: Planner, revision: str) -> tuple[Case, State[Any]]:
    """Take the schema back, with the approvals that it asks for."""
    return carry_out(runs, sandbox, downgrade_migrations, revision=revision)


def ask(sandbox: Planner, query: str) -> int:
    """Ask the live database for a number."""
    with sandbox.connect() as session:
        row = session.execute(query.encode()).fetchone()
    assert row is not None
    return int(row[0])


def write(sandbox: Planner, *statements: str) -> None:
    """Write rows as a user does."""
    with sandbox.connect() as session:
        for statement in statements:
            session.execute(statement.encode())


def kept(sandbox: Planner) -> Manifest:
    """Read what the manifest of the backup says that was taken first."""
    (path,) = sandbox.backups.glob(f"pre-downgrade-*.dump{SUFFIX}")
    manifest = read_manifest(Path(path))
    assert manifest is not None
    return manifest


def test_what_goes_is_counted_and_kept_and_the_schema_comes_back(
    runs: Runs, shipped_there: Shipped
) -> None:
    """By a user who is no superuser, under load: exact counts, asked anew as they grow, undone."""
    shipped = shipped_there
    sandbox = shipped.sandbox
    original = snapshot(sandbox, without_load=True)
    shipped.ship("aa01", HEAD, COLOUR + WORKERS, DROPS_COLOUR + NO_WORKERS)
    shipped.ship("bb02", "aa01", TABLE, DROPS_TABLE)
    shipped.take_up()
    assert sandbox_alembic(shipped, "upgrade", "bb02").status == 0
    write(
        sandbox,
        "UPDATE projects SET colour = 'red' WHERE id IN (SELECT id FROM projects LIMIT 7)",
        f"INSERT INTO {QUOTED} SELECT generate_series(1, 3)",
    )
    back_up(runs, sandbox)
    before = snapshot(sandbox, without_load=True)
    shipped.known(limited=True)
    alter_role(sandbox, "CREATEROLE")
    try:
        with under_load(sandbox):
            run, state = runs.start(
                downgrade_migrations, target=sandbox.settings.name, revision=HEAD
            )
            assert state is None, state
            write(sandbox, f"INSERT INTO {QUOTED} SELECT generate_series(4, 2003)")
            state = Approvers(Ledger()).approve_until_it_ends(runs, run)
        assert state.name == "Remediated", state.message
        case = Case.read(Ledger(), runs.id_of(run))
        assert snapshot(sandbox, without_load=True) == original
        assert (shipped.at(), left_over(sandbox)) == ((HEAD,), [])
        assert set(asked(case)) == {"downgrade destructive"}
        assert len(case.of_kind("superseded")) == 1
        stage = case.stages[-1].stage
        assert stage.findings[0].rows == (
            ("bb02", f"table public.{HOSTILE}", "2,003"),
            ("aa01", "column colour of public.projects", "7"),
            ("aa01", "rows of public.workers", "2 on the copy"),
        )
        assert "2,003 rows of 1 table and 7 values of 1 column, and rows" in stage.effects.lost
        assert "ban-drop-column" in found(case)
        manifest = kept(sandbox)
        assert (manifest.revision, manifest.tables[f"public.{HOSTILE}"]) == ("bb02", 2003)
        _, undone = carry_out(runs, sandbox, undo_remediation, remediation=case.id)
    finally:
        alter_role(sandbox, "NOCREATEROLE")
    assert undone.name == "Remediated", undone.message
    after = snapshot(sandbox, without_load=True)
    assert after.schema == before.schema
    changed = {table for table, *_ in set(after.rows) ^ set(before.rows)}
    assert changed == {"public.projects", f"public.{QUOTED}"}
    assert ask(sandbox, f"SELECT count(*) FROM {QUOTED}") == 0
    assert ask(sandbox, "SELECT count(colour) FROM projects") == 0
    assert kept(sandbox) == manifest


def test_an_application_that_needs_what_goes_gets_its_schema_back(
    runs: Runs, shipped: Shipped
) -> None:
    """The proof afterwards fails; the schema is as before, the values are in the backup only."""
    sandbox = shipped.sandbox
    back_up(runs, sandbox)
    before = snapshot(sandbox)
    values = ask(sandbox, "SELECT count(health) FROM programs")
    assert values
    case, state = downgrade(runs, sandbox, BEFORE_HEAD)
    assert state.name == "Undone", state.message
    assert "Stays: back planner up as pre-downgrade-" in (state.message or "")
    rows = case.stages[1].stage.findings[0].rows
    assert (HEAD, "column health of public.programs", f"{values:,}") in rows
    assert any("where its present version needs" in note for note in case.stages[1].stage.notes)
    after = snapshot(sandbox)
    assert after.schema == before.schema
    assert {table for table, *_ in set(after.rows) ^ set(before.rows)} == {"public.programs"}
    assert ask(sandbox, "SELECT count(health) FROM programs") == 0
    assert kept(sandbox).revision == HEAD
    work = Work(target=sandbox.settings.name, remediation="aaaabbbb22")
    assert ApplicationAnswers().ask(work).verdict is Verdict.HELD


def test_a_downgrade_that_fails_in_live_rolls_itself_back(runs: Runs, shipped: Shipped) -> None:
    """Schema and rows are as before, and the lease is free."""
    sandbox = shipped.sandbox
    shipped.ship("aa01", HEAD, COLOUR, FAILS_IN_LIVE)
    assert sandbox_alembic(shipped, "upgrade", "aa01").status == 0
    write(sandbox, "UPDATE projects SET colour = 'red'")
    back_up(runs, sandbox)
    before = snapshot(sandbox)
    case, state = downgrade(runs, sandbox, HEAD)
    assert state.name == "Undone", state.message
    assert "its schema was read again and is as before" in (state.message or "")
    assert (snapshot(sandbox), shipped.at()) == (before, ("aa01",))
    assert not case.of_kind("stuck")
    assert not [one for one in holders(Ledger()) if one.is_live or one.stuck]


def test_a_downgrade_without_a_way_back_is_found_in_its_rehearsal(
    runs: Runs, shipped: Shipped
) -> None:
    """It leaves a type behind, which its upgrade would make again; live is untouched."""
    sandbox = shipped.sandbox
    shipped.ship("aa01", HEAD, LEAVES_TYPE, 'op.drop_column("projects", "mood")')
    assert sandbox_alembic(shipped, "upgrade", "aa01").status == 0
    back_up(runs, sandbox)
    before, names = snapshot(sandbox), databases(sandbox)
    case, state = downgrade(runs, sandbox, HEAD)
    assert state.name == "Undone", state.message
    assert "DuplicateObject" in (state.message or "")
    assert "so there would be no way back" in (state.message or "")
    assert (snapshot(sandbox), databases(sandbox)) == (before, names)
    assert (left_over(sandbox), asked(case)) == ([], [])


def test_what_cannot_be_taken_back_is_said(runs: Runs, shipped: Shipped) -> None:
    """Bad names, downgrades that nobody wrote, two heads, no backup: live is untouched."""
    sandbox = shipped.sandbox
    shipped.ship("aa01", HEAD, COLOUR, "raise NotImplementedError")
    shipped.ship("bb02", "aa01", TABLE, DROPS_TABLE)
    assert sandbox_alembic(shipped, "upgrade", "aa01").status == 0
    before, names = snapshot(sandbox), databases(sandbox)

    def refused(revision: str, outcome: str, told: str) -> None:
        case, state = downgrade(runs, sandbox, revision)
        assert state.name == outcome, state.message
        assert told in (state.message or "") + (found(case) if case.stages else "")
        assert not case.of_kind("begun")

    refused("aa01", "Unchanged", "planner is at revision aa01")
    refused("zz'99; --", "Refused", "which the application does not know")
    refused("bb02", "Refused", "bb02 is a newer one")
    refused(HEAD, "Refused", "NotImplementedError")
    shipped.ship("aa01", HEAD, COLOUR)
    refused(HEAD, "Refused", "it is empty")
    shipped.ship("aa01", HEAD, COLOUR, DROPS_COLOUR)
    refused(HEAD, "Advised", "remedy run back_up_database")
    shipped.ship("cc03", "aa01", TABLE, DROPS_TABLE)
    refused(HEAD, "Advised", "alembic merge bb02 cc03")
    assert (snapshot(sandbox), databases(sandbox)) == (before, names)


def test_what_is_deployed_anew_is_run_neither_way(runs: Runs, shipped: Shipped) -> None:
    """Another downgrade while the approval waits, another upgrade before the undo."""
    sandbox, target = shipped.sandbox, shipped.sandbox.settings.name
    shipped.ship("aa01", HEAD, COLOUR, DROPS_COLOUR)
    assert sandbox_alembic(shipped, "upgrade", "aa01").status == 0
    back_up(runs, sandbox)
    before = snapshot(sandbox)
    run, state = runs.start(downgrade_migrations, target=target, revision=HEAD)
    assert state is None, state
    other = 'op.drop_column("projects", "description")'
    shipped.ship("aa01", HEAD, COLOUR, f"{DROPS_COLOUR}\n{other}")
    state = Approvers(Ledger()).approve_until_it_ends(runs, run)
    assert state.name == "Undone", state.message
    assert "another version of it is deployed now" in str(state.message)
    assert (snapshot(sandbox), shipped.at()) == (before, ("aa01",))
    assert left_over(sandbox) == []

    shipped.ship("aa01", HEAD, COLOUR, DROPS_COLOUR)
    (step,) = find_steps(target, find_way(find_pending(target), HEAD))
    change = DowngradeRevision(
        live="planner",
        before="aa01",
        after=HEAD,
        script=step.down.digest,
        back_script=step.up.digest,
        cut_after=2.0,
        statement_seconds=60.0,
    )
    work = Work(target=target, remediation="aaaabbbb22")
    change.apply(work)
    shipped.ship("aa01", HEAD, f"{COLOUR}\n{other}", DROPS_COLOUR)
    with pytest.raises(WorldMoved, match="another version of it is deployed now"):
        change.revert(work)
    assert shipped.at() == (HEAD,)
    shipped.ship("aa01", HEAD, COLOUR, DROPS_COLOUR)
    change.revert(work)
    assert shipped.at() == ("aa01",)


def test_a_lock_in_the_way_is_waited_for_and_the_undo_can_be_repeated(shipped: Shipped) -> None:
    """It gives way and is tried again; its undo knows where live stands, and what it would lose."""
    sandbox, tries = shipped.sandbox, list[Sequence[str]]()
    shipped.ship("aa01", HEAD, COLOUR, DROPS_COLOUR)
    assert sandbox_alembic(shipped, "upgrade", "aa01").status == 0
    columns = shipped.columns("projects")
    work = Work(target=sandbox.settings.name, remediation="aaaabbbb22")
    change = DowngradeRevision(
        live="planner",
        before="aa01",
        after=HEAD,
        cut_after=2.0,
        statement_seconds=60.0,
        back_drops=(("public", "projects", "budget"), ("public", "projects", "no such")),
    )
    run = LocalApplication.run
    with pytest.MonkeyPatch.context() as patch, sandbox.connect() as session:
        session.execute("BEGIN")
        session.execute("SELECT count(*) FROM projects")

        def counted_run(
            application: LocalApplication, command: Sequence[str], environment: Mapping[str, str]
        ) -> Completed:
            tries.extend([command] if command[-1] == HEAD else [])
            if len(tries) == 3:
                session.rollback()
            return run(application, command, environment)

        patch.setattr(LocalApplication, "run", counted_run)
        note = change.apply(work)
    assert len(tries) >= 3  # an autovacuum may be in the way of one more
    assert note.startswith(f"at attempt {len(tries)}; ")
    assert change.observe(work).standing is Standing.AFTER
    assert "colour" not in shipped.columns("projects")
    loss = change.undo_loss(work)
    assert loss is not None
    assert loss.amount == ask(sandbox, "SELECT count(budget) FROM projects")
    for _ in range(2):
        change.revert(work)
        assert change.observe(work).standing is Standing.BEFORE
    assert "colour" in shipped.columns("projects") >= columns
    write(sandbox, "UPDATE alembic_version SET version_num = 'elsewhere'")
    with pytest.raises(UndoFailed) as raised:
        change.revert(work)
    assert "planner is at elsewhere" in raised.value.found
