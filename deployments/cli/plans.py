"""A plan as a person reads it in a terminal."""

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

from deployments.cli.output import table
from tasks.guardrails.approval import Count, Gate
from tasks.guardrails.case import Case, StageRecord
from tasks.guardrails.plan import Finding, Limit, Plan

_MEGABYTE = 1_000_000
_MOST_ROWS = 20
_UNDO = {"exact": "exact", "pointless": "stays (no point)", "impossible": "IMPOSSIBLE"}


def gate(case: Case, asked: Gate, stand: Count) -> RenderableType:
    """Show what an approver decides on: the question, and the plan behind it.

    Args:
        case: The remediation.
        asked: The gate.
        stand: How it stands.

    Returns:
        The whole as one renderable.
    """
    opened = case.open_gate
    digest = opened.facts["stage_digest"] if opened else asked.digest
    record = next((one for one in case.stages if one.digest == digest), None)
    note = str(opened.facts.get("note", "")) if opened else ""
    question = Text.assemble(
        (asked.question, "bold"),
        f"\n{note}" if note else "",
        f"\n{stand.sentence()}\n",
        f"digest {asked.digest[:16]}",
    )
    head = Panel(question, title=f"{case.name} on {case.target}", title_align="left")
    return Group(head, stage(record)) if record else head


def stage(record: StageRecord) -> RenderableType:
    """Show a stage of a plan."""
    return Group(*_parts(record))


def _parts(record: StageRecord) -> Iterator[RenderableType]:
    plan = record.stage
    yield Text.assemble(
        (plan.title or plan.name, "bold underline"),
        f"  stage {plan.name}, risk ",
        (plan.risk.value, "bold"),
    )
    if record.exceeds:
        yield Text(f"Beyond its outline: {record.exceeds}: a higher risk approves.", style="red")
    yield Text("\nFound", style="bold")
    for finding in plan.findings:
        yield from _finding(finding)
    if plan.changes:
        yield Text("\nTo be done, in this order", style="bold")
        yield table(
            ("#", "change", "before", "after", "undo"),
            (
                (number, change.title, *change.before_and_after, _UNDO[change.reverts] + change.but)
                for number, change in enumerate(plan.changes, 1)
            ),
        )
    yield Text("Costs", style="bold")
    yield table(("what", "how much"), _effects(record))
    for title, lines in (
        ("Limits, measured again right before", [_limit(limit) for limit in plan.limits]),
        ("Proof afterwards", [check.title for check in plan.checks]),
        ("Notes", list(plan.notes)),
    ):
        if lines:
            yield Text(title, style="bold")
            yield Text("\n".join(f"  - {line}" for line in lines))
    if isinstance(plan, Plan) and plan.later:
        yield Text("Later stages, planned and approved when they are reached", style="bold")
        yield table(
            ("stage", "what", "risk", "limits"),
            ((o.name, o.title, o.risk.value, "; ".join(o.limits)) for o in plan.later),
        )


def _finding(finding: Finding) -> Iterator[RenderableType]:
    yield Text.assemble(f"  - {finding.what} ", (f"[{finding.how}]", "dim"))
    if finding.rows:
        rows = table(finding.columns, finding.rows[:_MOST_ROWS])
        yield Padding(rows, (0, 0, 0, 4))
        if len(finding.rows) > _MOST_ROWS:
            yield Text(f"      ... and {len(finding.rows) - _MOST_ROWS} more rows")
    if finding.patch:
        yield Padding(Text(finding.patch), (0, 0, 0, 4))


def _effects(record: StageRecord) -> list[tuple[str, str]]:
    effects, objects = record.stage.effects, record.stage.objects
    rows = [
        ("outage", effects.outage),
        ("locks", effects.locks),
        ("duration", effects.duration),
        ("lost", effects.lost),
        ("objects touched", f"{len(objects)}: {', '.join(objects[:4])}"),
    ]
    if effects.disk_needed:
        free = "unknown" if effects.disk_free is None else size(effects.disk_free)
        rows.append(("disk", f"needs {size(effects.disk_needed)}, free {free}"))
    if effects.undo_until:
        rows.append(("can be undone until", f"{effects.undo_until:%Y-%m-%d %H:%M} UTC"))
    return rows


def _limit(limit: Limit) -> str:
    bounds = [
        f"{word} {bound:,.0f}"
        for word, bound in (("at most", limit.at_most), ("at least", limit.at_least))
        if bound is not None
    ]
    return f"{limit.title}: {', '.join(bounds)} {limit.unit}"


def size(number: int) -> str:
    """Write a number of bytes in megabytes."""
    return f"{number / _MEGABYTE:,.0f} MB"
