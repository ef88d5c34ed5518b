"""Let a port in, and keep the rule once somebody has come through it from outside."""

import time
from typing import ClassVar

from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Answer, Change, Check, Observed, Standing, Verdict, Work
from tasks.guardrails.systems import insist_on_fence
from tasks.network.firewall.guard import dismiss, is_watched, watch
from tasks.network.firewall.rules import Rule
from tasks.platforms import targets

_EACH_SECONDS = 0.5


class LetPortIn(Change):
    """Add a rule that lets a source in at a port.

    Args:
        rule: The rule.
        confirm_seconds: Within how many somebody has to come through it; else it goes again.
    """

    kind: ClassVar[str] = "network.let_port_in"
    permissions: ClassVar[tuple[str, ...]] = ("host:firewall",)

    rule: Rule
    confirm_seconds: int

    @property
    def title(self) -> str:
        """What the change does."""
        who = self.rule.source or "everybody"
        return f"let {who} in at port {self.rule.port}, by {self.rule.program}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"port {self.rule.port} in the packet filter",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return "no rule lets them in", f"`{self.rule}`"

    def observe(self, work: Work) -> Observed:
        """Look for the rule, and for the guard that takes it back."""
        machine = targets.load(work.target).machine
        line, watched = self.rule.line(machine), is_watched(machine, self.rule)
        live = any(one.line(machine) for one in self.rule.live(machine))
        if not line and not live and not watched:
            return Observed(Standing.BEFORE, "there is no such rule")
        if line and not watched:
            return Observed(Standing.AFTER, f"there is: {line}")
        guard = "a guard takes it back" if watched else "the next start of the machine ends it"
        seen = f"{line or 'no rule that is kept yet'}; {guard} where nobody confirms it"
        return Observed(Standing.HALF if work.begun_at else Standing.OTHER, seen)

    def apply(self, work: Work) -> str:
        """Set a guard, add the rule, and wait for somebody who comes through it."""
        machine = targets.load(work.target).machine
        insist_on_fence()
        dismiss(machine, self.rule)  # of who was killed before us: its time is not ours
        watch(machine, self.rule, self.confirm_seconds)
        faults.point(f"{self.kind}:watched")
        for one in self.rule.live(machine):
            if not one.line(machine):
                one.add(machine)
        faults.point(f"{self.kind}:added")
        before = self.rule.packets(machine)
        deadline = time.monotonic() + self.confirm_seconds
        while not (came := self.rule.packets(machine) - before):
            left = deadline - time.monotonic()
            if left <= 0 or not is_watched(machine, self.rule):
                raise self._nobody_came()
            done = 1 - left / self.confirm_seconds
            work.progress(done, f"ask from outside: nc -vz HOST {self.rule.port}")
            time.sleep(_EACH_SECONDS)
        insist_on_fence()
        if not self.rule.line(machine):  # ufw's: it is written to its files only now
            self.rule.add(machine)
        faults.point(f"{self.kind}:kept")
        if not dismiss(machine, self.rule):
            raise self._nobody_came()
        return f"{came} packets came in through the rule"

    def _nobody_came(self) -> PreconditionFailed:
        return PreconditionFailed(
            expected=f"somebody of {self.rule.source or 'outside'} to open a connection to port "
            f"{self.rule.port} within {self.confirm_seconds} s.",
            found="nobody came through the rule: what holds them back is elsewhere, or nobody "
            "asked.",
            state="The rule goes again.",
            todo="Run again, and meanwhile ask from there: `nc -vz HOST "
            f"{self.rule.port}`. Look at firewalls before the machine too (security groups).",
        )

    def revert(self, work: Work) -> str:
        """Take exactly this rule out, and dismiss the guard."""
        machine = targets.load(work.target).machine
        insist_on_fence()
        for one in (self.rule, *self.rule.live(machine)):
            one.remove(machine)
        faults.point(f"{self.kind}:removed")
        dismiss(machine, self.rule)
        return "the rule is gone, the others are as they were"


class PortIsLetIn(Check):
    """The rule is in force, and somebody has come through it.

    Args:
        rule: The rule.
    """

    kind: ClassVar[str] = "network.port_is_let_in"

    rule: Rule

    @property
    def title(self) -> str:
        """The claim."""
        return f"{self.rule.source or 'everybody'} is let in at port {self.rule.port}"

    def ask(self, work: Work) -> Answer:
        """Count what came through it."""
        machine = targets.load(work.target).machine
        if not self.rule.line(machine):
            return Answer(Verdict.NOT_HELD, "there is no such rule")
        came = self.rule.packets(machine)
        seen = f"{came} packets came in through the rule"
        return Answer(Verdict.HELD if came else Verdict.NOT_ASKED, seen)
