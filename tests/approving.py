"""Approvers of a test's ledger, who decide as the command line does."""

import time
from typing import Any
from uuid import uuid4

import pyotp
from prefect import Flow
from prefect.client.schemas.objects import FlowRun, State

from infra.sandbox.planner import Planner
from tasks.guardrails import approvers, codes
from tasks.guardrails.approval import Count, Gate, Verb, count, decide, waiting_gate
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tests.prefect_fixtures import Runs

_MOST_GATES = 5


class Approvers:
    """Makes approvers as they are needed."""

    def __init__(self, ledger: Ledger) -> None:
        """Know the ledger."""
        self._ledger = ledger

    def decide(self, case: Case, decision: Verb = "approve") -> None:
        """Let a new approver decide on the gate that waits."""
        name = f"approver-{uuid4().hex[:8]}"
        secret = approvers.add(self._ledger, name, ("approve",), "test").secret
        decide(
            self._ledger,
            case,
            waiting_gate(case),
            approver=name,
            code=pyotp.TOTP(secret).now(),
            decision=decision,
            comment="seen",
            source=codes.HOST,
        )

    def approve_gate(self, case: Case) -> None:
        """Approve the gate that waits, with as many people as it needs."""
        while count(self._ledger, case, waiting_gate(case)).is_open:
            self.decide(case)

    def approve_until_it_ends(self, runs: Runs, run: FlowRun) -> State[Any]:
        """Approve every gate of a run until the run ends."""
        for _ in range(_MOST_GATES):
            self.approve_gate(Case.read(self._ledger, runs.id_of(run)))
            state = runs.wake(run)
            if state is not None:
                return state
        message = f"the run still waits after {_MOST_GATES} gates"
        raise AssertionError(message)

    def refuse(self, runs: Runs, run: FlowRun) -> State[Any]:
        """Refuse the gate that waits."""
        self.decide(Case.read(self._ledger, runs.id_of(run)), "refuse")
        state = runs.wake(run)
        assert state is not None
        return state


def carry_out(
    runs: Runs, sandbox: Planner, flow: Flow[..., Any], **parameters: object
) -> tuple[Case, State[Any]]:
    """Carry a remediation out on a sandbox, with the approvals that it asks for."""
    run, state = runs.start(flow, target=sandbox.settings.name, **parameters)
    if state is None:
        state = Approvers(Ledger()).approve_until_it_ends(runs, run)
    return Case.read(Ledger(), runs.id_of(run)), state


class Person:
    """An approver with an authenticator."""

    def __init__(self, ledger: Ledger, name: str) -> None:
        """Enrol."""
        self.ledger, self.name = ledger, name
        self.totp = pyotp.TOTP(approvers.add(ledger, name, ("approve",), "test").secret)
        self._given = 0

    def code(self) -> str:
        """Give a code that was not given yet; two are good at a time."""
        self._given += 1
        return self.totp.at(int(time.time()) + 30 * (self._given - 1))

    def form(self, code: str = "", name: str = "") -> dict[str, str]:
        """Fill in Prefect's form."""
        return {
            "approver": name or self.name,
            "code": code or self.code(),
            "decision": "approve",
            "comment": "seen",
        }

    def decide(
        self,
        case: Case,
        decision: Verb = "approve",
        *,
        gate: Gate | None = None,
        code: str = "",
        source: str = codes.HOST,
    ) -> Count:
        """Decide as the command line does, on the gate that waits."""
        return decide(
            self.ledger,
            case,
            gate or waiting_gate(case),
            approver=self.name,
            code=code or self.code(),
            decision=decision,
            comment="seen",
            source=source,
        )
