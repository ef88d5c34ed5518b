"""Acting: look again, then carry the changes out in order, each as a task run."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.guardrails import draining, faults, gates, surface
from tasks.guardrails.case import StageRecord, Step
from tasks.guardrails.errors import RemediationError, Transient, WorldMoved
from tasks.guardrails.leases import Lease
from tasks.guardrails.plan import Change, Limit, Observed, Standing, Work
from tasks.guardrails.probe import is_transient
from tasks.guardrails.recording import AskAgain, Recorder

_UNDERWAY_SECONDS = 6 * 3600
_POLL_SECONDS = 1.0


def work_on(recorder: Recorder, record: StageRecord, lease: Lease, index: int = -1) -> Work:
    """Make what a change, check or limit is told.

    Args:
        recorder: The case.
        record: The stage.
        lease: The target's lease.
        index: Index of the change; -1 for a check or a limit.

    Returns:
        The work, with the time at which the change was begun.
    """
    case = recorder.case  # read once: each time it is the ledger that is asked
    begun = case.steps(record)[index].begun if index >= 0 else None
    return Work(
        target=case.target,
        remediation=case.id,
        token=lease.token,
        begun_at=begun.when if begun else None,
        measured=case.measured(record),
    )


def recheck(recorder: Recorder, record: StageRecord, lease: Lease) -> None:
    """Look at every change again, and measure every limit, right before the act.

    Raises:
        WorldMoved: Something stands in another way than planned.
        AskAgain: An amount lies beyond its limit and nothing was begun: ask with the new one.
    """
    steps = recorder.case.steps(record)
    if not any(step.begun for step in steps):
        _measure_limits(recorder, record, lease)
    for index, change in enumerate(record.stage.changes):
        if (change.needs and not steps[index].begun) or _is_built_upon(steps, index):
            continue
        seen = change.observe(work_on(recorder, record, lease, index))
        if seen.standing is Standing.OTHER:
            raise _moved(change, seen)


def _is_built_upon(steps: list[Step], index: int) -> bool:
    """Say whether a later change has begun: then this one is done, and may look otherwise."""
    return steps[index].done is not None and any(step.begun for step in steps[index + 1 :])


def _measure_limits(recorder: Recorder, record: StageRecord, lease: Lease) -> None:
    for limit in record.stage.limits:
        if beyond := _beyond(recorder, record, lease, limit):
            raise AskAgain(beyond)


def _beyond(recorder: Recorder, record: StageRecord, lease: Lease, limit: Limit) -> str:
    """Measure a limit; say how it is exceeded, '' where it is not."""
    amount = limit.measure(work_on(recorder, record, lease))
    known = amount if math.isfinite(amount) else None
    recorder.append("measured", {"digest": record.digest, "limit": limit.title, "amount": known})
    if not limit.exceeded(amount):
        return ""
    bound = limit.at_most if limit.at_most is not None else limit.at_least
    return f"{limit.title}: {amount:,.0f} {limit.unit} now, approved were {bound:,.0f}"


def _insist_on_guards(
    recorder: Recorder, record: StageRecord, lease: Lease, change: Change
) -> None:
    """Measure what guards a change once more: hours may lie between the stage's start and it."""
    for limit in record.stage.limits:
        if limit.guards == change.kind and (beyond := _beyond(recorder, record, lease, limit)):
            raise WorldMoved(
                expected=f"'{change.title}' within what was approved.",
                found=f"{beyond}.",
                state="This change was not begun; what was begun before it is taken back.",
                todo="Start the remediation again, with the new amount in its plan.",
            )


def _moved(change: Change, seen: Observed) -> WorldMoved:
    before, after = change.before_and_after
    return WorldMoved(
        expected=f"'{change.title}' to start from: {before}, or to stand at: {after}.",
        found=seen.detail,
        state="This change was not begun.",
        todo="Find out who changed it, then start the remediation again.",
    )


def act(recorder: Recorder, record: StageRecord, lease: Lease) -> None:
    """Carry the changes out in order.

    Raises:
        RemediationError: A change failed for good; what was begun stands in the ledger.
    """
    for index, change in enumerate(record.stage.changes):
        if _is_built_upon(recorder.case.steps(record), index):
            continue
        draining.end_here_if_asked()
        step = partial(_carry_out, recorder, record, lease, index)
        if not change.at_most_once:
            as_step(change.title, step)
            continue
        while True:
            _ask_whether_done(recorder, record, lease, index)  # here: a task run cannot suspend
            try:
                as_step(change.title, step, retries=0)
                break
            except Transient as error:
                surface.log(f"{change.title}: nobody knows whether it was done: {error.found}")


