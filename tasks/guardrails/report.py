"""What people read in the UI afterwards: decisions, and the report."""

from collections.abc import Iterator, Sequence
from typing import Any

from tasks.guardrails.approval import Gate
from tasks.guardrails.case import Case
from tasks.guardrails.pictures import picture
from tasks.guardrails.plan import Verdict
from tasks.guardrails.render import asked_by, escape, plan
from tasks.guardrails.words import counted, moment

ANSWERS = {
    Verdict.HELD.value: "holds",
    Verdict.NOT_HELD.value: "does not hold",
    Verdict.NOT_ASKED.value: "could not be asked",
}
_DECIDED = {"approve": "approved", "refuse": "refused"}
_VIA = {"ui": "in Prefect's form", "host": "with `remedy`"}
_BAR, _ROW = 440, 24  # pixels; the picture is as wide as Prefect's artifact page at its narrowest


def _decisions(case: Case, digest: str = "") -> str:
    lines = [
        f"- {moment(entry.when)}: {escape(entry.facts['gate'])} is covered by standing approval "
        f"`{entry.facts['standing']}` of **{escape(entry.facts['given_by'])}**"
        for entry in case.of_kind("standing_used")
        if digest in ("", entry.facts["digest"])
    ]
    for entry in case.of_kind("decided"):
        facts = entry.facts
        if digest in ("", facts["digest"]):
            comment = f": {escape(facts['comment'])}" if facts["comment"] else ""
            lines.append(
                f"- {moment(entry.when)}: **{escape(facts['approver'])}** "
                f"{_DECIDED[facts['decision']]} {escape(facts['gate'])} "
                f"{_VIA.get(facts['via'], escape(facts['via']))}{comment}"
            )
    return "\n".join(lines)


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
            _decisions(case, gate.digest) or "Nobody decided.",
        ]
    )


def report(case: Case) -> str:
    """Write the report of a remediation that has ended.

    Args:
        case: The remediation.

    Returns:
        Markdown with plan, decisions, steps and times, proof, and how to undo.
    """
    ended = case.of_kind("ended")[-1].facts
    parts = [
        f"# {escape(case.name)} on {escape(case.target)}: {escape(ended['outcome'])}",
        escape(ended["why"]),
        f"{asked_by(case)}<br>Remediation `{case.id}`",
    ]
    steps = _steps(case)
    watches = case.of_kind("watched")
    sections = (
        ("Decisions", [_decisions(case)]),
        ("Steps", [_chart(steps), *_listed(steps)] if steps else []),
        ("Proof", [_answer(entry.facts) for entry in case.of_kind("checked")]),
        ("As users saw it meanwhile", [_watched(entry.facts) for entry in watches]),
        ("Undo", [f"`remedy undo {case.id} --as NAME`"] if case.can_be_undone else []),
    )
    for title, lines in sections:
        if text := "\n".join(lines):
            parts += [f"## {title}", text]
    plans = (plan(case, record, level=2) for record in case.stages)
    return "\n\n".join([*parts, *plans])


def _answer(facts: dict[str, Any]) -> str:
    detail = f"; {escape(facts['detail'])}" if facts["detail"] else ""
    said = ANSWERS.get(facts["verdict"], escape(facts["verdict"]))
    return f"- {escape(facts['title'])}: **{said}** {escape(facts['phase'])} the act{detail}"


def _watched(facts: dict[str, Any]) -> str:
    return f"- {escape(facts['title'])}: {escape(watch_sentence(facts))}"


def watch_sentence(seen: dict[str, Any]) -> str:
    """Say what a watch saw.

    Args:
        seen: The facts of a `watched` entry.

    Returns:
        A sentence with the figures.
    """
    if not seen["asked"]:
        return f"could not be asked: {seen['problem'] or 'no time'}"
    asked = f"asked {counted(seen['asked'], 'time')}, "
    asked += f"slowest answer {seen['slowest_seconds']:.2f} s"
    if seen["problem"]:
        asked += f", until {seen['problem']}"
    if not seen["failed"]:
        return f"{asked}; served each time"
    return (
        f"{asked}; not served {counted(seen['failed'], 'time')}, at most "
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
        note = "; ".join(filter(None, (facts["seen"], facts.get("note"))))
        rows.append((title, f"{taken:.1f}", note))
    return rows


def _listed(steps: Sequence[tuple[str, str, str]]) -> Iterator[str]:
    for number, (title, seconds, note) in enumerate(steps, 1):
        seen = f" <br>{escape(note)}" if note else ""
        yield f"{number}. **{escape(title)}**, {seconds} s{seen}"


def _chart(steps: Sequence[tuple[str, str, str]]) -> str:
    """Draw the steps' durations, by their numbers, as a picture that needs no other file."""
    longest = max(float(seconds) for _, seconds, _ in steps) or 1
    bars = []
    for row, (_, seconds, _) in enumerate(steps):
        width = 2 + _BAR * float(seconds) / longest
        y = 4 + row * _ROW
        bars.append(
            f'<text x="22" y="{y + 12}" text-anchor="end">{row + 1}</text>'
            f'<rect x="30" y="{y}" width="{width:.0f}" height="16"/>'
            f'<text x="{38 + width:.0f}" y="{y + 12}">{seconds} s</text>'
        )
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="560" height="{8 + _ROW * len(steps)}" '
        f'font-family="sans-serif" font-size="12" fill="#888">{"".join(bars)}</svg>'
    )
    return f"{picture('how long each step took', svg)}\n"
