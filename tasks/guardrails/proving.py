"""Proving: checks ask the system from outside, before the act and after it."""

import time

from tasks.guardrails import faults, gates, surface
from tasks.guardrails.acting import as_step, work_on
from tasks.guardrails.case import StageRecord
from tasks.guardrails.errors import CheckFailed, RemediationError
from tasks.guardrails.leases import Lease
from tasks.guardrails.plan import Answer, Check, Verdict
from tasks.guardrails.recording import Recorder

_TRIES = 5
_SECONDS_BETWEEN = 1.5


def ask(recorder: Recorder, record: StageRecord, lease: Lease, phase: str) -> dict[int, Answer]:
    """Ask every check; what was asked before the act is asked only once.

    Args:
        recorder: The case.
        record: The stage.
        lease: The target's lease.
        phase: 'before' or 'after'.

    Returns:
        The answers by the check's index.
    """
    if phase == "before":
        answered = {
            entry.facts["index"]: Answer(Verdict(entry.facts["verdict"]), entry.facts["detail"])
            for entry in recorder.case.of_kind("checked")
            if entry.facts["digest"] == record.digest and entry.facts["phase"] == phase
        }
        if len(answered) == len(record.stage.checks):
            return answered
    answers: dict[int, Answer] = {}
    for index, check in enumerate(record.stage.checks):

        def step(index: int = index) -> None:
            answers[index] = _ask_one(recorder, record, lease, phase, index)

        as_step(f"check {phase}: {check.title}", step)
    return answers


def _ask_one(
    recorder: Recorder, record: StageRecord, lease: Lease, phase: str, index: int
) -> Answer:
    check = record.stage.checks[index]
    # A system needs moments to come back after a change: reconnect, warm up.
    tries = _TRIES if phase == "after" else 1
    for attempt in range(tries):
        faults.point(f"before-check:{check.kind}")
        answer = _answer(check, recorder, record, lease)
        faults.point(f"after-check:{check.kind}")
        if answer.verdict is not Verdict.NOT_HELD or attempt == tries - 1:
            break
        time.sleep(_SECONDS_BETWEEN)
    recorder.append(
        "checked",
        {
            "digest": record.digest,
            "index": index,
            "phase": phase,
            "title": check.title,
            "verdict": answer.verdict.value,
            "detail": answer.detail,
        },
    )
    surface.log(f"{phase}: {check.title}: {answer.verdict.value}. {answer.detail}")
    return answer


def _answer(check: Check, recorder: Recorder, record: StageRecord, lease: Lease) -> Answer:
    try:
        return check.ask(work_on(recorder, record, lease))
    except RemediationError as error:
        return Answer(Verdict.NOT_ASKED, f"could not be asked: {error.found}")


def prove(
    recorder: Recorder, record: StageRecord, lease: Lease, before: dict[int, Answer]
) -> list[str]:
    """Ask every check after the act, and judge the answers.

    Args:
        recorder: The case.
        record: The stage.
        lease: The target's lease.
        before: The answers from before the act.

    Returns:
        What stays unproved, as sentences.

    Raises:
        CheckFailed: A check does not hold, and a person (where it did not hold before either,
            or cannot be asked any more) did not decide to keep what was done.
    """
    unproved = []
    for index, answer in ask(recorder, record, lease, "after").items():
        title = record.stage.checks[index].title
        earlier = before[index].verdict
        if answer.verdict is Verdict.HELD:
            continue
        if answer.verdict is Verdict.NOT_ASKED and earlier is Verdict.NOT_ASKED:
            unproved.append(f"{title} ({answer.detail})")
            continue
        failed_newly = answer.verdict is Verdict.NOT_HELD and earlier is not Verdict.NOT_HELD
        if failed_newly or not gates.ask_person(
            recorder,
            record,
            f"unproved-{index}",
            f"'{title}' is not proved: {answer.detail} Before the act: {before[index].detail} "
            "Approve to keep what was done; refuse to undo it.",
        ):
            raise CheckFailed(
                expected=f"{title}.",
                found=answer.detail,
                state="What this stage did is taken back now.",
                todo="Look at the system with this answer in mind.",
            )
        unproved.append(f"{title} ({answer.detail}; kept by a person's decision)")
    return unproved