PATIENT = 4  # retries of what would be left half undone: an engine that restarts takes its time


def as_step(title: str, step: Callable[[], None], retries: int = 3) -> None:
    """Run a step as a task run with a readable name, retried only on `Transient`."""
    task(
        name="change",
        task_run_name=lambda: title,  # not a template: titles may hold braces
        retries=retries,
        retry_delay_seconds=[1, 3, 10, 30],
        retry_jitter_factor=0.5,
        retry_condition_fn=is_transient,
        cache_policy=NO_CACHE,
        persist_result=False,
    )(step)()


def _carry_out(recorder: Recorder, record: StageRecord, lease: Lease, index: int) -> None:
    """Observe, begin, apply, observe, done: of one change."""
    change = record.stage.changes[index]
    recorder.lease.insist()
    lease.insist()
    seen = _settled(recorder, record, lease, index)
    begun = recorder.case.steps(record)[index].begun
    entry = {"digest": record.digest, "index": index, "title": change.title}
    if seen.standing is Standing.OTHER:
        raise _moved(change, seen)
    if seen.standing is not Standing.AFTER:
        if seen.standing is Standing.BEFORE or not begun:
            _insist_on_guards(recorder, record, lease, change)
        if recorder.case.steps(record)[index].done and change.at_most_once:
            return
        if not begun or change.at_most_once:  # each attempt of such a one is asked about
            recorder.append("begun", {**entry, "kind": change.kind, "seen": seen.detail})
        # The last look at the ledger: from here on the change finishes without it.
        told = replace(
            work_on(recorder, record, lease, index), progress=surface.progress(change.title)
        )
        faults.point(f"before-apply:{change.kind}")
        note = guarded(change.apply, told) or ""
        faults.point(f"after-apply:{change.kind}")
        seen = _settled(recorder, record, lease, index)
        if seen.standing is not Standing.AFTER:
            raise WorldMoved(
                expected=f"'{change.title}' to have led to: {change.before_and_after[1]}.",
                found=seen.detail,
                state="The change was begun; it is taken back now.",
                todo="Read the run's log for what the system answered.",
            )
        recorder.append("done", {**entry, "seen": seen.detail, "note": note})
    elif not recorder.case.steps(record)[index].done:
        if not begun:
            recorder.append("skipped", {**entry, "seen": seen.detail})
        else:
            recorder.append("done", {**entry, "seen": seen.detail})
    surface.log(f"{change.title}: {seen.detail}")


def guarded(step: Callable[[Work], str | None], told: Work) -> str | None:
    """Run apply or revert; what it does not foresee becomes an error that is undone."""
    try:
        return step(told)
    except RemediationError:
        raise
    except Exception as error:
        raise RemediationError(
            expected="the change to go through.",
            found=f"{type(error).__name__}: {error}",
            state="The change was begun; it is taken back now.",
            todo="Report this as a defect, with the run's log.",
        ) from error


def _settled(recorder: Recorder, record: StageRecord, lease: Lease, index: int) -> Observed:
    """Observe a change, waiting while what an earlier execution started still runs."""
    change = record.stage.changes[index]
    give_up = time.monotonic() + _UNDERWAY_SECONDS
    while True:
        seen = change.observe(work_on(recorder, record, lease, index))
        if seen.standing is not Standing.UNDERWAY:
            return seen
        if time.monotonic() > give_up:
            raise Transient(
                expected=f"'{change.title}' to end.",
                found=f"underway for {_UNDERWAY_SECONDS / 3600:g} hours: {seen.detail}",
                todo="Look at what it does on the target.",
            )
        time.sleep(_POLL_SECONDS)
        lease.insist()


def _ask_whether_done(recorder: Recorder, record: StageRecord, lease: Lease, index: int) -> None:
    """Ask about a change that leaves nothing to see, where an attempt at it had no clear end."""
    change = record.stage.changes[index]
    step = recorder.case.steps(record)[index]
    seen = change.observe(work_on(recorder, record, lease, index))
    if step.begun is None or step.done or seen.standing is Standing.AFTER:
        return
    attempts = sum(
        (entry.facts["digest"], entry.facts["index"]) == (record.digest, index)
        for entry in recorder.case.of_kind("begun")
    )
    if gates.ask_person(
        recorder,
        record,
        f"repeat-{index}-{attempts}",
        f"'{change.title}' was begun, and whether it was done is not known. Approve if it was "
        "done; refuse to do it again.",
    ):
        entry = {"digest": record.digest, "index": index, "title": change.title}
        recorder.append("done", {**entry, "seen": "a person says that it was done"})
