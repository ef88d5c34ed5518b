"""Recovery: whatever kills a run, the remediation ends done or undone."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pyotp
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL
from prefect.states import Cancelled

from flows.help.recover_remediation import recover_remediation
from flows.help.undo_remediation import undo_remediation
from tasks.guardrails import approvers, codes, recovery, still_approved
from tasks.guardrails.approval import decide, waiting_gate
from tasks.guardrails.case import Case
from tasks.guardrails.errors import BadInput
from tasks.guardrails.holders import (
    force_release,
    holder_of,
    holders,
    is_in_the_middle,
    remediation_resource,
    target_resource,
)
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.policy import Policy, set_policy
from tasks.guardrails.report import report
from tests import toy
from tests.approving import Approvers
from tests.prefect_fixtures import Runs


def run_and_die(run_id: str, flow: str, folder: Path, fault: str) -> int:
    """Execute a run in a process that kills itself at a fault point."""
    environment = {
        **os.environ,
        "PREFECT_API_URL": PREFECT_API_URL.value() or "",
        "REMEDY_FAULT": f"KILL={fault}",
    }
    done = subprocess.run(
        [sys.executable, "-m", "tests.run_in_process", run_id, flow, f"toy={folder}"],
        env=environment,
        check=False,
        capture_output=True,
        timeout=120,
    )
    return done.returncode


def test_drained_run_ends_between_two_changes(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """Asked to hand over, a run finishes the change it is at; a recovery goes on with the next."""
    (folder / "hold-a").touch()
    run = runs.create(toy.toy_one_stage, target="toy", names=["a", "b"])
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "tests.run_in_process"),
            *(str(run.id), "tests.toy:toy_one_stage", f"toy={folder}"),
        ],
        env={**os.environ, "PREFECT_API_URL": PREFECT_API_URL.value() or ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with process:
        while not (folder / "a").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGUSR1)
        assert process.stdout is not None
        assert b"asked to hand over\n" in process.stdout
        (folder / "hold-a").unlink()
        process.wait(120)
    case = Case.read(ledger, runs.id_of(run))
    assert [e.facts["title"] for e in case.of_kind("done")] == ["write a"]
    assert not case.of_kind("failed", "ended")
    assert not (folder / "b").exists()
    held = holder_of(ledger, target_resource("toy"))
    assert held is not None
    assert "its recovery goes on" in held.stuck
    _, state = runs.start(recover_remediation, remediation=case.id)
    assert state is not None
    assert state.name == "Remediated", state.message
    titles = [e.facts["title"] for e in Case.read(ledger, case.id).of_kind("begun")]
    assert titles == ["write a", "write b"]
    assert no_lease_is_live(ledger)


def no_lease_is_live(ledger: Ledger) -> bool:
    """Say whether nobody holds anything."""
    return all(holder.is_dead or not holder.is_live for holder in holders(ledger))


@pytest.mark.parametrize(
    "fault",
    [
        "after-entry:requested",
        "after-entry:planned",
        "after-entry:begun",
        "before-apply:toy.write_file",
        "after-apply:toy.write_file",
        "before-entry:done",
        "after-entry:done",
        "after-entry:stage_done",
        "before-entry:ended",
        "after-entry:ended",
        "before-entry:reported",
    ],
)
def test_killed_anywhere_it_goes_on(runs: Runs, folder: Path, ledger: Ledger, fault: str) -> None:
    """A run killed at any boundary is found by the reaper and ends remediated."""
    run = runs.create(toy.toy_one_stage, target="toy")
    assert run_and_die(str(run.id), "tests.toy:toy_one_stage", folder, fault) == -9
    case = runs.id_of(run)
    started: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "_GRACE", timedelta(0))
        assert recovery.reap(ledger, lambda found, _key: started.append(found)) == [case]
    _, state = runs.start(recover_remediation, remediation=case)
    assert state is not None
    assert state.name == "Remediated", state.message
    assert {(folder / name).read_text() for name in "ab"} == {"new a", "new b"}
    assert no_lease_is_live(ledger)


def test_killed_in_undo_it_goes_on_undoing(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A run killed while it takes changes back does not start to act again."""
    (folder / "fail-b").touch()
    run = runs.create(toy.toy_one_stage, target="toy")
    fault = "before-revert:toy.write_file"
    assert run_and_die(str(run.id), "tests.toy:toy_one_stage", folder, fault) == -9
    (folder / "fail-b").unlink()
    _, state = runs.start(recover_remediation, remediation=runs.id_of(run))
    assert state is not None
    assert state.name == "Undone", state.message
    assert (folder / "a").read_text() == ""
    assert no_lease_is_live(ledger)


