"""Who approves: one person is one person, however the name is spelt and whatever comes at once."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.guardrails import approvers, codes
from tasks.guardrails.approval import UI, count, waiting_gate
from tasks.guardrails.approvers import Approver
from tasks.guardrails.errors import RemediationError
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.requests import ticket
from tests.approving import Person
from tests.integration.test_recovery import run_and_die
from tests.security.attacked import Attacked

SPELT = {
    "capitals": "ADA",
    "blanks": "  ada\t",
    "full width": "\uff41da",
    "Cyrillic": "\u0430da",
    "no width": "ada\u200b",
    "accent": "ad\u00e1",
}


@pytest.mark.parametrize("how", SPELT)
def test_the_requester_under_another_spelling(attacked: Attacked, ledger: Ledger, how: str) -> None:
    """Who asked, known by a ticket, approves under no spelling; somebody else still does."""
    ada = Person(ledger, "ada")
    asked = {"target": "toy", "risk": "disruptive"}
    attacked.start(ticket=ticket(ledger, "toy_one_stage", asked, "ada", ada.code()))
    assert attacked.case.requester.name == "ada"
    assert attacked.resume(ada.form(name=SPELT[how]))["status"] == "ACCEPT"
    assert attacked.execute() is None
    attacked.assert_untouched()
    refused = attacked.recorded("decision_refused")
    assert refused["approver"] == SPELT[how]
    why = "ada asked for it" if how in ("capitals", "blanks") else "the name '"
    assert refused["why"].startswith(why)
    stand = Person(ledger, "bob").decide(attacked.case)
    assert (stand.needed, stand.approved_by) == (1, ("bob",))
    attacked.assert_approval_works()


def at_once(*steps: Callable[[], object]) -> list[str]:
    """Do steps in threads of their own, each past its check of the code before one goes on."""
    meet = threading.Barrier(len(steps), timeout=60)
    check = codes.authenticate
    said: list[str] = []

    def checked(*args: object, **kwargs: object) -> tuple[Approver, str]:
        try:
            return check(*args, **kwargs)  # type: ignore[arg-type] # passed on as they came
        finally:
            meet.wait()

    def told(step: Callable[[], object]) -> None:
        try:
            step()
            said.append("")
        except RemediationError as error:
            said.append(error.found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(codes, "authenticate", checked)
        threads = [threading.Thread(target=told, args=(step,)) for step in steps]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return sorted(said)


@pytest.mark.parametrize(
    ("same", "why"),
    [(True, "the code was used before."), (False, "ada has approved already.")],
    ids=["one code", "two codes"],
)
def test_one_person_twice_at_once(attacked: Attacked, *, same: bool, why: str) -> None:
    """Of two decisions that passed the check of their code together, one is written and counts."""
    attacked.start()
    ada = Person(attacked.ledger, "ada")
    first = ada.code()
    second = first if same else ada.code()
    said = at_once(
        lambda: ada.decide(attacked.case, code=first),
        lambda: ada.decide(attacked.case, code=second),
    )
    assert said == ["", why]
    assert len(attacked.case.of_kind("decided")) == 1
    refused = attacked.recorded("decision_refused")
    assert (refused["approver"], refused["why"]) == ("ada", why)
    stand = count(attacked.ledger, attacked.case, waiting_gate(attacked.case))
    assert (stand.approved_by, stand.needed, stand.is_open) == (("ada",), 2, True)
    attacked.assert_untouched()
    attacked.assert_approval_works()


def test_the_form_sent_twice_at_once(attacked: Attacked) -> None:
    """The same code resumed with by two clients together wakes once, and counts once."""
    attacked.start()
    ada = Person(attacked.ledger, "ada")
    form, answers = ada.form(), list[str]()
    threads = [
        threading.Thread(target=lambda: answers.append(attacked.resume(form)["status"]))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers.count("ACCEPT") == 1, answers
    assert attacked.execute() is None
    assert len(attacked.case.of_kind("decided")) == 1
    assert attacked.resume(form)["status"] == "ACCEPT"
    assert attacked.execute() is None
    attacked.assert_untouched()
    assert "the code was used before" in attacked.recorded("decision_refused")["why"]
    Person(attacked.ledger, "bob").decide(attacked.case)
    attacked.assert_approval_works()


def test_one_person_fills_no_quorum_of_two(attacked: Attacked) -> None:
    """The second approval of the same person is refused, recorded, and counts for nothing."""
    attacked.start()
    ada = Person(attacked.ledger, "ada")
    ada.decide(attacked.case)
    assert attacked.resume(ada.form())["status"] == "ACCEPT"
    assert attacked.execute() is None
    attacked.assert_untouched()
    refused = attacked.recorded("decision_refused")
    assert (refused["via"], refused["why"]) == (UI, "ada has approved already.")
    Person(attacked.ledger, "bob").decide(attacked.case)
    attacked.assert_approval_works()


def test_a_revoked_approver(attacked: Attacked) -> None:
    """Revoked before deciding nobody decides; revoked after it the decision counts no more."""
    attacked.start()
    ada, bob = Person(attacked.ledger, "ada"), Person(attacked.ledger, "bob")
    bob.decide(attacked.case)
    for person in (ada, bob):
        approvers.revoke(attacked.ledger, person.name, "left", "test")
    assert attacked.resume(ada.form())["status"] == "ACCEPT"
    assert attacked.execute() is None
    attacked.assert_untouched()
    refused = attacked.recorded("decision_refused")
    assert (refused["approver"], refused["decision"]) == ("ada", "approve")
    assert "the name or the code is wrong" in refused["why"]
    stand = count(attacked.ledger, attacked.case, waiting_gate(attacked.case))
    assert (stand.approved_by, stand.needed) == ((), 2)
    attacked.assert_approval_works()


def test_revoked_when_the_gate_was_passed(attacked: Attacked, folder: Path) -> None:
    """A run killed behind its gate asks anew where an approver was revoked, and can be answered."""
    attacked.start()
    people = [Person(attacked.ledger, name) for name in ("ada", "bob")]
    for person in people:
        person.decide(attacked.case)
    assert attacked.resume(wake_up())["status"] == "ACCEPT"
    fault = "after-entry:gate_closed"
    assert run_and_die(str(attacked.run.id), "tests.toy:toy_one_stage", folder, fault) == -9
    approvers.revoke(attacked.ledger, "bob", "left", "test")
    assert attacked.recover() is None
    attacked.assert_untouched()
    assert [e.kind for e in attacked.case.of_kind("gate_opened", "gate_closed")] == [
        "gate_opened",
        "gate_closed",
        "gate_opened",
    ]
    attacked.assert_approval_works()


def wake_up() -> dict[str, str]:
    """Give what the command line types into the form."""
    return {"approver": "see the ledger", "code": "-", "decision": "approve", "comment": ""}


def test_brute_force_through_the_form(attacked: Attacked) -> None:
    """Guesses are counted in the ledger and slowed down; the ledger's host is never locked out."""
    attacked.start()
    ada = Person(attacked.ledger, "ada")
    with pytest.MonkeyPatch.context() as patch:
        for guess in range(4):
            if guess == 3:  # from here on a wait that is longer than a slow machine takes
                patch.setattr(codes, "_FREE_TRIES", -10)
            assert attacked.resume(ada.form(f"00000{guess}x"))["status"] == "ACCEPT"
            assert attacked.execute() is None
    assert attacked.resume(ada.form())["status"] == "ACCEPT"
    assert attacked.execute() is None
    attacked.assert_untouched()
    wrong = attacked.ledger.entries(kinds=("code_refused",))
    assert [(e.facts["approver"], e.facts["source"], e.facts["count"]) for e in wrong] == [
        ("ada", UI, number) for number in (1, 2, 3, 4)
    ]
    refused = attacked.case.of_kind("decision_refused")
    assert len(refused) == 5
    assert refused[-1].facts["why"].startswith("4 wrong codes; the next counts in")
    assert ada.decide(attacked.case, source=codes.HOST).approved_by == ("ada",)
    attacked.assert_approval_works()


def test_a_name_nobody_has(attacked: Attacked) -> None:
    """A guess at a name is recorded as it was typed, cut, and says nothing of who there is."""
    attacked.start()
    name = "root" * 20
    form = Person(attacked.ledger, "ada").form(name=name)
    assert attacked.resume(form)["status"] == "ACCEPT"
    assert attacked.execute() is None
    attacked.assert_untouched()
    assert attacked.recorded("decision_refused")["approver"] == name[:40]
    attacked.assert_approval_works()
