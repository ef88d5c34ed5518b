"""The engine: looks, records, asks, acts, proves, undoes and reports; for every remediation."""

import enum
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from prefect.exceptions import Pause, TerminationSignal

from tasks.guardrails import (
    acting,
    gates,
    proving,
    recording,
    still_approved,
    surface,
    systems,
    undoing,
    watching,
)
from tasks.guardrails.case import Case, StageRecord
from tasks.guardrails.errors import (
    ApprovalExpired,
    ApprovalRefused,
    BadInput,
    LeaseLost,
    LedgerBroken,
    RemediationError,
    TargetBusy,
    UndoFailed,
    WorldMoved,
)
from tasks.guardrails.holders import end_children, is_in_the_middle, target_resource
from tasks.guardrails.leases import Lease, take
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.planner import Planner
from tasks.guardrails.policy import policy_of


class Outcome(enum.StrEnum):
    """How a remediation ended."""

    UNCHANGED = "unchanged"
    PLANNED = "planned"
    ADVISED = "advised"
    REMEDIATED = "remediated"
    UNDONE = "undone"
    REFUSED = "refused"
    EXPIRED = "expired"
    STUCK = "stuck"


@dataclass(frozen=True)
class Ending:
    """The outcome, and why in a sentence."""

    outcome: Outcome
    why: str


# What ends this execution without deciding the case: the reaper goes on from the ledger.
_GOES_ON_ELSEWHERE = (LeaseLost, LedgerBroken)


def carry_out(ledger: Ledger, remediation: str, planner: Planner, run: str, lease: Lease) -> Ending:
    """Carry a recorded remediation out, from wherever the ledger says it stands.

    Args:
        ledger: The record of everything.
        remediation: Id of the remediation, requested before.
        planner: Its planning functions.
        run: Id of the Prefect run at work.
        lease: The remediation's lease, held while this runs.

    Returns:
        How it ended.

    Raises:
        LeaseLost: Somebody else carries it on.
        LedgerBroken: Nothing can be recorded.
        TargetBusy: Earlier stages have acted and the target is taken; the reaper tries again.
    """
    work = recording.Recorder(ledger, remediation, run, lease)
    if work.case.outcome:
        if work.case.of_kind("reported"):
            work.append("woken", {"note": "It has ended before: nothing was done."})
        else:  # its process died in between
            work.report()
        return Ending(Outcome(work.case.outcome), "It has ended before.")
    try:
        ending = _proceed(work, planner)
    except _GOES_ON_ELSEWHERE:
        raise
    except RemediationError as error:
        ending = _give_up(work, error)
    except surface.UNREACHABLE:
        raise  # Prefect does not answer: the reaper goes on when it does
    except Exception as error:
        logging.getLogger(__name__).exception("a defect in %s", work.case.name)
        ending = _give_up(work, _defect(error))
    work.end(ending.outcome, ending.why)
    return ending


def _defect(error: Exception) -> RemediationError:
    return RemediationError(
        expected="a remediation that runs.",
        found=f"{type(error).__name__}: {error}",
        todo="Report this as a defect, with the run's log.",
    )


def _proceed(work: recording.Recorder, planner: Planner) -> Ending:
    """Go through the stages of the plan."""
    if failure := work.case.failure:
        raise failure
    first = work.stage(planner, "")  # 1 look, 2 record
    plan = work.case.plan
    if plan is None or not (plan.changes or plan.later):
        advised = any(finding.patch for finding in first.stage.findings)
        told = [f"{finding.what.rstrip('.')}." for finding in first.stage.findings]
        found = " ".join(told) or "Nothing to do."
        return Ending(Outcome.ADVISED if advised else Outcome.UNCHANGED, found)
    if work.case.request["dry_run"]:  # 3
        return Ending(Outcome.PLANNED, "A dry run ends with its plan; nothing was changed.")
    for name in ("", *(outline.name for outline in plan.later)):
        while not work.is_stage_done(name):
            record = work.stage(planner, name)
            gates.approve(work, record)  # 4
            try:
                _carry_out_stage(work, record)
            except recording.AskAgain as again:
                work.supersede(record, str(again))
    done = work.case.of_kind("stage_done")
    unproved = [one for entry in done for one in entry.facts.get("unproved", ())]
    return Ending(Outcome.REMEDIATED, _how_well(work.case, unproved))


