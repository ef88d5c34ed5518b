"""Who holds a lease: the rows as they are, read without taking anything."""

import socket
import time
from dataclasses import dataclass

import psutil
import sqlalchemy as sa

from tasks.guardrails.ledger import Ledger
from tasks.guardrails.ledger_schema import LEASES


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
        return psutil.pid_exists(self.pid) and abs(started(self.pid) - self.started) < 1

    @property
    def is_dead(self) -> bool:
        """Whether its holder is known to be gone: then nobody has to wait for the expiry."""
        return self.host == socket.gethostname() and not self.runs_here

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
