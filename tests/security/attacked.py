"""A run that waits for approval, as somebody finds it who reaches Prefect's API."""

from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import OrchestrationResult

from flows.help.recover_remediation import recover_remediation
from tasks.guardrails import recovery
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.policy import policy_of, set_policy
from tests import toy
from tests.approving import Approvers
from tests.prefect_fixtures import Runs


class Attacked:
    """A run that waits, its target, and its rightful approvers."""

    def __init__(self, runs: Runs, ledger: Ledger, folder: Path) -> None:
        """Start nothing yet."""
        self.runs, self.ledger, self.folder = runs, ledger, folder
        self.run: FlowRun
        self.remediation = ""
        self.before: dict[str, str] = {}

    def start(
        self,
        *,
        second_gate: bool = False,
        ticket: str = "",
        **parameters: Any,  # noqa: ANN401 - any flow's parameters
    ) -> Self:
        """Start a run that waits at its first gate, or with a copy made at its second one."""
        flow = toy.toy_two_stages if second_gate else toy.toy_one_stage
        given = {} if second_gate else {"risk": "disruptive"}
        self.run = self.runs.create(flow, ticket=ticket, target="toy", **{**given, **parameters})
        self.remediation = self.runs.id_of(self.run)
        assert self.execute() is None
        self.before = self.files()
        return self

    def files(self) -> dict[str, str]:
        """Read the whole target."""
        return {path.name: path.read_text() for path in self.folder.iterdir()}

    @property
    def case(self) -> Case:
        """The case as the ledger has it now."""
        return Case.read(self.ledger, self.remediation)

    def recorded(self, kind: str) -> dict[str, Any]:
        """Give the facts of the last entry of a kind."""
        return self.case.of_kind(kind)[-1].facts

    def assert_untouched(self) -> None:
        """Insist that nothing changed on the target, and nothing was begun."""
        assert self.files() == self.before
        begun = [e for e in self.case.of_kind("begun") if e.facts["title"] != "write copy"]
        assert begun == []

    def set_state(self, state: State[Any], *, force: bool = True) -> OrchestrationResult[Any]:
        """Set the run's state through the API."""
        with api() as client:
            return client.set_flow_run_state(self.run.id, state, force=force)

    def state(self) -> str:
        """Give the type of the run's state."""
        return recovery.state_of(str(self.run.id))

    def resume(self, typed: Any) -> dict[str, Any]:  # noqa: ANN401 - any client may send anything
        """Resume through the API with anything."""
        with api() as client:
            answer: dict[str, Any] = client.request(
                "POST",
                "/flow_runs/{id}/resume",
                path_params={"id": self.run.id},
                json={"run_input": typed},
            ).json()
        return answer

    def execute(self) -> State[Any] | None:
        """Execute the run as a worker would."""
        return self.runs.execute(self.run)

    def plant(self, value: str, key: str = "") -> None:
        """Store an input of the run past the form, by default the form's answer."""
        with api() as client:
            client.create_flow_run_input(self.run.id, key or self.keys()["response"], value)

    def keys(self) -> dict[str, str]:
        """Give the keys under which Prefect keeps the form and its answer."""
        with api() as client:
            state = client.read_flow_run(self.run.id).state
        assert state is not None
        assert state.state_details.run_input_keyset
        return state.state_details.run_input_keyset

    def policy(self, **values: Any) -> None:  # noqa: ANN401 - fields of the policy
        """Change the target's policy."""
        with self.ledger.writing() as chain:
            set_policy(chain, policy_of(self.ledger, "toy").policy, "toy", values, "test")

    def reap(self) -> list[str]:
        """Let the reaper look, and give the remediations whose recovery it starts."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(recovery, "_GRACE", timedelta(0))
            return recovery.reap(self.ledger, lambda _id, _key: None)

    def recover(self) -> State[Any] | None:
        """Let the reaper find the run, and execute the recovery, which goes on as the run."""
        assert self.remediation in self.reap()
        self.run = self.runs.create(recover_remediation, remediation=self.remediation)
        return self.execute()

    def approve(self) -> None:
        """Let rightful approvers approve the gate that waits."""
        Approvers(self.ledger).approve_gate(self.case)

    def assert_approval_works(self) -> None:
        """Insist that the run is not spoilt: approved by the right people, it is carried out."""
        self.approve()
        state = self.runs.wake(self.run)
        assert state is not None
        assert state.name == "Remediated", state.message


def api() -> SyncPrefectClient:
    """Give a client of Prefect's API, as anybody has it."""
    return get_client(sync_client=True)
