"""Gates: where a run waits for people, and goes on only by what the ledger says."""

import time

from prefect.exceptions import Pause

from tasks.guardrails import faults, notify, render, report, standing, still_approved, surface
from tasks.guardrails.approval import UI, Count, Gate, count, decide, stage_gate
from tasks.guardrails.case import StageRecord
from tasks.guardrails.errors import (
    ApprovalExpired,
    ApprovalRefused,
    PreconditionFailed,
    RemediationError,
)
from tasks.guardrails.plan import digest_of
from tasks.guardrails.recording import Recorder
from tasks.guardrails.words import moment

_FORCED = "The run was resumed without a decision; that decides nothing."


class Kept(RemediationError):
    """A person decided to leave things as they stand."""

    kind = "kept"


def approve(work: Recorder, record: StageRecord) -> None:
    """Wait until as many have approved a stage as its risk asks for.

    Args:
        work: The case.
        record: The stage as it was recorded and shown.

    Raises:
        ApprovalRefused: An approver said no.
        ApprovalExpired: Nobody decided in time.
        PreconditionFailed: The run was not started from a deployment, so it cannot wait.
    """
    gate = stage_gate(record)
    stand = count(work.ledger, work.case, gate)
    is_asked = stand.waits and not stand.approved_by
    note = standing.cover(work.ledger, work.case, record, work.append) if is_asked else ""
    _pass(work, gate, note=note)
    still_approved.insist_that_it_is_recent(work, record)


def ask_person(work: Recorder, record: StageRecord, topic: str, question: str) -> bool:
    """Ask an approver how to go on; the question stays as it was first asked.

    Args:
        work: The case.
        record: The stage it is about.
        topic: What is asked, in a word: 'undo', 'unproved', 'repeat-2'.
        question: The question with its figures; 'approve' must be an answer to it.

    Returns:
        True for 'approve', False for 'refuse'.

    Raises:
        Kept: Nobody answered in time: things are left as they stand.
    """
    name = f"{record.stage.name}/{topic}"
    asked = [
        entry.facts
        for entry in work.case.of_kind("gate_opened")
        if entry.facts["gate"] == name and entry.facts["stage_digest"] == record.digest
    ]
    if asked:
        question, digest = asked[-1]["question"], asked[-1]["digest"]
    else:
        digest = digest_of([record.digest, topic, question])
    gate = Gate(name, digest, record.stage.risk, question, at_least=1)
    try:
        _pass(work, gate, record.digest)
    except ApprovalRefused:
        return False
    except ApprovalExpired as error:
        raise Kept(
            expected=f"an answer: {question}",
            found=error.found,
            state="Things are left as they stand; no answer undoes nothing.",
            todo=f"Look at it with `remedy show {work.case.id}`; to take it back: "
            f"remedy undo {work.case.id}",
        ) from error
    return True


def _pass(work: Recorder, gate: Gate, stage_digest: str = "", note: str = "") -> None:
    """Go through a gate, or suspend the run before it."""
    while True:
        stand = count(work.ledger, work.case, gate)
        _open(work, gate, stand, stage_digest, note)
        stand = count(work.ledger, work.case, gate)
        if stand.refused_by:
            _close(work, gate, "refused")
            raise ApprovalRefused(
                expected=f"approval of {gate.name}.",
                found=f"{stand.refused_by} refused: {stand.refused_because or 'no reason given'}.",
                todo="Talk to them; start again with another plan.",
            )
        if not stand.is_open:
            _close(work, gate, "approved")
            return
        if not stand.waits:
            _close(work, gate, "expired")
            raise ApprovalExpired(
                expected=f"approval of {gate.name} ({stand.needed} needed) by "
                f"{moment(stand.expires)}.",
                found=stand.sentence(),
                todo="Start the remediation again when an approver is there.",
            )
        note = _suspend(work, gate, stand, note)


