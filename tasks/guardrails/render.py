"""What people read in the UI: the plan, the form's text, and the report."""

import base64
import html
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


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
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
        _asked_by(case),
    ]
    if record.exceeds:
        parts.append(f"**Beyond its outline:** {escape(record.exceeds)}: a higher risk approves.")
    parts += ["## What was found", *(_finding(finding) for finding in stage.findings)]
    if stage.changes:
        parts += ["## What will be done, in this order", _changes(stage)]
    parts += ["## What it costs", _effects(stage.effects, len(stage.objects))]
    if stage.limits:
        parts += ["## Limits, measured again right before", _limits(stage)]
    if stage.checks:
        parts += ["## Proof afterwards", *(f"- {escape(c.title)}" for c in stage.checks)]
    if stage.notes:
        parts += ["## Notes", *(f"- {escape(note)}" for note in stage.notes)]
    later = getattr(stage, "later", ())
    if later:
        parts += [
            "## Later stages, planned and approved when they are reached",
            _table(
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


def _asked_by(case: Case) -> str:
    requester = case.requester
    reason = case.request.get("reason") or "none given"
    known = "" if requester.known else " (not authenticated: one approver more)"
    return f"Asked for by {escape(requester.name)}{known}. Reason: {escape(reason)}"


def _finding(finding: Finding) -> str:
    parts = [f"- {escape(finding.what)} <br><small>seen by: {escape(finding.how)}</small>"]
    if finding.rows:
        parts.append("\n" + _table(finding.columns, finding.rows))
    if finding.patch:
        parts.append(f"\n```diff\n{finding.patch.replace('```', '')}\n```")
    return "\n".join(parts)


def _changes(stage: Stage) -> str:
    undo = {
        "exact": "exact",
        "pointless": "stays (no point)",
        "impossible": "**impossible**",
    }
    return _table(
        ("#", "change", "before", "after", "undo"),
        (
            (str(number), change.title, *change.before_and_after, undo[change.reverts])
            for number, change in enumerate(stage.changes, 1)
        ),
    )


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
    return _table(("what", "how much"), rows)


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
    return _table(("change", "state"), rows) if rows else "Nothing was changed."


_DECISION_HEADS = ("when (UTC)", "who", "decision", "on", "via", "comment")


def _decisions(case: Case, digest: str = "") -> list[tuple[str, ...]]:
    return [
        (
            entry.at[:19],
            entry.facts["approver"],
            entry.facts["decision"],
            entry.facts["gate"],
            entry.facts["via"],
            entry.facts["comment"],
        )
        for entry in case.of_kind("decided")
        if digest in ("", entry.facts["digest"])
    ]


def decisions(case: Case, gate: Gate, how: str) -> str:
    """Write who decided what at a gate that is closed now.

    Args:
        case: The remediation.
        gate: The gate.
        how: 'approved', 'refused' or 'expired'.

    Returns:
        Markdown.
    """
    return "\n\n".join(
        [
            f"# {escape(gate.name)}: {how}",
            escape(gate.question),
            f"Digest `{gate.digest[:16]}`",
            _table(_DECISION_HEADS, _decisions(case, gate.digest)),
        ]
    )


def report(case: Case) -> str:
    """Write the report of a remediation that has ended.

    Args:
        case: The remediation.

    Returns:
        Markdown with plan, decisions, steps and times, proof, and how to undo.
    """
    ended = case.of_kind("ended")[-1]
    parts = [
        f"# {case.name} on {escape(case.target)}: {ended.facts['outcome']}",
        escape(ended.facts["why"]),
        _asked_by(case) + f" Remediation `{case.id}`.",
    ]
    decided = _decisions(case)
    if decided:
        parts += ["## Decisions", _table(_DECISION_HEADS, decided)]
    steps = _steps(case)
    if steps:
        parts += ["## Steps", _timeline(steps), _table(("step", "seconds", "what"), steps)]
    checks = [
        (e.facts["title"], e.facts["phase"], e.facts["verdict"], e.facts["detail"])
        for e in case.of_kind("checked")
    ]
    if checks:
        parts += ["## Proof", _table(("check", "when", "answer", "evidence"), checks)]
    if case.has_acted:
        parts += ["## Undo", f"`remedy undo {case.id}`"]
    for record in case.stages:
        parts.append(
            f"<details><summary>Plan of stage {record.stage.name}</summary>\n\n"
            f"{plan(case, record)}\n\n</details>"
        )
    return "\n\n".join(parts)


def _steps(case: Case) -> list[tuple[str, str, str]]:
    rows = []
    begun_at: dict[tuple[str, int], float] = {}
    for entry in case.of_kind("begun", "done", "reverted"):
        facts = entry.facts
        key = (facts["digest"], facts["index"])
        if entry.kind == "begun":
            begun_at[key] = entry.when.timestamp()
            continue
        taken = entry.when.timestamp() - begun_at.get(key, entry.when.timestamp())
        title = facts["title"] if entry.kind == "done" else f"undo: {facts['title']}"
        note = " ".join(filter(None, (facts["seen"], facts.get("note"))))
        rows.append((title, f"{taken:.1f}", note))
    return rows


def _timeline(steps: Sequence[tuple[str, str, str]]) -> str:
    """Draw the steps' durations as a picture that needs no other file."""
    longest = max(float(seconds) for _, seconds, _ in steps) or 1
    bars = []
    for row, (title, seconds, _) in enumerate(steps):
        width = 2 + 420 * float(seconds) / longest
        y = 6 + row * 24
        bars.append(
            f'<rect x="300" y="{y}" width="{width:.0f}" height="16" fill="#2f6feb"/>'
            f'<text x="292" y="{y + 12}" text-anchor="end">{html.escape(title[:44])}</text>'
            f'<text x="{306 + width:.0f}" y="{y + 12}">{seconds} s</text>'
        )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="800" height="{12 + 24 * len(steps)}" '
        f'font-family="sans-serif" font-size="12">{"".join(bars)}</svg>'
    )
    picture = base64.b64encode(svg.encode()).decode()
    return f"![how long each step took](data:image/svg+xml;base64,{picture})"
