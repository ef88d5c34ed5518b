"""What people read in the UI before they decide: the plan, and the text of the form."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest
from textwrap import indent

from tasks.guardrails.approval import Count, Gate
from tasks.guardrails.case import Case, StageRecord
from tasks.guardrails.pictures import picture
from tasks.guardrails.plan import Finding, Limit, Plan, Risk, Stage
from tasks.guardrails.words import counted, moment

_MEGABYTE = 1_000_000
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!])")
_MOST_ROWS = 50
_WIDEST_TABLE = 72  # characters of a line: what Prefect's artifact page shows uncut
_UNDO = {"exact": "exact", "pointless": "stays (no point)", "impossible": "**impossible**"}
_FOREMOST = ("Lost", "Outage", "Can be undone")


def escape(text: str) -> str:
    """Escape what comes from a target, so that it reads as text and is no markdown or HTML."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def artifact_key(remediation: str, what: str) -> str:
    """Make an artifact's key: lower-case letters, digits and dashes."""
    return re.sub(r"[^a-z0-9-]+", "-", f"{what}-{remediation}".lower()).strip("-")


def evidence(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write rows, cut after fifty: as a table if it is narrow, else as a list.

    Args:
        columns: What stands in each column.
        rows: The rows.

    Returns:
        Markdown.
    """
    rows = list(rows)
    shown = [columns, *rows[:_MOST_ROWS]]
    widths = [max(map(len, column)) for column in zip_longest(*shown, fillvalue="")]
    is_narrow = sum(widths) + 3 * len(widths) + 1 <= _WIDEST_TABLE
    lines = _table(shown) if is_narrow else [_entry(columns, row) for row in shown[1:]]
    if len(rows) > _MOST_ROWS:
        lines.append(f"\n... and {counted(len(rows) - _MOST_ROWS, 'more row')}.")
    return "\n".join(lines)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    head, *others = ["| " + " | ".join(map(escape, row)) + " |" for row in rows]
    return [head, "|" + " --- |" * len(rows[0]), *others]


def _entry(columns: Sequence[str], row: Sequence[str]) -> str:
    cells = zip_longest(columns[1:], row[1:], fillvalue="")
    named = [f" · {escape(name)}: {escape(cell)}" for name, cell in cells if cell]
    return f"- **{escape(row[0])}**{''.join(named)}"


def plan(case: Case, record: StageRecord, level: int = 1) -> str:
    """Write a stage of a plan, what decides first and what was found last.

    Args:
        case: The remediation.
        record: The stage.
        level: Level of its heading.

    Returns:
        Markdown.
    """
    stage = record.stage
    head = "#" * level
    parts = [f"{head} {escape(stage.title or stage.name)}", _heading(case, record)]
    if record.exceeds:
        parts.append(f"{_beyond(record)}: a higher risk approves.")
    parts.append(asked_by(case))
    sections = (
        ("What it costs", (f"- {cost}" for cost in _costs(stage))),
        ("What will be done, in this order", _changes(stage)),
        ("Limits, measured again right before", map(_limit, stage.limits)),
        ("Watched meanwhile", (f"- {escape(watch.title)}" for watch in stage.watches)),
        ("Proof afterwards", (f"- {escape(check.title)}" for check in stage.checks)),
        ("Notes", (f"- {escape(note)}" for note in stage.notes)),
        ("Later stages, planned and approved when they are reached", _later(stage)),
        ("What was found", map(_finding, stage.findings)),
    )
    for title, lines in sections:
        if text := "\n".join(lines):
            parts += [f"{head}# {title}", text]
    return "\n\n".join(parts)


def _heading(case: Case, record: StageRecord) -> str:
    return (
        f"**{escape(case.name)}** on **{escape(case.target)}** · stage `{record.stage.name}` · "
        f"risk **{record.stage.risk}** · remediation `{case.id}` · digest `{record.digest[:16]}`"
    )


def _beyond(record: StageRecord) -> str:
    return f"**Beyond its outline:** {escape(record.exceeds)}"


def asked_by(case: Case) -> str:
    """Say who asked for a remediation, and why."""
    requester = case.requester
    reason = case.request.get("reason") or "none given"
    known = "" if requester.known else " (not authenticated: one approver more)"
    return f"Asked for by {escape(requester.name)}{known}. Reason: {escape(reason)}"


def _finding(finding: Finding) -> str:
    parts = [f"- {escape(finding.what)} <br>seen by: {escape(finding.how)}"]
    if finding.rows:
        parts.append(evidence(finding.columns, finding.rows))
    if finding.picture:
        parts.append(picture("what was measured", finding.picture))
    if finding.patch:
        parts.append(f"```diff\n{finding.patch.replace('```', '')}\n```")
    return indent("\n\n".join(parts), "  ").removeprefix("  ") + ("\n" if parts[1:] else "")


def _changes(stage: Stage) -> Iterator[str]:
    for number, change in enumerate(stage.changes, 1):
        before, after = change.before_and_after
        yield (
            f"{number}. **{escape(change.title)}** <br>before: {escape(before)} "
            f"<br>after: {escape(after)} <br>undo: {_UNDO[change.reverts]}{escape(change.but)}"
        )


def _limit(limit: Limit) -> str:
    bounds = (("at most", limit.at_most), ("at least", limit.at_least))
    said = [f"{word} {_amount(one, limit.unit)}" for word, one in bounds if one is not None]
    return f"- {escape(limit.title)}: {', '.join(said)}"


def _amount(number: float, unit: str) -> str:
    return _size(number) if unit == "bytes" else f"{number:,.0f} {escape(unit)}"


def _later(stage: Stage) -> Iterator[str]:
    for one in stage.later if isinstance(stage, Plan) else ():
        limits = "".join(f"; {escape(limit)}" for limit in one.limits)
        yield f"- {escape(one.title)}: risk **{one.risk}**{limits}"


def _costs(stage: Stage, *names: str) -> Iterator[str]:
    """Say what a stage costs: of these names, or all."""
    effects = stage.effects
    costs = {"Lost": effects.lost, "Outage": effects.outage, "Can be undone": _undo(stage)}
    costs |= {"Locks": effects.locks, "Duration": effects.duration}
    if effects.disk_needed:
        free = "unknown" if effects.disk_free is None else _size(effects.disk_free)
        costs["Disk"] = f"needs {_size(effects.disk_needed)}, free {free}"
    costs["Objects touched"] = str(len(stage.objects))
    for name, cost in costs.items():
        if cost and name in (names or costs):
            yield f"**{name}:** {escape(cost)}"


def _undo(stage: Stage) -> str:
    """Say what of a stage can be taken back, and until when; '' where it changes nothing."""
    every = [change.title for change in stage.changes]
    lasting = [change.title for change in stage.changes if change.reverts == "impossible"]
    until = stage.effects.undo_until
    if lasting:
        return "NO" if lasting == every else f"NOT {'; '.join(lasting)}"
    but = "".join(dict.fromkeys(change.but for change in stage.changes))
    if until:
        return f"until {moment(until)}{but}"
    return f"yes{but}" if stage.changes else ""


def _size(number: float) -> str:
    return f"{number / _MEGABYTE:,.0f} MB"


def form(case: Case, gate: Gate, stand: Count, note: str) -> str:
    """Write the text that Prefect shows with the form, which shows its first five lines.

    Args:
        case: The remediation.
        gate: What is asked.
        stand: How the gate stands.
        note: What came of the last answer; '' for none.

    Returns:
        Markdown: a digest of the stage, or a question with what stands now.
    """
    record = next((one for one in case.stages if one.digest == gate.digest), None)
    by = f" ({escape(', '.join(stand.approved_by))})" if stand.approved_by else ""
    approvals = f"{len(stand.approved_by)} of {counted(stand.needed, 'approval')}{by}"
    if record:
        stage = record.stage
        lines = [
            f"**{escape(stage.title or stage.name)}?**",
            f"Risk **{stage.risk}** · {approvals}",
        ]
        lines += [f"{_beyond(record)}; approved as {gate.risk}"] if record.exceeds else []
        lines += _costs(stage, *_FOREMOST)
    else:
        lines = [f"**{escape(gate.question)}**", f"Risk **{gate.risk}** · {approvals}"]
    if note:  # first: who typed a wrong code has to see why nothing came of it
        lines.insert(0, f"**{escape(note)}**")
    parts = ["<br>".join(lines)]
    better = (
        "It is destructive: unless the policy says otherwise an approval counts only by"
        if gate.risk is Risk.DESTRUCTIVE
        else "Better, as no code passes Prefect:"
    )
    parts.append(f"{better} `remedy approve {case.id} --as NAME`")
    parts += _details(case, record) if record else [standing(case)]
    parts.append(
        f"{escape(case.name)} on **{escape(case.target)}**, waits until {moment(stand.expires)}."
        f"<br>{asked_by(case)}"
    )
    return "\n\n".join(parts)


def _details(case: Case, record: StageRecord) -> Iterator[str]:
    stage = record.stage
    groups = (
        ("Will be done", (f"1. {escape(change.title)}" for change in stage.changes)),
        ("Notes", (f"- {escape(note)}" for note in stage.notes)),
        ("Limits, measured again right before", map(_limit, stage.limits)),
        ("Later, approved apart", _later(stage)),
        ("Found", (f"- {escape(finding.what)}" for finding in stage.findings)),
    )
    for title, lines in groups:
        if text := "\n".join(lines):
            yield f"**{title}**\n\n{text}"
    yield "<br>".join(_costs(stage, "Locks", "Duration", "Disk"))
    key = artifact_key(case.id, f"plan-{stage.name}")
    yield f"The whole plan: `{key}` on the run's tab *Artifacts*; digest `{record.digest[:16]}`."


def standing(case: Case) -> str:
    """List what was done and stands."""
    lines = [
        f"- {escape(change.title)}: {'done' if step.done else 'begun'}"
        for record in case.stages
        for change, step in zip(record.stage.changes, case.steps(record), strict=True)
        if step.stands
    ]
    return "\n".join(["**As it stands:**\n", *lines]) if lines else "Nothing was changed."
