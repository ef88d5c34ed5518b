"""Leases: one at work on a target, and whoever takes over ends the one before first."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tasks.guardrails import holders, leases
from tasks.guardrails.errors import BadInput, LeaseLost, TargetBusy
from tasks.guardrails.holders import holder_of, is_at_work, target_resource
from tasks.guardrails.leases import Lease, take
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.ledger_schema import LEASES
from tasks.guardrails.recording import Recorder
from tasks.guardrails.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
RESOURCE = target_resource("demo")
HOLDER = """
import subprocess, sys, time
from pathlib import Path
from tasks.guardrails import leases
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import Settings
home, url, seconds, resource = sys.argv[1:]
ledger = Ledger(Settings(home=Path(home), ledger_url=url, lease_seconds=float(seconds)))
lease = leases.take(ledger, resource, "first", "run-1")
child = subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL)
print(lease.token, child.pid, flush=True)
time.sleep(600)
"""
Start = Callable[[float], tuple[psutil.Process, int, psutil.Process]]


@pytest.fixture(autouse=True)
def no_lease_outlives_its_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """End the renewal of leases that a test did not release."""
    kept: list[Lease] = []
    keep_alive = Lease.keep_alive

    def remember(lease: Lease) -> Lease:
        kept.append(lease)
        return keep_alive(lease)

    monkeypatch.setattr(Lease, "keep_alive", remember)
    yield
    for lease in kept:
        lease._stop.set()  # noqa: SLF001 - as its release does


@pytest.fixture
def start_holder(ledger: Ledger) -> Iterator[Start]:
    """A way to start a process that takes the lease and has a child at work."""
    started: list[psutil.Process] = []

    def start(lease_seconds: float) -> tuple[psutil.Process, int, psutil.Process]:
        where = (str(ledger.config.home), ledger.config.ledger, str(lease_seconds), RESOURCE)
        process = psutil.Popen(
            [sys.executable, "-c", HOLDER, *where], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        token, child = map(int, process.stdout.readline().split())
        started.extend((process, psutil.Process(child)))
        return process, token, started[-1]

    yield start
    for one in started:
        if is_at_work(one):
            one.kill()


def short(ledger: Ledger, seconds: float) -> Ledger:
    """Give the same ledger with leases of another length."""
    values = {**ledger.config.model_dump(), "lease_seconds": seconds}
    return Ledger(Settings.model_construct(**values))


def forgotten(ledger: Ledger) -> Lease:
    """Take a lease that nobody renews."""
    lease = take(short(ledger, 600), RESOURCE, "first", "run-1")
    lease._stop.set()  # noqa: SLF001 - as a process that hangs
    return lease


def expiry(ledger: Ledger) -> float:
    """Say until when the lease holds."""
    holder = holder_of(ledger, RESOURCE)
    assert holder is not None
    return holder.expires


def run_out(ledger: Ledger) -> None:
    """Have the lease be one whose time is over, however long that took."""
    with ledger.writing() as chain:
        chain.connection.execute(LEASES.update().values(expires=time.time() - 1))


def test_fencing_token_grows_at_each_taking(ledger: Ledger) -> None:
    """No two holders ever have the same token, whatever ended the one before."""
    tokens = []
    for remediation in ("a", "b", "a"):
        with leases.held(ledger, RESOURCE, remediation, "run") as lease:
            tokens.append(lease.token)
    forgotten(ledger)
    run_out(ledger)
    last = take(ledger, RESOURCE, "c", "run")
    assert [*tokens, last.token] == [1, 2, 3, 5]
    last.release(stuck="half done")
    holders.force_release(ledger, RESOURCE, "put right", "ann")
    assert take(ledger, RESOURCE, "d", "run").token == 6
    taken = ledger.entries(kinds=("lease_taken",))
    assert [entry.facts["token"] for entry in taken] == [1, 2, 3, 4, 5, 6]


def test_other_remediation_is_refused(ledger: Ledger) -> None:
    """While one works on a target nobody else does, and is told who it is."""
    with leases.held(ledger, RESOURCE, "first", "run-1"):
        with pytest.raises(TargetBusy) as refused:
            take(ledger, RESOURCE, "second", "run-2")
        assert refused.value.expected == "nobody else at work on target:demo."
        assert refused.value.found.startswith("remediation first holds it (token 1, process ")
        take(ledger, target_resource("other"), "second", "run-2").release()
    take(ledger, RESOURCE, "second", "run-2").release()


def test_who_waits_gets_it_when_it_is_released(ledger: Ledger) -> None:
    """Waiting ends with the lease, or refused after its time."""
    lease = take(ledger, RESOURCE, "first", "run-1")
    began = time.monotonic()
    with pytest.raises(TargetBusy):
        take(ledger, RESOURCE, "second", "run-2", wait=0.6)
    assert time.monotonic() - began >= 0.6
    lease.release()
    assert take(ledger, RESOURCE, "second", "run-2", wait=30).previous is None


def test_lease_is_released_however_its_block_ends(ledger: Ledger) -> None:
    """A failure under a lease does not leave it taken."""

    def fail() -> None:
        with leases.held(ledger, RESOURCE, "first", "run-1"):
            message = "the change failed"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError):
        fail()
    holder = holder_of(ledger, RESOURCE)
    assert holder is not None
    assert not holder.is_live
    assert [e.kind for e in ledger.entries()] == ["lease_taken", "lease_released"]


def test_lease_is_renewed_while_it_is_held(ledger: Ledger) -> None:
    """A lease gets its seconds again and again while its holder is at work."""
    lease = take(short(ledger, 9), RESOURCE, "first", "run-1")
    first = expiry(ledger)
    give_up = time.monotonic() + 60
    while expiry(ledger) < first + 2:
        assert time.monotonic() < give_up
        time.sleep(0.1)
    lease.insist()
    with pytest.raises(TargetBusy):
        take(ledger, RESOURCE, "second", "run-2")
    lease.release()


def test_expired_lease_is_lost_and_not_renewed(ledger: Ledger) -> None:
    """Who was not renewed in time changes nothing any more, even if nobody took over."""
    lease = forgotten(ledger)
    lease.insist()
    run_out(ledger)
    with pytest.raises(LeaseLost, match="it ran out"):
        lease.insist()
    assert not lease.renew()


def test_lease_taken_over_is_lost(ledger: Ledger) -> None:
    """The one before learns who took over; its release gives nothing away."""
    lease = forgotten(ledger)
    run_out(ledger)
    successor = take(ledger, RESOURCE, "second", "run-2")
    assert successor.previous is not None
    assert successor.previous.token == lease.token
    with pytest.raises(LeaseLost, match="remediation second holds it"):
        lease.insist()
    assert not lease.renew()
    lease.release()
    successor.insist()
    assert not ledger.entries(kinds=("lease_released",))
    assert ledger.entries(kinds=("lease_taken",))[-1].facts["over_from"] == "first"


def test_take_over_kills_a_stopped_predecessor(ledger: Ledger, start_holder: Start) -> None:
    """A holder that was stopped, and could go on any time, is gone when its successor begins."""
    process, token, child = start_holder(600)
    process.send_signal(signal.SIGSTOP)
    with pytest.raises(TargetBusy):
        take(ledger, RESOURCE, "second", "run-2")
    run_out(ledger)
    lease = take(ledger, RESOURCE, "second", "run-2", wait=60)
    assert not is_at_work(process)
    assert not is_at_work(child)
    assert lease.token == token + 1
    assert lease.previous is not None
    assert lease.previous.pid == process.pid


def test_release_by_hand_ends_what_a_lease_left_running(
    ledger: Ledger, start_holder: Start
) -> None:
    """A stopped holder is gone once its lease was released by hand: the next finds no trace."""
    process, _, child = start_holder(600)
    process.send_signal(signal.SIGSTOP)
    run_out(ledger)
    holders.force_release(ledger, RESOURCE, "abandoned", "ann")
    assert not is_at_work(process)
    assert not is_at_work(child)


def test_dead_holder_is_not_waited_for(ledger: Ledger, start_holder: Start) -> None:
    """A holder of this host that is gone, or a zombie that nobody reaped, holds nothing."""
    process, token, _ = start_holder(600)
    process.kill()
    lease = take(ledger, RESOURCE, "second", "run-2", wait=60)
    assert lease.token == token + 1


def test_holder_of_another_host_is_waited_for(ledger: Ledger) -> None:
    """What runs elsewhere cannot be looked at: only its expiry counts, and no process is ended."""
    forgotten(ledger)
    with ledger.writing() as chain:
        chain.connection.execute(LEASES.update().values(host="elsewhere", pid=1, started="another"))
    with pytest.raises(TargetBusy, match="process 1 on elsewhere"):
        take(ledger, RESOURCE, "second", "run-2")
    run_out(ledger)
    assert take(ledger, RESOURCE, "second", "run-2").token == 2


def test_stuck_lease_is_for_its_own_remediation_only(ledger: Ledger) -> None:
    """A marked lease refuses everybody else with the mark; a recovery may go on under it."""
    take(ledger, RESOURCE, "first", "run-1").release(stuck="the old database has no name")
    with pytest.raises(TargetBusy) as refused:
        take(ledger, RESOURCE, "second", "run-2", wait=60)
    assert refused.value.found == "it is marked: the old database has no name"
    assert refused.value.todo == (
        "Put that right, then run: remedy lease release target:demo --reason ..."
    )
    assert take(ledger, RESOURCE, "first", "run-3").token == 2


def test_release_by_hand_needs_a_reason_and_a_holder_that_is_gone(ledger: Ledger) -> None:
    """A person releases a marked or abandoned lease, never one at work, and says why."""
    with pytest.raises(BadInput, match="which was never taken"):
        holders.force_release(ledger, RESOURCE, "because", "ann")
    lease = take(ledger, RESOURCE, "first", "run-1")
    with pytest.raises(TargetBusy, match="a lease whose holder is gone"):
        holders.force_release(ledger, RESOURCE, "because", "ann")
    lease.release(stuck="half done")
    with pytest.raises(BadInput, match="no reason"):
        holders.force_release(ledger, RESOURCE, "  ", "ann")
    holders.force_release(ledger, RESOURCE, "renamed it back", "ann")
    entry = ledger.entries()[-1]
    assert (entry.kind, entry.actor, entry.remediation) == ("lease_released", "ann", "first")
    assert entry.facts["reason"] == "renamed it back"
    assert take(ledger, RESOURCE, "second", "run-2").token == 2


def test_fence_holds_without_the_ledger_until_the_lease_may_be_another_s(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is opened under a lease asks no ledger: it only has to be sure that it was in time."""
    lease = forgotten(ledger)
    lease.insist_fresh()
    assert lease.renew()
    lease.insist_fresh()
    monkeypatch.setattr(leases, "_now", lambda: lease.fresh_until)
    with pytest.raises(LeaseLost, match="it ran out"):
        lease.insist_fresh()


