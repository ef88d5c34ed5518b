"""Who holds a lease: the rows as they are, and the processes behind them."""

import contextlib
import os
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import sqlalchemy as sa

from tasks.guardrails.case import Case
from tasks.guardrails.errors import BadInput, TargetBusy
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.ledger_schema import LEASES

_GONE_SECONDS = 10


@dataclass(frozen=True)
class Holder:
    """A row of the leases: who may work on a resource until when."""

    resource: str
    token: int
    remediation: str
    run: str
    host: str
    pid: int
    started: str
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
        except psutil.NoSuchProcess:
            return False
        return started(self.pid) == self.started and is_at_work(process)

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
        if self.is_dead or not self.is_live:
            return (
                f"remediation {self.remediation} died in the middle of what it does there (token "
                f"{self.token}, process {self.pid} on {self.host}); its recovery goes on."
            )
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
    rows = ledger.read(sa.select(LEASES).order_by(LEASES.c.resource))
    return [Holder(**row._mapping) for row in rows]  # noqa: SLF001 - SQLAlchemy's public name


def holder_of(ledger: Ledger, resource: str) -> Holder | None:
    """Read the lease of a resource; None where it was never taken."""
    return next((holder for holder in holders(ledger) if holder.resource == resource), None)


def died_in_the_middle(ledger: Ledger, held: Holder) -> bool:
    """Say whether a remediation that held a target never gave it up, and has to go on there.

    Args:
        ledger: Where what it did is recorded.
        held: Its lease, whose process is gone.
    """
    if held.expires == 0 or not held.resource.startswith(target_resource("")):
        return False
    case = Case.read(ledger, held.remediation)
    return not case.outcome and is_in_the_middle(case)


def is_in_the_middle(case: Case) -> bool:
    """Say whether a stage stands half done, or what stands is being taken back."""
    done = {entry.facts["digest"] for entry in case.of_kind("stage_done")}
    undoing = case.failure is not None
    return any(case.standing(one) and (undoing or one.digest not in done) for one in case.stages)


def started(pid: int) -> str:
    """Say when a process started, so that no other process with its number says the same.

    Args:
        pid: Number of a process.

    Returns:
        The boot and the clock tick in it (proc(5), stat, field 22), which setting the wall
        clock does not move; where there is no /proc its start in wall-clock time; '' where
        there is no such process.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[19]}"
    except (FileNotFoundError, ProcessLookupError):
        with contextlib.suppress(psutil.Error):
            return str(psutil.Process(pid).create_time())
    return ""


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
    _end_family(held.pid)


def end_children(ledger: Ledger, before: Holder) -> list[str]:
    """End programs that an earlier holder started on this host and that outlived it.

    Args:
        ledger: Where each of them was recorded when it was started.
        before: The earlier holder.

    Returns:
        A sentence for each that was ended.

    Raises:
        TargetBusy: One would not end.
    """
    ended = []
    for entry in ledger.entries(remediation=before.remediation, kinds=("child_started",)):
        facts = entry.facts
        if facts["host"] == socket.gethostname() and started(facts["pid"]) == facts["started"]:
            _end_family(facts["pid"])
            ended.append(f"process {facts['pid']}, {facts['program']}")
    return ended


def _end_family(pid: int) -> None:
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.send_signal(signal.SIGKILL)
    give_up = time.monotonic() + _GONE_SECONDS
    while any(is_at_work(one) for one in family):
        if time.monotonic() > give_up:
            raise TargetBusy(
                expected=f"process {pid}, whose lease ran out, to end when it is killed.",
                found=f"it still runs after {_GONE_SECONDS} s.",
                todo="End it, or restart its host; then start again.",
            )
        time.sleep(0.02)


def force_release(ledger: Ledger, resource: str, reason: str, actor: str) -> None:
    """Release a marked or abandoned lease by hand.

    Args:
        ledger: Where leases are kept.
        resource: The lease.
        reason: Why; goes into the ledger.
        actor: Who.

    Raises:
        BadInput: There is no such lease, or no reason.
        TargetBusy: Its holder is alive.
    """
    now = holder_of(ledger, resource)
    if now is None or not reason.strip():
        raise BadInput(
            expected="a lease that exists, and a reason.",
            found=f"{resource!r}" + (", no reason." if now else ", which was never taken."),
            todo="See `remedy lease show`.",
        )
    if now.is_live and not now.is_dead:
        raise TargetBusy(
            expected="a lease whose holder is gone.",
            found=now.sentence(),
            todo="Cancel the run first.",
        )
    if now.is_left_running:
        end_process(now)
    with ledger.writing() as chain:
        chain.connection.execute(
            LEASES.update().where(LEASES.c.resource == resource).values(expires=0, stuck="")
        )
        chain.append(
            "lease_released",
            {"resource": resource, "token": now.token, "by_hand": True, "reason": reason},
            remediation=now.remediation,
            actor=actor,
        )
