"""The story: back up, load, damage, restore, and what came of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from rich.console import Console
from rich.text import Text

from deployments.cli import client, plans
from deployments.cli.deciding import decide_and_wake
from deployments.cli.starting import start
from deployments.cli.waiting import line_of
from deployments.demo import commands
from deployments.demo.people import APPROVES, ASKS, CODE_SECONDS, People
from deployments.demo.scene import TARGET, count_rows
from infra.sandbox.damage import Damage, damage
from infra.sandbox.load import USER, Load
from infra.sandbox.load_report import LoadReport
from infra.sandbox.services import Sandbox
from tasks.guardrails.approval import Gate, count, waiting_gate
from tasks.guardrails.case import Case, id_of_run
from tasks.guardrails.entries import Entry
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.ledger import Ledger

Approval = Literal["auto", "ui"]
_GIVE_UP_SECONDS = 600.0
_ROWS_THAT_MAY_GO = 20_000  # the load writes 16 rows a second until the cut-over
_BEFORE_SECONDS, _AFTER_SECONDS = 3.0, 3.0


@dataclass
class Seen:
    """What is told at the end."""

    case: Case
    damage: str
    rows: dict[str, tuple[int, int, int]]
    load: LoadReport


@dataclass
class Story:
    """The demo's actors and stage.

    Args:
        ledger: The ledger.
        sandbox: A full sandbox, up.
        people: Who asks and who approves.
        console: Where it is told.
        approval: 'auto', or 'ui' to wait for a person.
    """

    ledger: Ledger
    sandbox: Sandbox
    people: People
    console: Console
    approval: Approval
    _asked: str = ""
    _shown_at: int = 0

    def back_up(self) -> str:
        """Take a backup through the deployment; give the remediation's id."""
        run = start(self.ledger, "back-up-database", {"target": TARGET}, {"reason": "demo"})
        case = self._follow(id_of_run(run), _no_gate)
        self._insist(case)
        return case.id

    def break_and_restore(self, kind: Damage) -> Seen:
        """Put the sandbox under load, break it, have it restored, and count what was seen."""
        password = self.sandbox.settings.accounts[USER]
        load = Load(self.sandbox.url, password)
        load.start()
        try:
            self._say("a steady load is on: 20 requests a second, 8 of them writes")
            time.sleep(_BEFORE_SECONDS)
            before = count_rows(self.sandbox)
            done = damage(self.sandbox, kind)
            self.console.print(Text(f"  DAMAGED ({kind}): {done.detail}", style="bold red"))
            broken = _counted(self.sandbox)
            case = self._restore()
            time.sleep(_AFTER_SECONDS)
        finally:
            load.end()
        after = count_rows(self.sandbox)
        report = load.wait()
        self._insist(case)
        rows = {
            name: (before[name], broken.get(name, 0), after.get(name, 0))
            for name in before
            if broken.get(name, 0) < before[name]
        }
        return Seen(case, done.detail, rows, report)

    def _restore(self) -> Case:
        run = start(
            self.ledger,
            "restore-from-backup",
            {"target": TARGET, "max_rows_lost": _ROWS_THAT_MAY_GO},
            {"reason": "demo: the database is damaged"},
            ASKS,
            self.people.code(ASKS),
        )
        self._say(f"restore-from-backup started, asked for by {ASKS}: {client.url_of(run)}")
        return self._follow(id_of_run(run), self._decide)

    def _follow(self, remediation: str, waits: Callable[[Case], None]) -> Case:
        """Tell what happens until it has ended; `waits` is called while a gate is open."""
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        seen = 0
        while time.monotonic() < deadline or self.approval == "ui":
            for entry in self.ledger.entries(remediation=remediation, after=seen):
                seen = entry.seq
                self._tell(entry)
            case = Case.read(self.ledger, remediation)
            if case.outcome:
                return case
            if case.open_gate:
                waits(case)
            time.sleep(0.3)
        raise PreconditionFailed(
            expected=f"remediation {remediation} to end within {_GIVE_UP_SECONDS / 60:g} minutes.",
            found="it has not.",
            state="It goes on.",
            todo=f"See `remedy show {remediation}` and `remedy status`.",
        )

    def _tell(self, entry: Entry) -> None:
        if entry.kind == "planned":
            case = Case.read(self.ledger, entry.remediation)
            # None where it was superseded since.
            record = next((one for one in case.stages if one.seq == entry.seq), None)
            if record and case.name != "back_up_database":
                self.console.print()
                self.console.print(plans.stage(record))
                return
        if line := line_of(entry):
            self._say(line)
        if entry.kind == "gate_answered" and entry.facts["note"]:
            self._say(f"{entry.when:%H:%M:%S} {entry.facts['note']}")

    def _decide(self, case: Case) -> None:
        """Approve what waits, or show how to; called again as long as it waits."""
        gate = waiting_gate(case)
        is_new = gate.digest != self._asked
        self._asked = gate.digest
        if self.approval == "ui":
            if is_new:
                self._ask_person(case)
            self._show_code(case, gate)
        elif is_new:
            comment = "the rows that would be lost are acceptable"
            code = self.people.code(APPROVES)
            stand, _ = decide_and_wake(self.ledger, case, gate, "approve", APPROVES, code, comment)
            self._say(f"{APPROVES} has read it and approves. {stand.sentence()}")

    def _ask_person(self, case: Case) -> None:
        link = client.url_of(case.runs[-1])
        text = Text(f"\n  Waits for you: {link}", style="bold magenta")
        self.console.print(text, soft_wrap=True)
        self._say(f"Press Resume there, and type: approver {APPROVES}, the code below,")
        self._say("decision approve, and a comment. Or run:")
        self._say(f"{commands.approve(case.id, APPROVES)}\n")

    def _show_code(self, case: Case, gate: Gate) -> None:
        step = int(time.time()) // CODE_SECONDS
        if step != self._shown_at and count(self.ledger, case, gate).is_open:
            self._say(
                f"{datetime.now(UTC):%H:%M:%S} code of {APPROVES}: {self.people.code(APPROVES)}"
            )
            self._shown_at = step

    def _insist(self, case: Case) -> None:
        if case.outcome != "remediated":
            ended = case.of_kind("ended")
            raise PreconditionFailed(
                expected=f"{case.name} to end as remediated.",
                found=f"{case.outcome}: {ended[-1].facts['why']}",
                state=f"See `remedy show {case.id}`.",
                todo="Correct what it names, and run the demo again.",
            )

    def _say(self, line: str) -> None:
        self.console.print(Text(f"  {line}"), soft_wrap=True)


def _no_gate(case: Case) -> None:
    """Leave a gate alone that should not be there: the wait then says so."""
    del case


def _counted(sandbox: Sandbox) -> dict[str, int]:
    """Count what can be counted: damage may keep tables from being read."""
    try:
        return count_rows(sandbox)
    except Exception:  # noqa: BLE001 - whatever the damage makes of it
        return {}
