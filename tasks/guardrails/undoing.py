"""Undoing: every change that was begun, in reverse order, each from its own `before`."""

from tasks.guardrails import acting, draining, faults, gates, surface
from tasks.guardrails.acting import PATIENT, as_step, work_on
from tasks.guardrails.case import Case, StageRecord
from tasks.guardrails.errors import RemediationError, Transient, UndoFailed
from tasks.guardrails.leases import Lease
from tasks.guardrails.plan import Change, Loss, Standing, Work
from tasks.guardrails.recording import Recorder
from tasks.guardrails.undo_change import count_loss


def undo(recorder: Recorder, lease: Lease, *, automatic: bool) -> None:
    """Take back what stands of all stages.

    Args:
        recorder: The case.
        lease: The target's lease.
        automatic: Whether nobody has asked for it: then what would lose what others wrote
            since is asked about first.

    Raises:
        UndoFailed: A change could not be taken back; says what stands how.
        Kept: A person decided to leave things as they stand.
    """
    for record in reversed(recorder.case.stages):
        steps = recorder.case.steps(record)
        for index in reversed(range(len(steps))):
            if steps[index].stands:
                draining.end_here_if_asked()
                change = record.stage.changes[index]
                try:
                    if automatic:  # asked here: a task run cannot suspend
                        _ask_about_loss(recorder, record, lease, index)
                    as_step(
                        f"undo: {change.title}",
                        lambda r=record, i=index: _revert(recorder, r, lease, i),  # type: ignore[misc] # mypy cannot infer a lambda with a default
                        retries=PATIENT,
                    )
                except Transient as error:  # after its retries
                    raise _stands(recorder, change.title, error.found) from error


def titles_that_stay(case: Case) -> str:
    """Name the changes that were done and stay, as taking them back has no point.

    One that builds on what was taken back, as a copy that was filled, went with it.

    Args:
        case: The case, after its undo.

    Returns:
        Their titles; '' where there is none.
    """
    titles: list[str] = []
    for record in case.stages:
        gone: set[str] = set()
        for change, step in zip(record.stage.changes, case.steps(record), strict=True):
            if change.reverts == "exact" or gone.intersection(change.needs):
                gone.add(change.kind)
            elif change.reverts == "pointless" and step.done is not None:
                titles.append(change.title)
    return "; ".join(titles)


def _ask_about_loss(recorder: Recorder, record: StageRecord, lease: Lease, index: int) -> None:
    change = record.stage.changes[index]
    told = work_on(recorder, record, lease, index)
    loss = _counted(change, told)
    if loss is None:
        return
    number, question = _question(recorder, record, index, loss)
    if not gates.ask_person(recorder, record, f"undo-{index}-{number}", question):
        raise gates.Kept(
            expected="a decision on the undo.",
            found="the decision to keep, or none in time.",
            state=f"'{change.title}' stands; nothing before it was taken back.",
            todo=f"When it is to be taken back: remedy undo {recorder.case.id}",
        )


def _counted(change: Change, told: Work) -> Loss | None:
    """Count, as a step that is tried again where the system does not answer."""
    found: list[Loss | None] = []

    def step() -> None:
        stands = change.observe(told).standing is not Standing.BEFORE
        found.append(count_loss(change, told) if stands else None)

    if change.reverts != "exact" or type(change).undo_loss is Change.undo_loss:
        return None
    as_step(f"count what the undo would lose: {change.title}", step, retries=PATIENT)
    return found[-1]


def _question(recorder: Recorder, record: StageRecord, index: int, loss: Loss) -> tuple[int, str]:
    """Give the question about a loss, and its number: anew where more is lost than it says."""
    asked = [
        entry.facts
        for entry in recorder.case.of_kind("loss_counted")
        if (entry.facts["digest"], entry.facts["index"]) == (record.digest, index)
    ]
    if asked and (asked[-1]["at_most"] is None or loss.amount <= asked[-1]["at_most"]):
        return len(asked), str(asked[-1]["question"])
    bound = f" while it loses at most {loss.at_most:,.0f} {loss.unit}" if loss.at_most else ""
    question = (
        f"Undo '{record.stage.changes[index].title}'? {loss.sentence} "
        f"Approve to undo{bound}; refuse to leave it as it is."
    )
    counted = {
        "digest": record.digest,
        "index": index,
        "at_most": loss.at_most,
        "question": question,
    }
    recorder.append("loss_counted", counted)
    return len(asked) + 1, question


def _revert(recorder: Recorder, record: StageRecord, lease: Lease, index: int) -> None:
    change = record.stage.changes[index]
    entry = {"digest": record.digest, "index": index, "title": change.title}
    recorder.lease.insist()
    lease.insist()
    if change.reverts == "pointless":
        faults.point(f"before-revert:{change.kind}")
        try:
            note = _revert_or_say(recorder, record, lease, index)  # clears what is half done
        except (Transient, UndoFailed) as error:  # not worth a lease that stays
            note = f"what was left half done is still there: {error.found}"
        faults.point(f"after-revert:{change.kind}")
        stays = {"seen": "stays: taking it back has no point", "note": note}
        recorder.append("reverted", {**entry, **stays})
        return
    told = work_on(recorder, record, lease, index)
    seen = change.observe(told)
    if seen.standing is not Standing.BEFORE:
        was_done = recorder.case.steps(record)[index].done is not None
        if was_done and seen.standing is Standing.OTHER:
            raise _stands(recorder, change.title, f"somebody changed it since: {seen.detail}")
        if change.reverts == "impossible":
            raise _stands(recorder, change.title, "it cannot be taken back")
        faults.point(f"before-revert:{change.kind}")
        note = _revert_or_say(recorder, record, lease, index)
        faults.point(f"after-revert:{change.kind}")
        seen = change.observe(told)
        if seen.standing is not Standing.BEFORE:
            raise _stands(recorder, change.title, seen.detail)
        entry["note"] = note
    recorder.append("reverted", {**entry, "seen": seen.detail})
    surface.log(f"undone: {change.title}: {seen.detail}")


def _revert_or_say(recorder: Recorder, record: StageRecord, lease: Lease, index: int) -> str:
    change = record.stage.changes[index]
    try:
        return acting.guarded(change.revert, work_on(recorder, record, lease, index)) or ""
    except (UndoFailed, Transient):
        raise
    except RemediationError as error:
        raise _stands(recorder, change.title, error.found) from error


def _stands(recorder: Recorder, title: str, why: str) -> UndoFailed:
    standing = [
        change.title for record in recorder.case.stages for change in recorder.case.standing(record)
    ]
    return UndoFailed(
        expected=f"'{title}' to be taken back.",
        found=f"{why.rstrip('.')}.",
        state=f"These changes stand: {'; '.join(standing)}. The target's lease is marked.",
        todo=(
            "Put it right by hand, then run: remedy lease release "
            f"target:{recorder.case.target} --reason ..."
        ),
    )
