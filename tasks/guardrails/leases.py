"""Leases: one remediation at a time on a target, one process at a time on a remediation.

A lease is a row beside the chain with a fencing token that grows at each taking; taking and
losing are entries of the chain. A thread renews it; before each change the engine insists
that it is still held, and what the change opens carries the token, so that a successor can
end it.
"""

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self

import sqlalchemy as sa

from tasks.guardrails import faults
from tasks.guardrails.errors import LeaseLost, RemediationError, TargetBusy
from tasks.guardrails.holders import (
    Holder,
    died_in_the_middle,
    end_process,
    holder_of,
    started,
)
from tasks.guardrails.ledger import Ledger, Writing
from tasks.guardrails.ledger_schema import LEASES

_POLL_SECONDS = 0.5


def _now() -> float:
    """Give seconds on a clock that goes on while a process is stopped and a machine sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))


@dataclass
class Lease:
    """A lease that we hold, renewed by a thread of its own.

    Args:
        fresh_until: Until when it holds without asking the ledger, on the clock of `_now`.
    """

    ledger: Ledger
    resource: str
    remediation: str
    token: int
    previous: Holder | None
    fresh_until: float
    _stop: threading.Event = field(default_factory=threading.Event)
    _lost: threading.Event = field(default_factory=threading.Event)

    def insist(self) -> None:
        """Make sure that the lease is still ours, in the ledger and not from memory.

        Raises:
            LeaseLost: It was taken over, or has run out.
        """
        now = holder_of(self.ledger, self.resource)
        if now is None or now.token != self.token or not now.is_live:
            self._lost.set()
        if self._lost.is_set():
            raise self._lost_to(now)

    def insist_fresh(self) -> None:
        """Make sure that nobody can have taken the lease over, without asking the ledger.

        Raises:
            LeaseLost: It was not renewed in time: the process was stopped, or the ledger away.
        """
        if self._lost.is_set() or _now() >= self.fresh_until:
            raise self._lost_to(None)

    def insist_in(self, chain: Writing) -> None:
        """Make sure that nobody has taken the lease over, in a transaction on the ledger.

        Raises:
            LeaseLost: Somebody has; the transaction is to be rolled back.
        """
        query = sa.select(LEASES).where(LEASES.c.resource == self.resource)
        row = chain.connection.execute(query).one()
        if row.token != self.token:
            self._lost.set()
            raise self._lost_to(Holder(**row._mapping))  # noqa: SLF001 - SQLAlchemy's public name

    def note_child(self, pid: int, program: str) -> None:
        """Record a child process that works under the lease: who takes it over ends it."""
        body = {"host": socket.gethostname(), "pid": pid, "started": started(pid)}
        self.ledger.append(
            "child_started",
            {**body, "program": program, "token": self.token},
            remediation=self.remediation,
        )

    def _lost_to(self, now: Holder | None) -> LeaseLost:
        return LeaseLost(
            expected=f"the lease on {self.resource} with token {self.token}.",
            found="it ran out." if now is None or now.token == self.token else now.sentence(),
            state="This process changes nothing any more; who holds the lease goes on.",
            todo=f"Look at `remedy show {self.remediation}`.",
        )

    def renew(self) -> bool:
        """Prolong the lease if it is still ours; says whether it was."""
        fresh_until = _now() + self.ledger.config.lease_seconds
        mine = sa.and_(LEASES.c.resource == self.resource, LEASES.c.token == self.token)
        with self.ledger.writing() as chain:
            done = chain.connection.execute(
                LEASES.update()
                .where(mine, LEASES.c.expires > time.time())
                .values(expires=time.time() + self.ledger.config.lease_seconds)
            )
        if done.rowcount == 1:
            self.fresh_until = fresh_until
        return done.rowcount == 1

    def keep_alive(self) -> Self:
        """Start the thread that renews the lease until it is released or lost."""
        threading.Thread(target=self._renew_until_released, daemon=True).start()
        return self

    def _renew_until_released(self) -> None:
        while not self._stop.wait(self.ledger.config.lease_seconds / 3):
            try:
                faults.point("before-renewal")
                if not self.renew():
                    self._lost.set()
                    return
                faults.point("after-renewal")
            except RemediationError as error:
                # `insist` looks again before each change; until then a change that runs goes on.
                logging.getLogger(__name__).warning("the lease was not renewed: %s", error)

    def release(self, *, stuck: str = "") -> None:
        """Give the lease up, or leave it marked so that nobody takes it.

        Args:
            stuck: What a person has to put right first; empty where nothing.
        """
        self._stop.set()
        mine = sa.and_(LEASES.c.resource == self.resource, LEASES.c.token == self.token)
        with self.ledger.writing() as chain:
            done = chain.connection.execute(
                LEASES.update().where(mine).values(expires=0, stuck=stuck)
            )
            if done.rowcount:
                chain.append(
                    "lease_stuck" if stuck else "lease_released",
                    {"resource": self.resource, "token": self.token, "stuck": stuck},
                    remediation=self.remediation,
                )


def take(ledger: Ledger, resource: str, remediation: str, run: str, wait: float = 0) -> Lease:
    """Take a lease, ending the process that held it before if it still runs on this host.

    Args:
        ledger: Where leases are kept.
        resource: From `target_resource` or `remediation_resource`.
        remediation: Who takes it.
        run: Id of the Prefect run.
        wait: Seconds to wait for its holder.

    Returns:
        The lease, kept alive. Its `previous` tells whose work may have to be ended.

    Raises:
        TargetBusy: Another one holds it, or it is marked stuck.
    """
    give_up = time.monotonic() + wait
    while True:
        taken = _try_to_take(ledger, resource, remediation, run)
        if isinstance(taken, Lease):
            return taken.keep_alive()
        if taken.is_left_running:
            end_process(taken)
            continue
        if taken.stuck or time.monotonic() >= give_up:
            raise TargetBusy(
                expected=f"nobody else at work on {resource}.",
                found=f"it is marked: {taken.stuck}" if taken.stuck else taken.sentence(),
                todo=(
                    f"Put that right, then run: remedy lease release {resource} --reason ..."
                    if taken.stuck
                    else "Wait for it to end, then start again."
                ),
            )
        time.sleep(_POLL_SECONDS)


def _try_to_take(ledger: Ledger, resource: str, remediation: str, run: str) -> Lease | Holder:
    fresh_until = _now() + ledger.config.lease_seconds
    with ledger.writing() as chain:
        row = chain.connection.execute(
            sa.select(LEASES).where(LEASES.c.resource == resource)
        ).first()
        held = Holder(**row._mapping) if row else None  # noqa: SLF001 - SQLAlchemy's public name
        if held and held.stuck and held.remediation != remediation:
            return held
        if held and ((held.is_live and not held.is_dead) or held.is_left_running):
            return held
        if held and held.remediation != remediation and died_in_the_middle(ledger, held):
            return held
        values = {
            "token": (held.token if held else 0) + 1,
            "remediation": remediation,
            "run": run,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "started": started(os.getpid()),
            "expires": time.time() + ledger.config.lease_seconds,
            "stuck": "",
        }
        if held:
            chain.connection.execute(
                LEASES.update().where(LEASES.c.resource == resource).values(**values)
            )
        else:
            chain.connection.execute(LEASES.insert().values(resource=resource, **values))
        over = held is not None and held.expires > 0
        body = {
            "resource": resource,
            "token": values["token"],
            "host": values["host"],
            "pid": values["pid"],
            "process_started": values["started"],
            "over_from": held.remediation if held and over else "",
        }
        chain.append("lease_taken", body, remediation=remediation, run=run)
        token = int(str(values["token"]))
        return Lease(ledger, resource, remediation, token, held if over else None, fresh_until)


@contextmanager
def held(
    ledger: Ledger, resource: str, remediation: str, run: str, wait: float = 0
) -> Iterator[Lease]:
    """Hold a lease while the block runs; it is released however the block ends."""
    lease = take(ledger, resource, remediation, run, wait)
    try:
        yield lease
    finally:
        lease.release()