def _how_well(case: Case, unproved: list[str]) -> str:
    if unproved:
        return "Done; unproved: " + "; ".join(unproved)
    if any(record.stage.checks for record in case.stages):
        return "Done and proved."
    return "Done; each change was looked at afterwards. No check from outside belongs to it."


def _carry_out_stage(work: recording.Recorder, record: StageRecord) -> None:
    """Act on a stage that is approved, under the target's lease."""
    with lease_on_target(work) as lease:  # 5
        still_approved.insist_that_it_stands(work, record)  # it may have waited for the lease
        acting.recheck(work, record, lease)  # 6
        try:
            asked_before = proving.ask(work, record, lease, "before")
            with watching.watched(work, record, lease):
                acting.act(work, record, lease)  # 7
            unproved = proving.prove(work, record, lease, asked_before)  # 8
        except (*_GOES_ON_ELSEWHERE, gates.Kept):
            raise
        except RemediationError as error:
            work.append("failed", error.facts())
            undoing.undo(work, lease, automatic=True)  # 9
            raise
        done = {"stage": record.stage.name, "digest": record.digest, "unproved": unproved}
        work.append("stage_done", done)


def _give_up(work: recording.Recorder, error: RemediationError) -> Ending:
    """Take back what earlier stages did, and say how it ends."""
    if isinstance(error, gates.Kept):
        return Ending(Outcome.STUCK, str(error))
    if work.case.has_acted and not isinstance(error, UndoFailed):
        if isinstance(error, TargetBusy):
            raise error
        if work.case.failure is None:  # else this one only came of that
            work.append("failed", error.facts())
        try:
            with lease_on_target(work) as lease:
                undoing.undo(work, lease, automatic=True)
        except gates.Kept as kept:
            return Ending(Outcome.STUCK, str(kept))
        except (UndoFailed, WorldMoved) as failed:
            return Ending(Outcome.STUCK, str(failed))
    if isinstance(error, UndoFailed):
        return Ending(Outcome.STUCK, str(error))
    said_no = isinstance(error, (ApprovalRefused, ApprovalExpired))
    if work.case.has_reverted and not (said_no and not work.case.was_cancelled):
        stays = undoing.titles_that_stay(work.case)
        return Ending(Outcome.UNDONE, f"{error} Stays: {stays}." if stays else str(error))
    if work.case.has_reverted:
        stays = undoing.titles_that_stay(work.case)
        stays = f"; stays: {stays}" if stays else ""
        error.state = f"What earlier stages did was taken back{stays}."
    expired = isinstance(error, ApprovalExpired)
    return Ending(Outcome.EXPIRED if expired else Outcome.REFUSED, str(error))


@contextmanager
def lease_on_target(work: recording.Recorder) -> Iterator[Lease]:
    """Hold the target's lease, with what older tokens still ran ended first.

    The lease is given up however the block ends, also when the run suspends; it stays
    marked when a change could not be taken back.
    """
    case = work.case
    wait = policy_of(work.ledger, case.target).policy.busy_wait_seconds
    lease = take(work.ledger, target_resource(case.target), case.id, work.run, wait)
    stuck = ""
    try:
        system = systems.load(case.target)
        work.insist_on_same_system(system)
        ended = end_children(work.ledger, lease.previous) if lease.previous else []
        ended += system.end_older(lease.token)
        if ended:
            work.append("fenced", {"token": lease.token, "ended": ended})
        with systems.pin(system, lease):
            yield lease
    except UndoFailed as error:
        stuck = str(error)
        raise
    except WorldMoved as error:
        # Until what stands is taken back nobody else may come in between.
        stuck = str(error) if work.case.has_acted else ""
        raise
    except Pause:  # a question in the middle of the act: nobody else may come in between
        stuck = f"remediation {case.id} waits for a decision on how to go on"
        raise
    except TerminationSignal:  # the same, until a recovery goes on
        stopped = f"remediation {case.id} was stopped; its recovery goes on"
        stuck = stopped if is_in_the_middle(work.case) else ""
        raise
    finally:
        lease.release(stuck=stuck)


def case_of(ledger: Ledger, remediation: str) -> Case:
    """Read a case that has to exist.

    Raises:
        BadInput: There is none by that id.
    """
    case = Case.read(ledger, remediation)
    if not case.request:
        raise BadInput(
            expected="the id of a remediation.",
            found=f"{remediation!r}, which the ledger does not know.",
            todo="See `remedy runs`.",
        )
    return case
