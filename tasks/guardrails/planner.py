"""What the engine needs of a remediation: its plan, and its later stages when reached."""

from typing import Protocol

from tasks.guardrails.case import Case
from tasks.guardrails.plan import Plan, Stage


class Planner(Protocol):
    """The planning functions of a flow file."""

    def plan(self, case: Case) -> Plan:
        """Look, and make the plan with its first stage."""

    def later_stage(self, case: Case, name: str, earlier: tuple[Stage, ...]) -> Stage:
        """Look again, and make a later stage from what is found now."""