def _open(work: Recorder, gate: Gate, stand: Count, stage_digest: str, note: str) -> None:
    waiting = work.case.open_gate
    is_asked = waiting is not None and waiting.facts["digest"] == gate.digest
    if waiting is not None and not is_asked:  # of a plan that was given up
        facts = {"gate": waiting.facts["gate"], "digest": waiting.facts["digest"]}
        work.append("gate_closed", {**facts, "how": "superseded"})
    if is_asked or stand.standing or not stand.needed:
        return
    was_open = any(e.facts["digest"] == gate.digest for e in work.case.of_kind("gate_opened"))
    if was_open and not stand.waits:  # else one who had approved was revoked since: ask anew
        return
    _insist_that_it_can_wait()
    work.append(
        "gate_opened",
        {
            "gate": gate.name,
            "digest": gate.digest,
            "stage_digest": stage_digest or gate.digest,
            "risk": gate.risk.value,
            "question": gate.question,
            "at_least": gate.at_least,
            "needed": stand.needed,
            "note": note,
        },
    )
    case = work.case
    notify.tell(
        work.ledger.config,
        "waiting",
        case,
        f"{case.name} on {case.target} waits for approval. {gate.question} "
        f"Run: remedy approve {case.id}",
    )


def _insist_that_it_can_wait() -> None:
    run = surface.flow_run()
    if run is None or run.deployment_id is None or run.parent_task_run_id is not None:
        raise PreconditionFailed(
            expected="a run started from its deployment, which can wait for approval.",
            found="a flow that was called directly or from another flow.",
            todo="Start it in the Prefect UI or with `remedy run`.",
        )


def _close(work: Recorder, gate: Gate, how: str) -> None:
    waiting = work.case.open_gate
    if waiting is not None and waiting.facts["digest"] == gate.digest:
        work.append("gate_closed", {"gate": gate.name, "digest": gate.digest, "how": how})
        surface.show_beside(
            render.artifact_key(work.case.id, f"decision-{gate.name}"),
            report.decisions(work.case, gate, how),
            f"Decision on {gate.name}: {how}",
        )


def _suspend(work: Recorder, gate: Gate, stand: Count, note: str) -> str:
    """Suspend; when the run is back, judge what was typed, and give a note for the next time."""
    answered = [
        entry
        for entry in work.case.of_kind("gate_answered")
        if entry.facts["digest"] == gate.digest
    ]
    opened = work.case.open_gate
    why = str(opened.facts.get("note", "")) if opened else ""
    if answered:
        note = answered[-1].facts["note"]
    note = " ".join(dict.fromkeys(filter(None, (why, note))))
    key = f"{gate.digest[:16]}-{len(answered)}"
    asked = [entry for entry in work.case.of_kind("gate_asked") if entry.facts["key"] == key]
    if not any(entry.run == work.run for entry in asked):
        work.append("gate_asked", {"gate": gate.name, "digest": gate.digest, "key": key})
    faults.point("suspend")
    try:
        typed = surface.wait_for_decision(
            key,
            render.form(work.case, gate, stand, note),
            max(1, int(stand.expires.timestamp() - time.time())),
        )
    except Pause:
        if any(entry.run == work.run for entry in asked):
            work.append("woken", {"gate": gate.name, "digest": gate.digest, "note": _FORCED})
        raise
    faults.point("resumed")
    if typed is None:
        note = _FORCED
    elif typed.decision.approver == surface.SEE_THE_LEDGER:
        since = answered[-1].seq if answered else 0
        is_decided = any(
            entry.facts["digest"] == gate.digest and entry.seq > since
            for entry in work.case.of_kind("decided")
        )
        note = "" if is_decided else _FORCED
    else:
        note = _judge(work, gate, typed)
    work.append("gate_answered", {"gate": gate.name, "digest": gate.digest, "note": note})
    return note


def _judge(work: Recorder, gate: Gate, typed: surface.Typed) -> str:
    said = typed.decision
    try:
        decide(
            work.ledger,
            work.case,
            gate,
            approver=said.approver,
            code=said.code,
            decision=said.decision,
            comment=said.comment,
            source=UI,
            at=typed.at,
        )
    except ApprovalExpired:
        return "The decision came after the gate's time."
    except RemediationError as error:
        return f"The last decision does not count: {error.found} {error.todo}"
    return ""
