"""The undo of an earlier remediation: itself a plan, made from what the ledger says."""

from tasks.guardrails.case import Case
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import (
    Change,
    Check,
    Effects,
    Finding,
    Limit,
    Loss,
    Plan,
    Risk,
    Verdict,
    Work,
)
from tasks.guardrails.undo_change import UndoChange, UndoLoss, count_loss
from tasks.guardrails.words import counted

UNDO = "undo_remediation"


def plan_undo(ledger: Ledger, remediation: str, target: str, own_id: str) -> Plan:
    """Plan the undo of an earlier remediation from what the ledger and the world say.

    Args:
        ledger: The ledger.
        remediation: Id of the remediation to undo.
        target: Its target.
        own_id: Id of the undo itself.

    Returns:
        The reverts in reverse order, with what they would lose now.

    Raises:
        PreconditionFailed: There is nothing to undo, a later remediation touched the same
            objects, or a change cannot be taken back.
    """
    case = Case.read(ledger, remediation)
    _insist_that_it_can_be_undone(ledger, case, target, own_id)
    changes: list[Change] = []
    losses: list[Loss] = []
    limits: list[Limit] = []
    findings: list[Finding] = []
    outages: list[str] = []
    risk = Risk.HARMLESS
    for record in reversed(case.stages):
        for change in reversed(case.standing(record)):
            if change.reverts == "pointless":
                findings.append(
                    Finding(what=f"'{change.title}' stays: no point in undoing it.", how="ledger")
                )
                continue
            if change.reverts == "impossible":
                raise PreconditionFailed(
                    expected="changes that can be taken back.",
                    found=f"'{change.title}' cannot be.",
                    todo="Restore by hand what it removed, or leave it.",
                )
            risk = max(risk, record.stage.risk, key=list(Risk).index)
            work = Work(target=target, remediation=remediation, measured=case.measured(record))
            if loss := count_loss(change, work):
                losses.append(loss)
            if type(change).undo_loss is not Change.undo_loss:
                limits.append(
                    UndoLoss(
                        original=change,
                        original_remediation=remediation,
                        at_most=loss.at_most if loss else 0,
                        unit=loss.unit if loss else "",
                        # Where nothing was lost, what is written in the undo's own seconds is
                        # kept with what it replaces, and stops no undo halfway.
                        guards=UndoChange.kind if loss else "",
                    )
                )
            changes.append(UndoChange(original=change, original_remediation=remediation))
            if record.stage.effects.outage != Effects().outage:
                outages.append(record.stage.effects.outage)
    checks, notes = _claims(case)
    return Plan(
        name="undo",
        title=f"Undo {case.name} ({remediation}) on {target}",
        risk=Risk.DESTRUCTIVE if losses else risk,
        findings=(
            Finding(
                what=f"{case.name} ended as {case.outcome}; "
                f"what stands of it: {counted(len(changes), 'change')}.",
                how=f"ledger, remediation {remediation}",
            ),
            *findings,
        ),
        changes=tuple(_in_turn(changes)),
        checks=checks,
        notes=notes,
        watches=tuple(dict.fromkeys(w for record in case.stages for w in record.stage.watches)),
        limits=tuple(limits),
        effects=Effects(
            lost=" ".join(loss.sentence for loss in losses) or "nothing",
            outage="; ".join(dict.fromkeys(outages)) or "none",
        ),
    )


def _claims(case: Case) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """Give what held before the remediation and has to hold again, and a note on what did not."""
    earlier: list[tuple[Check, str]] = []
    for record in case.stages:
        for entry in case.of_kind("checked"):
            facts = entry.facts
            if (facts["digest"], facts["phase"]) != (record.digest, "before"):
                continue
            check = record.stage.checks[facts["index"]]
            if all(check != other for other, _ in earlier):
                earlier.append((check, facts["verdict"]))
    held = tuple(check for check, verdict in earlier if verdict == Verdict.HELD)
    others = [check.title for check, verdict in earlier if verdict != Verdict.HELD]
    if not others:
        return held, ()
    note = f"not asked afterwards, as it did not hold before {case.name}: {'; '.join(others)}"
    return held, (note,)


def undone_by(ledger: Ledger, remediation: str) -> str:
    """Give the id of the remediation that undid this one, '' where none did."""
    for entry in ledger.entries(kinds=("requested",)):
        facts = entry.facts
        is_its_undo = (facts["name"], facts["parameters"].get("remediation")) == (UNDO, remediation)
        if is_its_undo and Case.read(ledger, entry.remediation).outcome == "remediated":
            return entry.remediation
    return ""


def _is_settled_undo(ledger: Ledger, later: Case, remediation: str) -> bool:
    """Say whether a later one only took back this remediation, or one that is undone by it."""
    undid = str(later.request["parameters"].get("remediation", ""))
    return later.name == UNDO and (undid == remediation or bool(undone_by(ledger, undid)))


def _in_turn(changes: list[Change]) -> list[Change]:
    """Let all but the first be looked at in their turn only: they build on one another."""
    kind = UndoChange.kind
    return [
        change if index == 0 else change.model_copy(update={"needs": (kind,)})
        for index, change in enumerate(changes)
    ]


def _insist_that_it_can_be_undone(ledger: Ledger, case: Case, target: str, own_id: str) -> None:
    if not case.request or case.target != target or not case.outcome or not case.has_acted:
        found = (
            "unknown to the ledger"
            if not case.request
            else f"on target {case.target}"
            if case.target != target
            else "not ended yet"
            if not case.outcome
            else f"ended as {case.outcome}, with nothing that stands"
        )
        raise PreconditionFailed(
            expected=f"a remediation on {target} that has ended and whose changes stand.",
            found=f"{case.id} is {found}.",
            todo="See `remedy runs`.",
        )
    if undo := undone_by(ledger, case.id):
        raise PreconditionFailed(
            expected="a remediation that was not undone yet.",
            found=f"{case.id} was undone by {undo}.",
            todo=f"To have it again, start {case.name} again.",
        )
    touched = {name for record in case.stages for name in record.stage.objects}
    begun = ledger.entries(kinds=("begun",), after=case.of_kind("begun")[0].seq)
    for other in dict.fromkeys(entry.remediation for entry in begun):
        later = Case.read(ledger, other)
        if later.target != target or other in {case.id, own_id} or not later.has_acted:
            continue
        if undone_by(ledger, other) or _is_settled_undo(ledger, later, case.id):
            continue
        both = touched & {n for record in later.stages for n in record.stage.objects}
        if both:
            raise PreconditionFailed(
                expected=f"nothing done since to what {case.id} touched.",
                found=f"{later.name} ({other}) touched {', '.join(sorted(both))} later.",
                todo=f"Undo that one first: remedy undo {other}"
                if later.can_be_undone
                else "Nothing: what that one did cannot be taken back.",
            )
