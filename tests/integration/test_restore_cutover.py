"""The cut-over under load, killed in the middle, and its undo's losses."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from tasks.database.copies.rows_lost import ROWS_LOST
from tasks.database.copies.side_database import create_database
from tasks.database.restore import cutover, swapping
from tasks.database.restore.loading import LoadBackup
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Plan, Standing
from tests.postgres_fixtures import (
    ID,
    WORK,
    Cluster,
    PlannerSystem,
    carry_out,
    plan_cut_over,
    plan_restore,
    swap_only,
    take,
    undo,
)
from tests.waiting import until

NAME = "backup-20261124-100000"


class Clients:
    """Clients that reconnect at once, whatever happens, and count what they are served."""

    def __init__(self, cluster: Cluster, count: int = 8) -> None:
        """Start them."""
        self.stop, self.served = threading.Event(), 0
        self.threads = [threading.Thread(target=self._work, args=(cluster,)) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def _work(self, cluster: Cluster) -> None:
        while not self.stop.is_set():
            with suppress(psycopg.Error), cluster.connect("planner", user="planner") as session:
                while not self.stop.is_set():
                    session.execute("SELECT count(*) FROM users")
                    self.served += 1
                    time.sleep(0.01)

    def end(self) -> None:
        """Stop them all."""
        self.stop.set()
        for thread in self.threads:
            thread.join()


def prepared(planner: Cluster, system: PlannerSystem) -> tuple[Plan, cutover.SwapDatabases]:
    """Carry the first stage out, and give the swap of the second."""
    take(planner, system, f"{NAME}.dump", "-Fc")
    plan = plan_restore()
    carry_out(plan, WORK)
    swap = swap_only(plan_cut_over(plan)).changes[0]
    assert isinstance(swap, cutover.SwapDatabases)
    return plan, swap


def test_reconnecting_clients_hardly_notice(
    planner: Cluster, planner_system: PlannerSystem
) -> None:
    """Eight clients that come back at once cannot keep the swap from going through."""
    _, swap = prepared(planner, planner_system)
    clients = Clients(planner)
    theirs = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'planner'"
    try:
        until(lambda: planner.one(theirs) == len(clients.threads))
        until(lambda: clients.served > 0)
        note = swap.apply(WORK)
        served = clients.served
        until(lambda: clients.served > served)
    finally:
        clients.end()
    assert "was out of reach for" in note
    assert swap.observe(WORK).standing is Standing.AFTER
    kept = planner.one(
        "SELECT datallowconn::text || shobj_description(oid, 'pg_database') FROM pg_database "
        "WHERE datname = %s",
        "postgres",
        swap.kept,
    )
    assert kept.startswith(f"falseremedy {ID} kept: planner as it was until the cut-over; kept")


def test_a_session_that_stays_fails_the_swap_and_nothing_else(
    planner: Cluster, planner_system: PlannerSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A superuser's session cannot be ended: each attempt is rolled back within its timeout."""
    _, swap = prepared(planner, planner_system)
    monkeypatch.setattr(swapping, "_TRIES", 2)
    with planner.connect("planner"), pytest.raises(PreconditionFailed, match="within 2 attempts"):
        swap.apply(WORK)
    assert swap.observe(WORK).standing is Standing.BEFORE
    swap.apply(WORK)
    assert swap.observe(WORK).standing is Standing.AFTER


KILLED = """
    import os, signal, sys, threading, time
    from pathlib import Path
    from tasks.guardrails.plan import Change, Work
    from tasks.database.restore import swapping
    from tests.postgres_fixtures import ID, Cluster, make_system
    cluster = Cluster(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
    system = make_system(cluster, Path(sys.argv[4]))
    change = Change.from_json(__import__("json").loads(sys.argv[5]))
    work = Work(target="planner-test", remediation=ID)
    if sys.argv[6] == "between":
        def steps_killed(session, ender, leaving, coming, steps):
            with session.transaction():
                first, *_ = steps(1)
                session.execute(first)
                print("renamed once", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
        swapping._attempt = steps_killed
    change.apply(work)
"""


# Rows of this table are loaded once a role is gone: no load ends before it is killed.
HELD = """
    SET ROLE planner;
    CREATE FUNCTION held(line text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
      WHILE EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'holds_loads') LOOP
        PERFORM pg_catalog.pg_sleep(0.05);
      END LOOP;
      RETURN true; END $$;
    ALTER TABLE notes_without_key ADD CONSTRAINT held CHECK (held(line))
"""