def test_who_lost_a_remediation_records_nothing_more(ledger: Ledger) -> None:
    """A process that comes back after its lease was taken over cannot end the case."""
    stale = forgotten(ledger)
    work = Recorder(ledger, "first", "run-1", stale)
    work.append("failed", {"found": "while it holds the lease"})
    run_out(ledger)
    work.append("failed", {"found": "ran out, but nobody else has it"})
    take(ledger, RESOURCE, "first", "run-2")
    head = ledger.head()
    with pytest.raises(LeaseLost, match="token 2"):
        work.append("ended", {"outcome": "undone", "why": "too late"})
    assert ledger.head() == head


def test_child_that_outlived_its_holder_is_ended(ledger: Ledger) -> None:
    """A program that a killed process had started is known by number and start, and ended."""
    lease = forgotten(ledger)
    left, other = (psutil.Popen(["sleep", "600"]) for _ in range(2))
    try:
        lease.note_child(left.pid, "pg_restore")
        with ledger.writing() as chain:  # a number that another process has by now
            body = {"host": socket.gethostname(), "pid": other.pid, "started": "another boot:1"}
            chain.append("child_started", {**body, "program": "psql"}, remediation="first")
        run_out(ledger)
        successor = take(ledger, RESOURCE, "second", "run-2")
        assert successor.previous is not None
        ended = holders.end_children(ledger, successor.previous)
        assert ended == [f"process {left.pid}, pg_restore"]
        assert not is_at_work(left)
        assert is_at_work(other)
    finally:
        for one in (left, other):
            one.kill()
            one.wait()
