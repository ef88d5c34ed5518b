"""Who holds a lease: the rows as they are, and the processes behind them."""

import contextlib
import os
import signal
import socket
import time
from dataclasses import dataclass

import psutil
import sqlalchemy as sa

from tasks.guardrails.errors import TargetBusy
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.ledger_schema import LEASES

_GONE_SECONDS = 10

# A process's start is told in wall-clock time, which moves when the clock is set.
_CLOCK_SECONDS = 30


@dataclass(frozen=True)
class Holder:
    """A row of the leases: who may work on a resource until when."""

    resource: str
    token: int
    remediation: str
    run: str
    host: str
    pid: int
    started: float
    expires: float
    stuck: str

    @property
    def is_live(self) -> bool:
        """Whether its holder may still be at work."""
        return self.expires > time.time()

    @property
    def runs_here(self) -> bool:
        """Whether the very process that took it runs on this host."""
        if self.host != socket.gethostname():
            return False
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) < _CLOCK_SECONDS and is_at_work(
                process
            )
        except psutil.NoSuchProcess:
            return False

    @property
    def is_dead(self) -> bool:
        """Whether its holder is known to be gone: then nobody has to wait for the expiry."""
        return self.host == socket.gethostname() and not self.runs_here

    @property
    def is_left_running(self) -> bool:
        """Whether its process still runs here although it ran out: stopped, it could go on."""
        ran_out = 0 < self.expires <= time.time()
        return ran_out and self.pid != os.getpid() and self.runs_here

    def sentence(self) -> str:
        """Say who holds it, for an error."""
        return (
            f"remediation {self.remediation} holds it (token {self.token}, process {self.pid} "
            f"on {self.host}, for {max(0, self.expires - time.time()):.0f} s unless renewed)."
        )


def target_resource(target: str) -> str:
    """Name the lease of a target."""
    return f"target:{target}"


def remediation_resource(remediation: str) -> str:
    """Name the lease of a remediation: the one process that carries it on."""
    return f"remediation:{remediation}"


def holders(ledger: Ledger) -> list[Holder]:
    """Read all leases, live, expired and stuck."""
    with ledger.engine.connect() as connection:
        rows = connection.execute(sa.select(LEASES).order_by(LEASES.c.resource))
        return [Holder(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def holder_of(ledger: Ledger, resource: str) -> Holder | None:
    """Read the lease of a resource; None where it was never taken."""
    return next((holder for holder in holders(ledger) if holder.resource == resource), None)


def started(pid: int) -> float:
    """Give the time at which a process started, 0 where there is none."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.Error:
        return 0.0


def is_at_work(process: psutil.Process) -> bool:
    """Say whether a process still runs; one that nobody has reaped yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def end_process(held: Holder) -> None:
    """End the process of a lease that ran out, with its children, and wait until they are gone.

    It happens before the lease is taken, so that a taker that dies on the way hides nothing.

    Raises:
        TargetBusy: It would not end.
    """
    process = psutil.Process(held.pid)
    family = [process, *process.children(recursive=True)]
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)
    give_up = time.monotonic() + _GONE_SECONDS
    while any(is_at_work(one) for one in family):
        if time.monotonic() > give_up:
            raise TargetBusy(
                expected=f"process {held.pid}, whose lease ran out, to end when it is killed.",
                found=f"it still runs after {_GONE_SECONDS} s.",
                todo="End it, or restart its host; then start again.",
            )
        time.sleep(0.02)
