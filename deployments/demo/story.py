"""The story: back up, load, damage, restore, and what came of it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from rich.console import Console
from rich.text import Text

from deployments.cli import client, plans
from deployments.cli.deciding import decide_and_wake
from deployments.cli.starting import start
from deployments.cli.waiting import line_of
from deployments.demo.people import APPROVES, ASKS, People
from deployments.demo.scene import TARGET, count_rows
from infra.sandbox.damage import Damage, damage
from infra.sandbox.load import USER, Load
from infra.sandbox.load_report import LoadReport
from infra.sandbox.services import Sandbox
from tasks.guardrails.approval import count, waiting_gate
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
    rows: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    load: LoadReport | None = None


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
        """Tell what happens until it has ended; `waits` is called when a gate is open."""
        deadline = time.monotonic() + _GIVE_UP_SECONDS
        seen, answered = 0, ""
        while time.monotonic() < deadline or self.approval == "ui":
            for entry in self.ledger.entries(remediation=remediation, after=seen):
                seen = entry.seq
                self._tell(entry)
            case = Case.read(self.ledger, remediation)
            if case.outcome:
                return case
            if case.open_gate and case.open_gate.facts["digest"] != answered:
                answered = case.open_gate.facts["digest"]
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
            record = next(one for one in case.stages if one.seq == entry.seq)
            if case.name != "back_up_database":
                self.console.print()
                self.console.print(plans.stage(record))
                return
        if line := line_of(entry):
            self._say(line)

    def _decide(self, case: Case) -> None:
        gate = waiting_gate(case)
        if self.approval == "auto":
            stand, _ = decide_and_wake(
                self.ledger,
                case,
                gate,
                "approve",
                APPROVES,
                self.people.code(APPROVES),
                "the rows that would be lost are acceptable",
            )
            self._say(f"{APPROVES} has read it and approves. {stand.sentence()}")
            return
        link = client.url_of(case.runs[-1])
        self.console.print(Text(f"\n  Waits for you: {link}", style="bold magenta"))
        self.console.print(
            Text(
                f"  Press Resume, and type approver {APPROVES}, the code below, 'approve' and a "
                f"comment;\n  or run: remedy approve {case.id} --as {APPROVES} --code CODE"
            )
        )
        self._show_codes(case, gate.digest)

    def _show_codes(self, case: Case, digest: str) -> None:
        shown = ""
        while True:
            now = Case.read(self.ledger, case.id)
            opened = now.open_gate
            if now.outcome or opened is None or opened.facts["digest"] != digest:
                return
            if not count(self.ledger, now, waiting_gate(now)).is_open:
                return
            code = self.people.shown_code(APPROVES)
            if code != shown:
                self._say(f"code of {APPROVES} now: {code}")
                shown = code
            time.sleep(1)

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
        self.console.print(Text(f"  {line}"))


def _no_gate(case: Case) -> None:
    """Leave a gate alone that should not be there: the wait then says so."""
    del case


def _counted(sandbox: Sandbox) -> dict[str, int]:
    """Count what can be counted: damage may keep tables from being read."""
    try:
        return count_rows(sandbox)
    except Exception:  # noqa: BLE001 - whatever the damage makes of it
        return {}