def start_killed(
    planner: Cluster, system: PlannerSystem, change: Change, how: str
) -> "subprocess.Popen[str]":
    """Start a process of its own that applies a change."""
    return subprocess.Popen(
        [
            *(sys.executable, "-c", textwrap.dedent(KILLED), str(planner.folder)),
            *(str(planner.programs), str(planner.port), str(system.backups.folder.parent)),
            *(json.dumps(change.to_json()), how),
        ],
        env={**os.environ, "PYTHONPATH": str(Path.cwd())},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_kill_between_the_renames(planner: Cluster, planner_system: PlannerSystem) -> None:
    """The server rolls back what a killed client had begun, and the swap goes through again."""
    plan, swap = prepared(planner, planner_system)
    process = start_killed(planner, planner_system, swap, "between")
    assert process.communicate(timeout=120)[0] == "renamed once\n"
    assert process.returncode == -signal.SIGKILL
    left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'remedy%'"
    until(lambda: planner.one(left) == 0)
    assert swap.observe(WORK).standing is Standing.BEFORE
    carry_out(swap_only(plan_cut_over(plan)), WORK)
    assert swap.observe(WORK).standing is Standing.AFTER


def test_kill_in_the_middle_of_the_load(planner: Cluster, planner_system: PlannerSystem) -> None:
    """pg_restore dies with us; the half-loaded copy is seen, cleared and loaded again."""
    planner.run(HELD, "planner")
    wanted = planner.checksums("planner")
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    plan = plan_restore()
    create, load = plan.changes[0], plan.changes[1]
    assert isinstance(load, LoadBackup)
    create.apply(WORK)
    assert load.observe(WORK).standing is Standing.BEFORE
    planner.run("CREATE ROLE holds_loads")
    try:
        process = start_killed(planner, planner_system, load, "load")
        # Asked from elsewhere: a session in the copy would be taken for an earlier attempt's.
        busy = "SELECT count(*) FROM pg_stat_progress_copy WHERE datname = %s"
        until(lambda: planner.one(busy, "postgres", load.side))
        programs = psutil.Process(process.pid).children(recursive=True)
        assert "pg_restore" in {one.name() for one in programs}
        process.kill()
        process.wait()
        _, alive = psutil.wait_procs(programs, timeout=60)
        assert alive == []
        assert load.observe(WORK).standing is Standing.HALF
    finally:
        planner.run("DROP ROLE holds_loads")
    sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = %s"
    until(lambda: not planner.one(sessions, "postgres", load.side))
    carry_half(load)
    assert planner.checksums(load.side) == wanted


def carry_half(change: LoadBackup) -> None:
    """Apply a change that stands half, as the engine does after a crash."""
    change.apply(WORK)
    assert change.observe(WORK).standing is Standing.AFTER


def test_kill_between_create_and_mark(planner: Cluster, planner_system: PlannerSystem) -> None:
    """A side database without a mark carries the id in its name: it is ours, and made anew."""
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    plan = plan_restore()
    create = plan.changes[0]
    with planner_system.database.connect("postgres") as session:
        create_database(session, create.name, create.shape)  # type: ignore[attr-defined] # it is a CreateSideDatabase
    assert create.observe(WORK).standing is Standing.HALF
    create.apply(WORK)
    assert create.observe(WORK).standing is Standing.AFTER


def test_what_was_written_until_the_swap_is_named(
    planner: Cluster, planner_system: PlannerSystem
) -> None:
    """Rows that came after the approved comparison are counted in the old database, by key."""
    _, swap = prepared(planner, planner_system)
    planner.run(
        "INSERT INTO tickets (id, title) VALUES (9001, 'late'); "
        "UPDATE users SET version = 9 WHERE username = 'user1'",
        "planner",
    )
    note = swap.apply(WORK)
    assert note is not None
    assert f"only in {swap.kept} now: public.tickets 1 rows: (9001); public.users 1 rows: (" in note
    assert swap.observe(WORK).standing is Standing.AFTER
    planner.run(f"ALTER DATABASE {swap.kept} ALLOW_CONNECTIONS true")  # as one killed there left it
    assert swap.observe(WORK).standing is Standing.HALF
    again = swap.apply(WORK)
    assert again is not None
    assert again in note
    assert swap.observe(WORK).standing is Standing.AFTER


def test_an_undo_says_what_it_would_lose(planner: Cluster, planner_system: PlannerSystem) -> None:
    """Nothing while nobody but the probe wrote; both losses in figures afterwards."""
    take(planner, planner_system, f"{NAME}.dump", "-Fc")
    planner.run("INSERT INTO tickets (title) VALUES ('since the backup')", "planner")
    before = planner.checksums("planner")
    plan = plan_restore()
    carry_out(plan, WORK)
    stage = swap_only(plan_cut_over(plan))
    carry_out(stage, WORK)
    swap = stage.changes[0]
    assert swap.undo_loss(WORK) is None
    planner.run(f"INSERT INTO notes_without_key VALUES ('remedy-{ID}-1 by the probe')", "planner")
    assert swap.undo_loss(WORK) is None
    planner.run(
        "INSERT INTO tickets (title) VALUES ('after'); UPDATE users SET version = 2 "
        "WHERE username = 'user1'; DELETE FROM tickets WHERE id = 5",
        "planner",
    )
    loss = swap.undo_loss(WORK)
    assert loss is not None
    assert (loss.amount, loss.unit) == (4, "rows")
    assert loss.sentence == (
        "An undo takes back 2 rows written since the cut-over and brings back 2 replaced or "
        "deleted since (public.tickets 1 new, 1 replaced or deleted, public.users 1 new, "
        "1 replaced or deleted); without it the up to 1 rows stay lost that were written "
        "between the backup and the cut-over. The database that goes is kept."
    )
    counted = swap.undo_loss(replace(WORK, measured={ROWS_LOST: 8896}))  # right before the swap
    assert counted is not None
    assert "the up to 8896 rows stay lost" in counted.sentence
    undo(stage, WORK)
    assert swap.undo_loss(WORK) is None
    assert planner.checksums("planner") == before
