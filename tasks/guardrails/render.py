"""What people read in the UI before they decide: the plan, and the text of the form."""

import re
from collections.abc import Iterable, Sequence

from tasks.guardrails.approval import Count, Gate
from tasks.guardrails.case import Case, StageRecord
from tasks.guardrails.plan import Effects, Finding, Stage

_MEGABYTE = 1_000_000
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!])")
_MOST_ROWS = 50


def escape(text: str) -> str:
    """Escape what comes from a target, so that it reads as text and is no markdown or HTML."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def artifact_key(remediation: str, what: str) -> str:
    """Make an artifact's key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9-]+", "-", f"{what}-{remediation}".lower()).strip("-")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table, cut after fifty rows."""
    rows = list(rows)
    lines = ["| " + " | ".join(escape(c) for c in columns) + " |", "|" + " --- |" * len(columns)]
    lines += ["| " + " | ".join(escape(cell) for cell in row) + " |" for row in rows[:_MOST_ROWS]]
    if len(rows) > _MOST_ROWS:
        lines.append(f"\n... and {len(rows) - _MOST_ROWS} more rows.")
    return "\n".join(lines)


def plan(case: Case, record: StageRecord) -> str:
    """Write a stage of a plan as an approver reads it.

    Args:
        case: The remediation.
        record: The stage.

    Returns:
        Markdown.
    """
    stage = record.stage
    parts = [
        f"# {escape(stage.title or stage.name)}",
        _heading(case, record),
        asked_by(case),
    ]
    if record.exceeds:
        parts.append(f"**Beyond its outline:** {escape(record.exceeds)}: a higher risk approves.")
    parts += ["## What was found", *(_finding(finding) for finding in stage.findings)]
    if stage.changes:
        parts += ["## What will be done, in this order", _changes(stage)]
    parts += ["## What it costs", _effects(stage.effects, len(stage.objects))]
    if stage.limits:
        parts += ["## Limits, measured again right before", _limits(stage)]
    if stage.watches:
        parts += ["## Watched meanwhile", *(f"- {escape(w.title)}" for w in stage.watches)]
    if stage.checks:
        parts += ["## Proof afterwards", *(f"- {escape(c.title)}" for c in stage.checks)]
    if stage.notes:
        parts += ["## Notes", *(f"- {escape(note)}" for note in stage.notes)]
    later = getattr(stage, "later", ())
    if later:
        parts += [
            "## Later stages, planned and approved when they are reached",
            table(
                ("stage", "what", "risk", "limits"),
                ((o.name, o.title, o.risk.value, "; ".join(o.limits)) for o in later),
            ),
        ]
    return "\n\n".join(part for part in parts if part)


def _heading(case: Case, record: StageRecord) -> str:
    return (
        f"**{case.name}** on **{escape(case.target)}** · stage `{record.stage.name}` · "
        f"risk **{record.stage.risk}** · remediation `{case.id}` · digest `{record.digest[:16]}`"
    )


def asked_by(case: Case) -> str:
    """Say who asked for a remediation, and why."""
    requester = case.requester
    reason = case.request.get("reason") or "none given"
    known = "" if requester.known else " (not authenticated: one approver more)"
    return f"Asked for by {escape(requester.name)}{known}. Reason: {escape(reason)}"


def _finding(finding: Finding) -> str:
    parts = [f"- {escape(finding.what)} <br><small>seen by: {escape(finding.how)}</small>"]
    if finding.rows:
        parts.append("\n" + table(finding.columns, finding.rows))
    if finding.patch:
        parts.append(f"\n```diff\n{finding.patch.replace('```', '')}\n```")
    return "\n".join(parts)


def _changes(stage: Stage) -> str:
    """List the changes; not as a table, whose wide cells the UI cuts off."""
    undo = {"exact": "exact", "pointless": "stays (no point)", "impossible": "**impossible**"}
    lines = []
    for number, change in enumerate(stage.changes, 1):
        before, after = change.before_and_after
        lines.append(
            f"{number}. **{escape(change.title)}** <br>before: {escape(before)} "
            f"<br>after: {escape(after)} <br>undo: {undo[change.reverts]}"
        )
    return "\n".join(lines)


def _limits(stage: Stage) -> str:
    return "\n".join(
        f"- {escape(limit.title)}: "
        + (f"at most {limit.at_most:,.0f} " if limit.at_most is not None else "")
        + (f"at least {limit.at_least:,.0f} " if limit.at_least is not None else "")
        + escape(limit.unit)
        for limit in stage.limits
    )


def _effects(effects: Effects, objects: int) -> str:
    rows = [
        ("outage", effects.outage),
        ("locks", effects.locks),
        ("duration", effects.duration),
        ("lost", effects.lost),
        ("objects touched", str(objects)),
    ]
    if effects.disk_needed:
        free = "unknown" if effects.disk_free is None else _size(effects.disk_free)
        rows.append(("disk", f"needs {_size(effects.disk_needed)}, free {free}"))
    if effects.undo_until:
        rows.append(("can be undone until", f"{effects.undo_until:%Y-%m-%d %H:%M} UTC"))
    return table(("what", "how much"), rows)


def _size(number: int) -> str:
    return f"{number / _MEGABYTE:,.0f} MB"


def form(case: Case, gate: Gate, stand: Count, note: str, shown: str) -> str:
    """Write the text that Prefect shows with the form.

    Args:
        case: The remediation.
        gate: What is asked.
        stand: How the gate stands.
        note: What came of the last answer; '' for none.
        shown: The plan or the question.

    Returns:
        Markdown.
    """
    parts = [f"**{escape(gate.question)}** {escape(stand.sentence())}"]
    if note:
        parts.append(f"> {escape(note)}")
    parts.append(f"Better, as no code passes Prefect: `remedy approve {case.id}`")
    return "\n\n".join([*parts, shown])


def standing(case: Case) -> str:
    """List what was done and stands."""
    rows = [
        (change.title, "done" if step.done else "begun")
        for record in case.stages
        for change, step in zip(record.stage.changes, case.steps(record), strict=True)
        if step.stands
    ]
    return table(("change", "state"), rows) if rows else "Nothing was changed."
