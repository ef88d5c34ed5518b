"""Answers to a gate that are none: nothing is done by them, and the gate stays."""

import json
import time
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from prefect.states import Scheduled

from tasks.guardrails.approval import UI, count, decide, waiting_gate
from tasks.guardrails.errors import ApprovalExpired, ApprovalRefused, BadInput
from tasks.guardrails.ledger import Ledger
from tests import toy
from tests.approving import Person
from tests.security.attacked import Attacked, api

FORM: dict[str, Any] = {"approver": "ada", "code": "-", "decision": "approve", "comment": ""}
FORCED = "The run was resumed without a decision; that decides nothing."
NO_FORM = {
    "nothing": None,
    "no code": {key: FORM[key] for key in FORM if key != "code"},
    "another field": {**FORM, "approved": True},
    "a number as code": {**FORM, "code": 123456},
    "another decision": {**FORM, "decision": "approved"},
}


@pytest.mark.parametrize("what", NO_FORM)
def test_a_form_that_is_not_filled_in_wakes_nobody(attacked: Attacked, what: str) -> None:
    """Prefect itself refuses it: the run is not woken, so neither is there an entry."""
    attacked.start()
    answer = attacked.resume(NO_FORM[what])
    assert answer["status"] == "REJECT", answer
    assert attacked.state() == "PAUSED"
    attacked.assert_untouched()
    attacked.assert_approval_works()


@pytest.mark.parametrize("what", ["nothing", "another field", "a number as code"])
def test_a_form_whose_schema_was_exchanged(attacked: Attacked, what: str) -> None:
    """Who makes Prefect let anything through meets the engine's own reading of the form."""
    attacked.start()
    schema = attacked.keys()["schema"]
    with api() as client:
        client.delete_flow_run_input(attacked.run.id, schema)
    attacked.plant("{}", schema)
    assert attacked.resume(NO_FORM[what])["status"] == "ACCEPT"
    assert attacked.execute() is None
    attacked.assert_untouched()
    assert attacked.recorded("gate_answered")["note"] == FORCED
    attacked.assert_approval_works()


@pytest.mark.parametrize("value", ["{}", '["ada"]', "7", "no JSON"])
def test_an_answer_that_was_stored_past_the_form(attacked: Attacked, value: str) -> None:
    """Whatever lies where the form's answer belongs, the run asks again and ends by no defect."""
    attacked.start()
    attacked.plant(value)
    attacked.set_state(Scheduled(), force=False)
    assert attacked.execute() is None
    attacked.assert_untouched()
    assert attacked.recorded("gate_answered")["note"] == FORCED
    attacked.assert_approval_works()


def test_an_answer_planted_before_it_is_asked_for_locks_nobody_out(attacked: Attacked) -> None:
    """It makes Prefect fail at waking the run; the decision is carried out by a recovery."""
    attacked.start()
    attacked.plant(json.dumps(FORM))
    attacked.approve()
    state = attacked.recover()
    assert state is not None
    assert state.name == "Remediated", state.message
    assert attacked.recorded("recovery_started")["state"] == "PAUSED"


def test_a_decoy_does_not_date_a_code_back(attacked: Attacked) -> None:
    """A code that is old by now does not count for an input that was stored when it was good."""
    attacked.start()
    attacked.plant("{}", attacked.keys()["response"] + "-decoy")
    step = int(time.time()) // 30
    old = Person(attacked.ledger, "ada").totp.at((step - 1) * 30)
    while int(time.time()) // 30 == step:
        time.sleep(0.1)
    assert attacked.resume({**FORM, "code": old})["status"] == "ACCEPT"
    assert attacked.execute() is None
    attacked.assert_untouched()
    assert "the code is wrong" in attacked.recorded("decision_refused")["why"]
    attacked.assert_approval_works()


def test_a_wake_without_a_decision_is_named(attacked: Attacked) -> None:
    """What the command line types into the form decides nothing by itself."""
    attacked.start()
    answer = attacked.resume({**FORM, "approver": "see the ledger"})
    assert answer["status"] == "ACCEPT"
    assert attacked.execute() is None
    attacked.assert_untouched()
    assert attacked.recorded("gate_answered")["note"] == FORCED
    attacked.assert_approval_works()


