"""What the demo prints at its end."""

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from deployments.cli import client
from deployments.cli.output import table
from deployments.demo.people import ASKS
from deployments.demo.story import Seen
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.verify import verify


def summarise(console: Console, ledger: Ledger, seen: Seen, seconds: float) -> None:
    """Print what was damaged and repaired, what users saw, and what to do next.

    Args:
        console: Where to.
        ledger: The ledger; it is verified here.
        seen: What the story saw.
        seconds: How long the demo took.
    """
    case = seen.case
    rows: list[tuple[str, str | Text]] = [
        ("damaged", seen.damage),
        ("repaired", _repaired(case)),
    ]
    if seen.load is not None:
        rows += [
            ("outage seen by users", _outage(seen)),
            ("slowest request", f"{seen.load.slowest_seconds:.2f} s of {seen.load.requests}"),
            ("rows lost", _lost(case, len(seen.load.missing), seen.load.acknowledged)),
        ]
    found = verify(ledger)
    rows += [
        ("ledger", Text(found.sentence(), style="green" if found.is_sound else "bold red")),
        ("the run in the UI", client.url_of(case.runs[-1])),
        ("the record", f"remedy show {case.id}"),
        ("to undo it", f"remedy undo {case.id} --as {ASKS}"),
        ("to stop everything", "remedy down"),
        ("took", f"{seconds:.0f} s"),
    ]
    console.print()
    if seen.rows:
        lines = [(name, *(f"{n:,}" for n in three)) for name, three in seen.rows.items()]
        console.print(table(("rows in", "before", "damaged", "restored"), lines))
    console.print(Panel(table(("", ""), rows), title="remedy demo", title_align="left"))


def _repaired(case: Case) -> str:
    checks = [e.facts for e in case.of_kind("checked") if e.facts["phase"] == "after"]
    held = sum(one["verdict"] == "held" for one in checks)
    done = [e.facts["title"] for e in case.of_kind("done")]
    return f"{case.outcome}: {len(done)} changes, {held} of {len(checks)} checks from outside hold"


def _outage(seen: Seen) -> str:
    load = seen.load
    if load is None:
        return "not measured"
    said = f"{load.outage_seconds:g} s in all, {load.failed} of {load.requests} requests failed"
    return f"{said}, longest stall {load.longest_stall_seconds:.2f} s"


def _lost(case: Case, missing: int, acknowledged: int) -> str:
    measured = [e.facts for e in case.of_kind("measured") if "lost" in e.facts["limit"]]
    counted = f"{measured[-1]['amount']:g} measured before the cut-over; " if measured else ""
    return f"{counted}{missing} of the load's {acknowledged} writes (kept in the old database)"