def test_cancelled_run_is_taken_back(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A run that waits at its second gate and is cancelled in Prefect is reverted."""
    run, state = runs.start(toy.toy_two_stages, target="toy")
    assert state is None
    assert (folder / "copy").read_text() == "new"
    assert recovery.abandoned(ledger) == []
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Cancelled(), force=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "_GRACE", timedelta(0))
        assert [case.id for case in recovery.abandoned(ledger)] == [runs.id_of(run)]
    _, state = runs.start(recover_remediation, remediation=runs.id_of(run))
    assert state is not None
    assert state.name == "Undone", state.message
    assert (folder / "copy").read_text() == ""


def test_decided_run_that_nobody_woke_is_woken(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """Where the command line could not wake a run after the decision, the reaper does."""
    secrets = {n: approvers.add(ledger, n, ("approve",), "test").secret for n in ("ada", "bob")}
    run, state = runs.start(toy.toy_one_stage, target="toy", risk="disruptive")
    assert state is None
    case = Case.read(ledger, runs.id_of(run))
    for name, secret in secrets.items():
        assert recovery.reap(ledger, lambda _id, _key: None) == []
        decide(
            ledger,
            case,
            waiting_gate(case),
            approver=name,
            code=pyotp.TOTP(secret).now(),
            decision="approve",
            comment="",
            source=codes.HOST,
        )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "_GRACE", timedelta(0))
        assert recovery.reap(ledger, lambda _id, _key: None) == []
    with get_client(sync_client=True) as client:
        assert client.read_flow_run(run.id).state_name == "Resuming"
    state = runs.execute(run)
    assert state is not None
    assert state.name == "Remediated", state.message
    assert (folder / "a").exists()


def test_expired_gate_is_reverted(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A gate that nobody answers ends expired, with the stages before it taken back."""
    with ledger.writing() as chain:
        set_policy(chain, Policy(), "toy", {"expiry_seconds": 10}, "test")
    run, state = runs.start(toy.toy_two_stages, target="toy")
    assert state is None
    case = Case.read(ledger, runs.id_of(run))
    gate = case.open_gate
    assert gate is not None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recovery, "_GRACE", timedelta(0))
        with pytest.MonkeyPatch.context() as clock:  # however long it took to get here
            shown = SimpleNamespace(now=lambda _zone: gate.when + timedelta(seconds=9))
            clock.setattr(recovery, "datetime", shown)
            assert recovery.abandoned(ledger) == []
        while datetime.now(UTC) < gate.when + timedelta(seconds=10.5):
            time.sleep(0.5)
        assert [found.id for found in recovery.abandoned(ledger)] == [case.id]
    _, state = runs.start(recover_remediation, remediation=case.id)
    assert state is not None
    assert state.name == "Expired", state.message
    assert (folder / "copy").read_text() == ""