def test_a_decision_on_another_digest(attacked: Attacked) -> None:
    """An approval of what does not wait, made up or given up, is refused, and its code is spent."""
    attacked.start()
    ada = Person(attacked.ledger, "ada")
    code = ada.code()
    other = replace(waiting_gate(attacked.case), digest="0" * 64)
    with pytest.raises(BadInput, match="a plan that was given up"):
        ada.decide(attacked.case, gate=other, code=code)
    refused = attacked.recorded("decision_refused")
    assert (refused["approver"], refused["digest"]) == ("ada", "0" * 64)
    with pytest.raises(ApprovalRefused, match="was used before"):
        ada.decide(attacked.case, code=code)
    attacked.assert_untouched()
    attacked.assert_approval_works()


def test_the_decisions_of_another_run(attacked: Attacked, ledger: Ledger) -> None:
    """Neither the approvals of a run with the same plan count for another, nor their codes."""
    attacked.start()
    other = Attacked(attacked.runs, ledger, attacked.folder).start()
    people = [Person(ledger, "ada"), Person(ledger, "bob")]
    given = [(person, person.code()) for person in people]
    for person, code in given:
        person.decide(other.case, code=code)
    for person, code in given:
        assert attacked.resume(person.form(code))["status"] == "ACCEPT"
        assert attacked.execute() is None
        refused = attacked.recorded("decision_refused")
        assert (refused["approver"], refused["via"]) == (person.name, UI)
        assert "the code was used before" in refused["why"]
        assert code not in attacked.case.of_kind("decision_refused")[-1].body
    assert attacked.resume({**FORM, "approver": "see the ledger"})["status"] == "ACCEPT"
    assert attacked.execute() is None
    attacked.assert_untouched()
    assert attacked.recorded("gate_answered")["note"] == FORCED
    attacked.assert_approval_works()


@pytest.mark.parametrize("source", [UI, "host"])
def test_an_old_code(attacked: Attacked, source: str) -> None:
    """A code of five minutes ago counts on no way."""
    attacked.start()
    ada = Person(attacked.ledger, "ada")
    old = ada.totp.at(toy.now() - timedelta(minutes=5))
    if source == UI:
        assert attacked.resume(ada.form(old))["status"] == "ACCEPT"
        assert attacked.execute() is None
    else:
        with pytest.raises(ApprovalRefused, match="the code is wrong"):
            ada.decide(attacked.case, code=old)
    attacked.assert_untouched()
    refused = attacked.recorded("decision_refused")
    assert (refused["approver"], refused["via"]) == ("ada", source)
    assert "the code is wrong" in refused["why"]
    attacked.assert_approval_works()


def test_a_gate_whose_time_is_over(attacked: Attacked) -> None:
    """A right code that comes too late is refused on each way, and the run ends expired."""
    attacked.policy(expiry_seconds=20)  # a busy machine has asked by then
    attacked.start()
    ada, gate = Person(attacked.ledger, "ada"), waiting_gate(attacked.case)
    expires = count(attacked.ledger, attacked.case, gate).expires
    while toy.now() < expires + timedelta(seconds=0.5):
        time.sleep(0.2)
    with pytest.raises(ApprovalExpired):
        ada.decide(attacked.case)
    refused = attacked.recorded("decision_refused")
    assert (refused["approver"], refused["why"]) == ("ada", "one that came later.")
    assert attacked.resume(ada.form())["status"] != "ACCEPT"
    state = attacked.recover()
    assert state is not None
    assert state.name == "Expired", state.message
    attacked.assert_untouched()
    assert not attacked.case.was_cancelled


def test_what_destroys_is_not_approved_in_the_form(attacked: Attacked) -> None:
    """The attempt is recorded, and the code, which Prefect's clients have seen, is spent by it."""
    attacked.start(risk="destructive")
    ada = Person(attacked.ledger, "ada")
    code = ada.code()
    assert attacked.resume(ada.form(code))["status"] == "ACCEPT"
    assert attacked.execute() is None
    assert "approved with `remedy approve`" in attacked.recorded("decision_refused")["why"]
    with pytest.raises(ApprovalRefused, match="was used before"):
        ada.decide(attacked.case, code=code)
    attacked.assert_untouched()
    attacked.assert_approval_works()


def test_a_decision_that_is_neither(attacked: Attacked) -> None:
    """A program that decides 'maybe' decides nothing, and that is recorded."""
    attacked.start()
    ada = Person(attacked.ledger, "ada")
    with pytest.raises(BadInput, match="'approve' or 'refuse'"):
        decide(
            attacked.ledger,
            attacked.case,
            waiting_gate(attacked.case),
            approver="ada",
            code=ada.code(),
            decision="maybe",  # type: ignore[arg-type] # that is what is tested
            comment="",
            source=UI,
        )
    assert attacked.recorded("decision_refused")["why"] == "'maybe'."
    assert not attacked.case.of_kind("decided")
    attacked.assert_approval_works()
