"""Rules of approval: who counts, for what, and what stops a plan before anybody is asked."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tasks.guardrails import approvers, notify
from tasks.guardrails.approval import count, waiting_gate
from tasks.guardrails.case import Case
from tasks.guardrails.errors import ApprovalRefused
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.policy import Policy, policy_of, set_policy
from tests import toy
from tests.approving import Person
from tests.prefect_fixtures import Runs


def policy(ledger: Ledger, **values: Any) -> None:  # noqa: ANN401 - fields of the policy
    """Change the toy's policy."""
    with ledger.writing() as chain:
        set_policy(chain, policy_of(ledger, "toy").policy, "toy", values, "test")


def waiting(runs: Runs, ledger: Ledger, risk: str = "disruptive") -> tuple[Any, Case]:
    """Start a run that waits."""
    run, state = runs.start(toy.toy_one_stage, target="toy", risk=risk)
    assert state is None
    return run, Case.read(ledger, runs.id_of(run))


def test_one_person_counts_once(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """The second approval of the same person is refused, and their quorum stays at one."""
    assert folder
    _, case = waiting(runs, ledger)
    ada = Person(ledger, "ada")
    assert ada.decide(case).approved_by == ("ada",)
    with pytest.raises(ApprovalRefused, match="ada has approved already"):
        ada.decide(case)
    assert count(ledger, case, waiting_gate(case)).is_open


def test_revoked_approvers_do_not_count(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A decision made before the revocation and not used counts no more; the run waits on."""
    run, case = waiting(runs, ledger)
    ada, bob = Person(ledger, "ada"), Person(ledger, "bob")
    ada.decide(case)
    bob.decide(case)
    approvers.revoke(ledger, "ada", "left", "test")
    assert runs.wake(run) is None
    assert list(folder.iterdir()) == []


def test_form_does_not_approve_what_destroys(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A destructive stage is approved on the command line, unless the policy says otherwise."""
    assert folder
    _, case = waiting(runs, ledger, risk="destructive")
    ada = Person(ledger, "ada")
    with pytest.raises(ApprovalRefused, match="approved with `remedy approve`"):
        ada.decide(case, source="ui")
    assert ada.decide(case).approved_by == ("ada",)


def test_approval_of_another_plan_does_not_count(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """Decisions on one run's plan are worth nothing for another run with the same plan."""
    first, case = waiting(runs, ledger)
    second, other = waiting(runs, ledger)
    ada, bob = Person(ledger, "ada"), Person(ledger, "bob")
    ada.decide(case)
    bob.decide(case)
    assert runs.wake(second) is None
    assert list(folder.iterdir()) == []
    assert count(ledger, other, waiting_gate(other)).approved_by == ()
    state = runs.wake(first)
    assert state is not None
    assert state.name == "Remediated", state.message


def test_policy_changed_meanwhile_asks_anew(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A stricter policy makes the plan be made and approved anew."""
    run, case = waiting(runs, ledger)
    Person(ledger, "ada").decide(case)
    Person(ledger, "bob").decide(case)
    policy(ledger, disruptive=2)
    assert runs.wake(run) is None
    assert list(folder.iterdir()) == []
    now = Case.read(ledger, case.id)
    assert now.stages[0].digest != case.stages[0].digest
    assert count(ledger, now, waiting_gate(now)).needed == 3


def test_blast_radius_stops_a_plan_before_anybody_is_asked(
    runs: Runs, folder: Path, ledger: Ledger
) -> None:
    """A plan that touches more objects than the policy lets it ends refused."""
    policy(ledger, blast_radius=1)
    run, state = runs.start(toy.toy_one_stage, target="toy", risk="disruptive")
    assert state is not None
    assert state.name == "Refused"
    assert "2 objects: file a, file b" in (state.message or "")
    assert not Case.read(ledger, runs.id_of(run)).of_kind("gate_opened")
    assert list(folder.iterdir()) == []


def test_default_policy() -> None:
    """The defaults are the design's."""
    default = Policy()
    assert (default.harmless, default.disruptive, default.destructive) == (0, 1, 2)
    assert default.expiry_seconds == 3600
    assert not default.requester_may_approve


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """A server that keeps what is posted to it."""
    told: list[dict[str, Any]] = []

    class Keeper(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Keeper)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("REMEDY_WEBHOOK_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(notify, "_TIMEOUT_SECONDS", 60)  # what is late would be told again
    yield told
    server.shutdown()


def test_webhook_tells_waiting_and_end(
    runs: Runs, folder: Path, webhook: list[dict[str, Any]]
) -> None:
    """A run that waits and its end are posted once each, with a sentence for Slack."""
    assert folder
    ledger = Ledger()
    run, case = waiting(runs, ledger)
    Person(ledger, "ada").decide(case, "refuse")
    state = runs.wake(run)
    assert state is not None
    assert [(message["event"], message["remediation"]) for message in webhook] == [
        ("waiting", case.id),
        ("ended", case.id),
    ]
    assert "toy_one_stage on toy waits for approval" in webhook[0]["text"]
    assert webhook[1]["outcome"] == "refused"


def test_dead_webhook_holds_nothing_up(
    runs: Runs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A webhook that does not answer is a line in the log."""
    monkeypatch.setenv("REMEDY_WEBHOOK_URL", "http://127.0.0.1:9/")
    _, state = runs.start(toy.toy_one_stage, target="toy")
    assert state is not None
    assert state.name == "Remediated", state.message
    assert (folder / "a").exists()