def test_question_that_nobody_answers_undoes_nothing(
    runs: Runs, folder: Path, ledger: Ledger
) -> None:
    """What could not be proved and nobody decided on is left as it stands, and said."""
    with ledger.writing() as chain:
        set_policy(chain, Policy(), "toy", {"expiry_seconds": 10}, "test")
    (folder / "proof").write_text("broken")
    run, state = runs.start(toy.toy_one_stage, target="toy", names=["a"], check="ok")
    assert state is None
    gate = Case.read(ledger, runs.id_of(run)).open_gate
    assert gate is not None
    while datetime.now(UTC) < gate.when + timedelta(seconds=10.5):
        time.sleep(0.5)
    _, state = runs.start(recover_remediation, remediation=runs.id_of(run))
    assert state is not None
    assert state.name == "Stuck", state.message
    assert (folder / "a").read_text() == "new a"
    assert "no answer undoes nothing" in (state.message or "")


def test_message_is_not_sent_twice(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A change that leaves nothing to see is asked about after a crash, never repeated."""
    secrets = {n: approvers.add(ledger, n, ("approve",), "test").secret for n in ("ada", "bob")}
    run = runs.create(toy.toy_message, target="toy")
    fault = "after-apply:toy.send_message"
    assert run_and_die(str(run.id), "tests.toy:toy_message", folder, fault) == -9
    (folder / "message").unlink()  # nothing is left to see
    recovering, state = runs.start(recover_remediation, remediation=runs.id_of(run))
    assert state is None
    case = Case.read(ledger, runs.id_of(run))
    assert "Approve if it was done" in waiting_gate(case).question
    for name, secret in secrets.items():
        decide(
            ledger,
            case,
            waiting_gate(case),
            approver=name,
            code=pyotp.TOTP(secret).now(),
            decision="approve",
            comment="",
            source=codes.HOST,
        )
    state = runs.wake(recovering)
    assert state is not None
    assert state.name == "Remediated", state.message
    assert not (folder / "message").exists()


def test_undo_of_an_earlier_run(runs: Runs, folder: Path) -> None:
    """An undo takes the changes back; the older of two on the same file is refused."""
    first, _ = runs.start(toy.toy_one_stage, target="toy", names=["a"])
    assert (folder / "a").read_text() == "new a"
    _, state = runs.start(undo_remediation, target="toy", remediation=runs.id_of(first))
    assert state is not None
    assert state.name == "Remediated", state.message
    assert (folder / "a").read_text() == ""
    _, state = runs.start(undo_remediation, target="toy", remediation=runs.id_of(first))
    assert state is not None
    assert "was undone by" in (state.message or "")
    second, _ = runs.start(toy.toy_one_stage, target="toy", names=["a"])
    (folder / "a").write_text("")
    third, _ = runs.start(toy.toy_one_stage, target="toy", names=["a"])
    _, state = runs.start(undo_remediation, target="toy", remediation=runs.id_of(second))
    assert state is not None
    assert f"({runs.id_of(third)}) touched file a later" in (state.message or "")


def test_undo_of_what_leaves_no_trace(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A change of which nothing is seen afterwards is reverted by an undo all the same."""
    run, _ = runs.start(toy.toy_ring, target="toy")
    undo, state = runs.start(undo_remediation, target="toy", remediation=runs.id_of(run))
    assert state is not None
    assert state.message == (
        "remediated: Done; each change was looked at afterwards. "
        "No check from outside belongs to it."
    )
    assert (folder / "bell-again").exists()
    case = Case.read(ledger, runs.id_of(undo))
    assert [entry.facts["title"] for entry in case.of_kind("done")] == ["undo: write bell"]
    assert not case.can_be_undone
    assert "remedy undo" not in report(case)


@pytest.mark.parametrize("broken", [False, True])
def test_undo_proves_what_held_before(
    runs: Runs, folder: Path, ledger: Ledger, *, broken: bool
) -> None:
    """What held before the remediation is asked again after its undo; the rest is named."""
    (folder / "proof").write_text("fine")
    held, _ = runs.start(toy.toy_one_stage, target="toy", names=["a"], check="fine")
    undo = runs.create(undo_remediation, target="toy", remediation=runs.id_of(held))
    if broken:
        (folder / "undo-spoils-proof").touch()
    state = runs.execute(undo)
    case = Case.read(ledger, runs.id_of(undo))
    after = [e.facts["verdict"] for e in case.of_kind("checked") if e.facts["phase"] == "after"]
    assert state is not None
    assert (state.name, after) == (("Stuck", ["not_held"]) if broken else ("Remediated", ["held"]))


def test_undo_names_what_did_not_hold_before(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A claim that the remediation made true is not asked after its undo."""
    run, state = runs.start(
        toy.toy_one_stage, target="toy", names=["a"], check_file="a", check="new a"
    )
    assert state is not None
    assert state.name == "Remediated", state.message
    undo, state = runs.start(undo_remediation, target="toy", remediation=runs.id_of(run))
    assert state is not None
    assert state.name == "Remediated", state.message
    (record,) = Case.read(ledger, runs.id_of(undo)).stages
    assert record.stage.checks == ()
    assert record.stage.notes == (
        "not asked afterwards, as it did not hold before toy_one_stage: a reads 'new a'",
    )
    assert (folder / "a").read_text() == ""


def test_undo_asks_anew_where_its_loss_has_grown(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """What an approved undo loses is counted again right before it."""
    first, _ = runs.start(toy.toy_one_stage, target="toy", names=["a"])
    (folder / "loss-a").write_text("12")
    run, state = runs.start(undo_remediation, target="toy", remediation=runs.id_of(first))
    assert state is None
    people = Approvers(ledger)
    people.approve_gate(Case.read(ledger, runs.id_of(run)))
    (folder / "loss-a").write_text("5000")
    assert runs.wake(run) is None
    assert (folder / "a").read_text() == "new a"
    case = Case.read(ledger, runs.id_of(run))
    assert "5,000 rows now, approved were 1,012" in case.of_kind("superseded")[0].facts["why"]
    people.approve_gate(case)
    state = runs.wake(run)
    assert state is not None
    assert state.name == "Remediated", state.message
    assert (folder / "a").read_text() == ""


def test_undo_planned_without_a_loss_asks_anew(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """What is written while an undo that loses nothing waits is not lost by that approval."""
    run, _ = runs.start(toy.toy_one_stage, target="toy", names=["a"], risk="disruptive")
    people = Approvers(ledger)
    people.approve_gate(Case.read(ledger, runs.id_of(run)))
    assert runs.wake(run)
    undo, state = runs.start(undo_remediation, target="toy", remediation=runs.id_of(run))
    assert state is None
    people.approve_gate(Case.read(ledger, runs.id_of(undo)))
    (folder / "loss-a").write_text("500")
    assert runs.wake(undo) is None
    case = Case.read(ledger, runs.id_of(undo))
    assert "500 rows" in case.stages[0].stage.effects.lost
    assert case.stages[0].stage.risk == "destructive"
    assert (folder / "a").read_text() == "new a"


def test_undo_whose_loss_cannot_be_counted_is_planned(
    runs: Runs, folder: Path, ledger: Ledger
) -> None:
    """A damaged table is what an undo may be for: people decide with that in view."""
    run, _ = runs.start(toy.toy_one_stage, target="toy", names=["a"])
    (folder / "loss-a").write_text("unreadable")
    undo, state = runs.start(undo_remediation, target="toy", remediation=runs.id_of(run))
    assert state is None
    case = Case.read(ledger, runs.id_of(undo))
    assert case.stages[0].stage.effects.lost == (
        "What others wrote since cannot be counted: a damaged page."
    )
    Approvers(ledger).approve_gate(case)
    state = runs.wake(undo)
    assert state is not None
    assert state.name == "Remediated", state.message
    assert (folder / "a").read_text() == ""


def test_undo_sees_a_later_one_past_a_lease_released_by_hand(
    runs: Runs, folder: Path, ledger: Ledger
) -> None:
    """An entry that the older one gets afterwards does not hide who came in between."""
    first, _ = runs.start(toy.toy_one_stage, target="toy", names=["a"])
    (folder / "a").write_text("")
    second, _ = runs.start(toy.toy_one_stage, target="toy", names=["a"])
    force_release(ledger, remediation_resource(runs.id_of(first)), "to be sure", "ada")
    _, state = runs.start(undo_remediation, target="toy", remediation=runs.id_of(first))
    assert state is not None
    assert f"({runs.id_of(second)}) touched file a later" in (state.message or "")


def test_target_of_one_that_died_in_the_middle_is_its_recovery_s(runs: Runs, folder: Path) -> None:
    """Nobody else acts between a kill -9 and the recovery that goes on from it."""
    with Ledger().writing() as chain:
        set_policy(chain, Policy(), "toy", {"busy_wait_seconds": 0}, "test")
    run = runs.create(toy.toy_one_stage, target="toy")
    fault = "after-apply:toy.write_file"
    assert run_and_die(str(run.id), "tests.toy:toy_one_stage", folder, fault) == -9
    _, state = runs.start(toy.toy_one_stage, target="toy", names=["c"])
    assert state is not None
    assert state.name == "Refused"
    assert f"remediation {runs.id_of(run)} died in the middle" in (state.message or "")
    assert not (folder / "c").exists()
    _, state = runs.start(recover_remediation, remediation=runs.id_of(run))
    assert state is not None
    assert state.name == "Remediated", state.message
    _, state = runs.start(toy.toy_one_stage, target="toy", names=["c"])
    assert state is not None
    assert state.name == "Remediated", state.message


@pytest.mark.parametrize("failed", [False, True])
def test_between_two_stages_nobody_is_in_the_middle(
    runs: Runs, folder: Path, ledger: Ledger, *, failed: bool
) -> None:
    """A stage that is done and waits for the next shuts nobody out, but for while it is undone."""
    run, state = runs.start(toy.toy_two_stages, target="toy")
    assert state is None
    assert (folder / "copy").exists()
    case = Case.read(ledger, runs.id_of(run))
    if failed:
        ledger.append(
            "failed", BadInput(expected="x", found="y", todo="z").facts(), remediation=case.id
        )
    assert is_in_the_middle(Case.read(ledger, case.id)) is failed


def test_approval_gets_old(
    runs: Runs, folder: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that was away for longer than the expiry does not act on an old approval."""
    run, _ = runs.start(toy.toy_one_stage, target="toy", names=["a"], risk="disruptive")
    Approvers(ledger).approve_gate(Case.read(ledger, runs.id_of(run)))
    monkeypatch.setattr(still_approved, "_age_of", lambda _moment: timedelta(days=3))
    state = runs.wake(run)
    assert state is not None
    assert state.name == "Expired", state.message
    assert not (folder / "a").exists()


def test_recovery_that_brings_nothing_forward_is_tried_less_often(ledger: Ledger) -> None:
    """What a recovery records on its way does not count as progress; a change that is done does."""
    ledger.append("requested", {}, remediation="x")
    for kind in ("recovery_started", "lease_taken", "lease_released") * 3:
        ledger.append(kind, {}, remediation="x")
    case = Case.read(ledger, "x")
    last = case.of_kind("recovery_started")[-1].when
    assert recovery._next_try(case) - last == timedelta(seconds=30 * 2**4)  # noqa: SLF001 - when it is tried is all of it
    done = ledger.append("done", {}, remediation="x")
    assert recovery._next_try(Case.read(ledger, "x")) - done.when == timedelta(seconds=30)  # noqa: SLF001 - when it is tried is all of it


def test_undo_refuses_a_world_that_moved(runs: Runs, folder: Path) -> None:
    """What somebody changed since is not overwritten by an undo."""
    run, _ = runs.start(toy.toy_one_stage, target="toy", names=["a"])
    (folder / "a").write_text("a person's work")
    _, state = runs.start(undo_remediation, target="toy", remediation=runs.id_of(run))
    assert state is not None
    assert state.name == "Refused", state.message
    assert (folder / "a").read_text() == "a person's work"
