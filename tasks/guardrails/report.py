"""What people read in the UI afterwards: decisions, and the report."""

import base64
import html
from collections.abc import Sequence
from typing import Any

from tasks.guardrails.approval import Gate
from tasks.guardrails.case import Case
from tasks.guardrails.render import asked_by, escape, plan, table

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
            table(_DECISION_HEADS, _decisions(case, gate.digest)),
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
        asked_by(case) + f" Remediation `{case.id}`.",
    ]
    decided = _decisions(case)
    if decided:
        parts += ["## Decisions", table(_DECISION_HEADS, decided)]
    steps = _steps(case)
    if steps:
        parts += ["## Steps", _timeline(steps), table(("step", "seconds", "what"), steps)]
    checks = [
        (e.facts["title"], e.facts["phase"], e.facts["verdict"], e.facts["detail"])
        for e in case.of_kind("checked")
    ]
    if checks:
        parts += ["## Proof", table(("check", "when", "answer", "evidence"), checks)]
    watches = [(e.facts["title"], watch_sentence(e.facts)) for e in case.of_kind("watched")]
    if watches:
        parts += ["## As users saw it meanwhile", table(("watched", "what was seen"), watches)]
    if case.can_be_undone:
        parts += ["## Undo", f"`remedy undo {case.id}`"]
    for record in case.stages:
        parts.append(
            f"<details><summary>Plan of stage {record.stage.name}</summary>\n\n"
            f"{plan(case, record)}\n\n</details>"
        )
    return "\n\n".join(parts)


def watch_sentence(seen: dict[str, Any]) -> str:
    """Say what a watch saw.

    Args:
        seen: The facts of a `watched` entry.

    Returns:
        A sentence with the figures.
    """
    if not seen["asked"]:
        return f"could not be asked: {seen['problem'] or 'no time'}"
    asked = f"asked {seen['asked']} times, slowest answer {seen['slowest_seconds']:.2f} s"
    if seen["problem"]:
        asked += f", until {seen['problem']}"
    if not seen["failed"]:
        return f"{asked}; served each time"
    return (
        f"{asked}; not served {seen['failed']} times, at most "
        f"{seen['longest_outage_seconds']:.2f} s on end; the first time: {seen['first_problem']}"
    )


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
