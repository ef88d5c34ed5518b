"""The scene: a full sandbox that nothing is wrong with, whatever an earlier demo left."""

import time
from collections.abc import Callable
from contextlib import suppress
from uuid import uuid4

from prefect.client.schemas.objects import StateType
from psycopg import sql

from deployments.cli import client
from infra.sandbox import pristine
from infra.sandbox.seed import seed
from infra.sandbox.services import Sandbox
from tasks.guardrails.case import Case, open_cases
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.holders import force_release, holders, target_resource
from tasks.guardrails.ledger import Ledger

TARGET = "sandbox"
_STOPPED_WITHIN_SECONDS = 30.0
_ENDED_WITHIN_SECONDS = 120.0
Told = Callable[[str], None]


def end_earlier(ledger: Ledger, told: Told) -> None:
    """End what an interrupted demo left open: its remediations are cancelled and taken back.

    Args:
        ledger: The ledger.
        told: Called with a line for each thing done.

    Raises:
        PreconditionFailed: One of them does not end.
    """
    for remediation in open_cases(ledger):
        case = Case.read(ledger, remediation)
        if case.target == TARGET:
            told(f"{case.name} ({case.id}) was left open by an earlier run: it is taken back")
            _end(ledger, case)
    for holder in holders(ledger):
        if holder.resource == target_resource(TARGET) and holder.stuck:
            force_release(ledger, holder.resource, "the demo resets the sandbox", "demo")


def _end(ledger: Ledger, case: Case) -> None:
    for run in case.runs[-1:]:
        found = client.read(run)
        if found and found.state and not found.state.is_final():
            client.cancel(found)
            _await_stop(run)
    client.start("recover-remediation", {"remediation": case.id}, uuid4().hex)
    deadline = time.monotonic() + _ENDED_WITHIN_SECONDS
    while not Case.read(ledger, case.id).outcome:
        if time.monotonic() > deadline:
            raise PreconditionFailed(
                expected=f"{case.name} ({case.id}) of an earlier run to end.",
                found=f"it has not within {_ENDED_WITHIN_SECONDS:g} s.",
                todo=f"See `remedy show {case.id}`, then run the demo again.",
            )
        time.sleep(0.5)


def _await_stop(run: str) -> None:
    deadline = time.monotonic() + _STOPPED_WITHIN_SECONDS
    while time.monotonic() < deadline:
        found = client.read(run)
        if found is None or found.state is None or found.state.type is not StateType.CANCELLING:
            return
        time.sleep(0.5)


def fill(sandbox: Sandbox, rows: int, told: Told) -> int:
    """Bring the sandbox to its pristine state, filled the first time.

    Args:
        sandbox: A sandbox that is up.
        rows: About how many rows the first filling makes.
        told: Called with a line for each thing done.

    Returns:
        How many rows there are.
    """
    with sandbox.connect("postgres") as session:
        known = {str(name) for (name,) in session.execute("SELECT datname FROM pg_database")}
        if pristine.PRISTINE not in known:
            # A demo that was killed while it kept the pristine copy left it closed.
            live = sql.Identifier(sandbox.settings.database)
            session.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(live))
    if pristine.PRISTINE in known:
        pristine.reset(sandbox)
        told("database reset to how it was when it was filled")
    else:
        with suppress(PreconditionFailed):  # filled by a demo that was killed right after
            seed(sandbox, rows)
        pristine.keep(sandbox)
        told("database filled")
    return sum(count_rows(sandbox).values())


def count_rows(sandbox: Sandbox) -> dict[str, int]:
    """Count the rows of every table of the application."""
    with sandbox.connect() as session:
        names = [
            str(name)
            for (name,) in session.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
            )
        ]
        found: dict[str, int] = {}
        for name in names:
            query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(name))
            row = session.execute(query).fetchone()
            found[name] = int(row[0]) if row else 0
    return found
