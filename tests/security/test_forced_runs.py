"""States that a client forces on a run: what was not approved is not done."""

import time
from datetime import timedelta

import pytest
from prefect.client.schemas.objects import State
from prefect.states import (
    AwaitingRetry,
    Cancelled,
    Completed,
    Crashed,
    Failed,
    Running,
    Scheduled,
)

from tasks.guardrails.approval import count, waiting_gate
from tests import toy
from tests.approving import Approvers
from tests.security.attacked import Attacked, api

NOTE = "The run was resumed without a decision; that decides nothing."


def state_of(name: str) -> State[None]:
    """Make a state by its name."""
    if name == "Later":
        return Scheduled(scheduled_time=toy.now() + timedelta(days=3650))
    made: dict[str, State[None]] = {
        "Scheduled": Scheduled(),
        "AwaitingRetry": AwaitingRetry(),
        "Running": Running(),
        "Completed": Completed(),
        "Cancelled": Cancelled(),
        "Failed": Failed(),
        "Crashed": Crashed(),
    }
    return made[name]


@pytest.mark.parametrize(
    ("name", "force"), [("Scheduled", True), ("Scheduled", False), ("AwaitingRetry", True)]
)
def test_a_run_that_is_had_executed_asks_again(
    attacked: Attacked, name: str, *, force: bool
) -> None:
    """Executed without a decision it suspends again, twice as well, and the attempts are noted."""
    attacked.start()
    for _ in range(2):
        attacked.set_state(state_of(name), force=force)
        assert attacked.execute() is None
        attacked.assert_untouched()
    notes = attacked.case.of_kind("gate_answered", "woken")
    assert [entry.facts["note"] for entry in notes] == [NOTE, NOTE]
    assert {entry.run for entry in notes} == {str(attacked.run.id)}
    attacked.assert_approval_works()


@pytest.mark.parametrize(
    ("name", "force"), [("Running", True), ("Running", False), ("Later", True)]
)
def test_a_run_that_nobody_executes_waits_on(attacked: Attacked, name: str, *, force: bool) -> None:
    """It only looks as if it went on: an approval is carried out by a recovery, which names it."""
    attacked.start()
    attacked.set_state(state_of(name), force=force)
    assert attacked.reap() == []
    attacked.assert_untouched()
    attacked.approve()
    state = attacked.recover()
    assert state is not None
    assert state.name == "Remediated", state.message
    told = attacked.recorded("recovery_started")
    forced = "SCHEDULED" if name == "Later" else "RUNNING"
    assert (told["run"], told["state"]) == (attacked.case.runs[0], forced)


@pytest.mark.parametrize(
    ("name", "force"), [("Failed", True), ("Failed", False), ("Crashed", True)]
)
def test_a_run_that_failed_while_it_waited_asks_anew(
    attacked: Attacked, name: str, *, force: bool
) -> None:
    """Nobody decided by that: its recovery opens the gate in a run of its own."""
    attacked.start()
    waiting = attacked.run.id
    attacked.set_state(state_of(name), force=force)
    assert attacked.recover() is None
    attacked.assert_untouched()
    told = attacked.recorded("recovery_started")
    assert (told["run"], told["state"]) == (str(waiting), name.upper())
    assert not attacked.case.was_cancelled
    attacked.assert_approval_works()


@pytest.mark.parametrize(
    ("name", "second_gate", "force"),
    [
        ("Completed", False, True),
        ("Completed", False, False),
        ("Completed", True, True),
        ("Completed", True, False),
        ("Cancelled", True, False),
        ("deleted", True, False),
    ],
)
def test_a_run_that_was_ended_by_hand_is_taken_back(
    attacked: Attacked, name: str, *, second_gate: bool, force: bool
) -> None:
    """Where the run is gone or done in Prefect, what earlier stages did is reverted, and said."""
    attacked.start(second_gate=second_gate)
    waiting = attacked.run.id
    if name == "deleted":
        with api() as client:
            client.delete_flow_run(waiting)
    else:
        attacked.set_state(state_of(name), force=force)
    state = attacked.recover()
    assert state is not None
    assert state.name == ("Undone" if second_gate else "Refused"), state.message
    why = f"run {waiting} was {name.lower()} in Prefect"
    assert why in (state.message or "")
    assert why in attacked.recorded("cancelled")["found"]
    assert why in attacked.recorded("ended")["why"]
    assert attacked.files() == ({"copy": ""} if second_gate else {})
    assert attacked.reap() == []


@pytest.mark.parametrize(
    ("decision", "name", "force"),
    [
        ("approve", "Scheduled", True),
        ("approve", "AwaitingRetry", False),
        ("refuse", "Scheduled", False),
        ("refuse", "AwaitingRetry", True),
    ],
)
def test_a_retry_after_the_end_does_nothing(
    attacked: Attacked, decision: str, name: str, *, force: bool
) -> None:
    """The case is not opened again: the outcome stands, the attempt is noted behind it."""
    attacked.start()
    people = Approvers(attacked.ledger)
    if decision == "approve":
        people.approve_gate(attacked.case)
    else:
        people.decide(attacked.case, "refuse")
    ended = attacked.runs.wake(attacked.run)
    assert ended is not None
    for path in attacked.folder.iterdir():
        path.unlink()  # what a second execution would write is seen
    attacked.set_state(state_of(name), force=force)
    state = attacked.execute()
    assert state is not None
    assert (state.name, attacked.files()) == (ended.name, {})
    assert "It has ended before." in (state.message or "")
    assert len(attacked.case.of_kind("ended")) == 1
    woken = attacked.case.of_kind("woken")[-1]
    assert woken.run == str(attacked.run.id)
    assert woken.facts["note"] == "It has ended before: nothing was done."
    assert attacked.reap() == []


def test_a_gate_that_prefect_gave_up_is_expired(attacked: Attacked) -> None:
    """Prefect sets a run Failed whose time is over: that is nobody's doing, and no new question."""
    attacked.policy(expiry_seconds=20)  # a busy machine has asked by then
    attacked.start(second_gate=True)
    gate = waiting_gate(attacked.case)
    expires = count(attacked.ledger, attacked.case, gate).expires
    while toy.now() < expires + timedelta(seconds=0.5):
        time.sleep(0.2)
    attacked.set_state(Failed(message="The flow was paused and never resumed."))
    state = attacked.recover()
    assert state is not None
    assert state.name == "Expired", state.message
    assert attacked.files() == {"copy": ""}
    assert not attacked.case.was_cancelled
    assert len(attacked.case.of_kind("gate_opened")) == 1
