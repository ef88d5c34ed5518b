"""What the demo prints at its end."""

from collections.abc import Iterator

from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from deployments.cli import client
from deployments.cli.output import table
from deployments.demo import commands
from deployments.demo.people import ALSO_APPROVES, APPROVES, ASKS
from deployments.demo.story import Seen
from infra.sandbox.load import LONGEST_SECONDS
from infra.sandbox.load_report import LoadReport
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.verify import verify
from tasks.guardrails.words import counted


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
        ("outage seen by users", _outage(seen.load)),
        ("slowest request", f"{seen.load.slowest_seconds:.2f} s of {seen.load.requests}"),
        ("rows lost", _lost(case, seen.load)),
    ]
    if seen.load.seconds >= LONGEST_SECONDS:
        rows.append(
            ("not measured", f"what came after the load's {LONGEST_SECONDS / 60:g} minutes")
        )
    found = verify(ledger)
    rows += [
        ("ledger", Text(found.sentence(), style="green" if found.is_sound else "bold red")),
        ("took", f"{seconds:.0f} s"),
    ]
    console.print()
    if seen.rows:
        lines = [(name, *(f"{n:,}" for n in three)) for name, three in seen.rows.items()]
        console.print(table(("rows in", "before", "damaged", "restored"), lines))
    facts = Table.grid(padding=(0, 2))
    for name, fact in rows:
        facts.add_row(name, fact)
    console.print(Panel(facts, title="remedy demo", title_align="left"))
    # Not in the panel, from whose lines nobody can copy.
    console.print(Text("\n".join(_next_steps(case))), soft_wrap=True)


def _next_steps(case: Case) -> Iterator[str]:
    yield f"The run in the UI:   {client.url_of(case.runs[-1])}"
    yield f"Its record:          {commands.show(case.id)}"
    yield f"Stop everything:     {commands.down()}"
    yield (
        f"Undo it: {ASKS} asks; then {APPROVES} and {ALSO_APPROVES} approve the ID that it prints, "
        "as rows written since go:"
    )
    yield f"  {commands.undo(case.id, ASKS)}"
    for name in (APPROVES, ALSO_APPROVES):
        yield f"  {commands.approve('ID', name)}"


def _repaired(case: Case) -> str:
    checks = [e.facts for e in case.of_kind("checked") if e.facts["phase"] == "after"]
    held = sum(one["verdict"] == "held" for one in checks)
    done = [e.facts["title"] for e in case.of_kind("done")]
    changes = counted(len(done), "change")
    return f"{case.outcome}: {changes}, {held} of {len(checks)} checks from outside hold"


def _outage(load: LoadReport) -> str:
    said = f"{load.outage_seconds:g} s in all, {load.failed} of {load.requests} requests failed"
    return f"{said}, longest stall {load.longest_stall_seconds:.2f} s"


def _lost(case: Case, load: LoadReport) -> str:
    measured = [e.facts for e in case.of_kind("measured") if "lost" in e.facts["limit"]]
    counted = f"{measured[-1]['amount']:g} measured before the cut-over; " if measured else ""
    asked = f", {load.unchecked} not looked for" if load.unchecked else ""
    return (
        f"{counted}{len(load.missing)} of the load's {load.acknowledged} writes{asked} "
        "(kept in the old database)"
    )
