"""The engine's ten steps on a target of files, through a real Prefect server."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pyotp
import pytest
from prefect.client.orchestration import get_client
from prefect.states import Scheduled

from tasks.guardrails import approvers, codes
from tasks.guardrails.approval import count, decide, waiting_gate
from tasks.guardrails.case import Case
from tasks.guardrails.errors import ApprovalRefused
from tasks.guardrails.holders import holder_of, target_resource
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.report import report
from tasks.guardrails.requests import ticket
from tests import toy
from tests.prefect_fixtures import Runs
from tests.waiting import until


def enrol(ledger: Ledger, *names: str) -> dict[str, str]:
    """Make approvers, and give their secrets."""
    return {n: approvers.add(ledger, n, ("approve",), "test").secret for n in names}


def approve(ledger: Ledger, case: Case, name: str, secret: str, decision: str = "approve") -> None:
    """Decide as the command line does."""
    decide(
        ledger,
        case,
        waiting_gate(case),
        approver=name,
        code=pyotp.TOTP(secret).now(),
        decision=decision,  # type: ignore[arg-type] # one of both in each test
        comment="seen",
        source=codes.HOST,
    )


def kinds(case: Case) -> list[str]:
    """Give the kinds of a case's entries, without the leases' and the report's."""
    kinds = [e.kind for e in case.entries if not e.kind.startswith("lease")]
    return [kind for kind in kinds if kind != "reported"]


def test_harmless_stage_acts_without_approval(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A harmless plan is recorded, carried out, proved by observation and reported."""
    run, state = runs.start(toy.toy_one_stage, target="toy")
    assert state is not None
    assert state.name == "Remediated", state.message
    assert (folder / "a").read_text() == "new a"
    case = Case.read(ledger, runs.id_of(run))
    assert kinds(case) == [
        "requested",
        "planned",
        "begun",
        "done",
        "begun",
        "done",
        "watched",
        "stage_done",
        "ended",
    ]
    holder = holder_of(ledger, target_resource("toy"))
    assert holder is not None
    assert not holder.is_live


def test_dry_run_touches_nothing(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A dry run ends with its plan."""
    run, state = runs.start(toy.toy_one_stage, target="toy", dry_run=True)
    assert state is not None
    assert state.name == "Planned"
    assert list(folder.iterdir()) == []
    assert kinds(Case.read(ledger, runs.id_of(run))) == ["requested", "planned", "ended"]


def test_nothing_to_do_is_unchanged(runs: Runs, folder: Path) -> None:
    """An empty plan ends the run as unchanged."""
    assert folder
    _, state = runs.start(toy.toy_one_stage, target="toy", names=[])
    assert state is not None
    assert state.name == "Unchanged"


def test_waits_and_goes_on_by_the_ledger(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A disruptive plan waits; a decision in the ledger and a wake let it act."""
    secrets = enrol(ledger, "ada", "bob")
    run, state = runs.start(toy.toy_one_stage, target="toy", risk="disruptive")
    assert state is None
    case = Case.read(ledger, runs.id_of(run))
    stand = count(ledger, case, waiting_gate(case))
    assert stand.needed == 2, "nobody knows who asked, so one approver more"
    approve(ledger, case, "ada", secrets["ada"])
    assert list(folder.iterdir()) == []
    approve(ledger, case, "bob", secrets["bob"])
    state = runs.wake(run)
    assert state is not None
    assert state.name == "Remediated", state.message
    assert (folder / "b").read_text() == "new b"


@pytest.mark.parametrize("force", [True, False])
def test_forced_state_decides_nothing(
    runs: Runs, folder: Path, ledger: Ledger, force: bool
) -> None:
    """A client that sets the state to Scheduled gets another gate, and the attempt is recorded."""
    run, state = runs.start(toy.toy_one_stage, target="toy", risk="disruptive")
    assert state is None
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(run.id, Scheduled(), force=force)
    assert runs.execute(run) is None
    assert list(folder.iterdir()) == []
    answers = Case.read(ledger, runs.id_of(run)).of_kind("gate_answered", "woken")
    assert [e.facts["note"] for e in answers] == [
        "The run was resumed without a decision; that decides nothing."
    ]


def test_form_of_prefect(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A wrong code in Prefect's form asks again and says so; right codes go on."""
    secrets = enrol(ledger, "ada", "bob")
    run, state = runs.start(toy.toy_one_stage, target="toy", risk="disruptive")
    wrong = {"approver": "ada", "code": "000000", "decision": "approve", "comment": ""}
    assert runs.resume(run, **wrong) is None
    case = Case.read(ledger, runs.id_of(run))
    assert "wrong" in case.of_kind("gate_answered")[-1].facts["note"]
    for name in ("ada", "bob"):
        right = {**wrong, "approver": name, "code": pyotp.TOTP(secrets[name]).now()}
        state = runs.resume(run, **right)
    assert state is not None
    assert state.name == "Remediated", state.message
    assert (folder / "a").exists()


def test_refused(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """One refusal ends it, and nothing is touched."""
    secrets = enrol(ledger, "ada")
    run, _ = runs.start(toy.toy_one_stage, target="toy", risk="disruptive")
    case = Case.read(ledger, runs.id_of(run))
    approve(ledger, case, "ada", secrets["ada"], "refuse")
    state = runs.wake(run)
    assert state is not None
    assert state.name == "Refused"
    assert "ada refused: seen" in (state.message or "")
    assert list(folder.iterdir()) == []


def test_failing_change_undoes_all(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A change that fails takes back itself and those before it."""
    (folder / "fail-b").touch()
    run, state = runs.start(toy.toy_one_stage, target="toy")
    assert state is not None
    assert state.name == "Undone", state.message
    assert (folder / "a").read_text() == ""
    assert "the disk is on fire" in (state.message or "")
    assert kinds(Case.read(ledger, runs.id_of(run)))[-3:] == ["reverted", "reverted", "ended"]


def test_check_that_fails_newly_undoes(runs: Runs, folder: Path) -> None:
    """A check that held before and does not hold after takes the stage back."""
    _, state = runs.start(toy.toy_one_stage, target="toy", names=["a"], check_file="a", check="")
    assert state is not None
    assert state.name == "Undone", state.message
    assert "it reads 'new a'" in (state.message or "")
    assert (folder / "a").read_text() == ""


@pytest.mark.parametrize("proof", ["broken", "busy"])
@pytest.mark.parametrize("decision", ["approve", "refuse"])
def test_check_that_tells_nothing_new_asks(
    runs: Runs, folder: Path, ledger: Ledger, proof: str, decision: str
) -> None:
    """What failed before the act too does not undo by itself: a person keeps or undoes."""
    secrets = enrol(ledger, "ada", "bob")
    (folder / "proof").write_text(proof)
    run, state = runs.start(toy.toy_one_stage, target="toy", names=["a"], check="ok")
    if proof == "busy":
        assert state is not None
        assert state.name == "Remediated", "what could not be asked before is only noted"
        assert "unproved: proof reads 'ok' (busy)" in (state.message or "")
        return
    assert state is None
    assert (folder / "a").read_text() == "new a"
    holder = holder_of(ledger, target_resource("toy"))
    assert holder is not None
    assert "waits for a decision" in holder.stuck
    case = Case.read(ledger, runs.id_of(run))
    for name in ("ada", "bob"):
        approve(ledger, case, name, secrets[name], decision)
        if decision == "refuse":
            break
    state = runs.wake(run)
    assert state is not None
    assert state.name == ("Remediated" if decision == "approve" else "Undone"), state.message
    assert (folder / "a").read_text() == ("new a" if decision == "approve" else "")


def test_world_moved(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """What changed between plan and act stops the run before it touches anything."""
    secrets = enrol(ledger, "ada", "bob")
    run, _ = runs.start(toy.toy_one_stage, target="toy", risk="disruptive")
    (folder / "b").write_text("somebody else's")
    case = Case.read(ledger, runs.id_of(run))
    for name, secret in secrets.items():
        approve(ledger, case, name, secret)
    state = runs.wake(run)
    assert state is not None
    assert state.name == "Refused"
    assert "somebody else" in (state.message or "")
    assert not (folder / "a").exists()


def test_target_repointed_after_approval(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A target that says it is another system is not touched."""
    secrets = enrol(ledger, "ada", "bob")
    run, _ = runs.start(toy.toy_one_stage, target="toy", risk="disruptive")
    (folder / "identity").write_text("another")
    case = Case.read(ledger, runs.id_of(run))
    for name, secret in secrets.items():
        approve(ledger, case, name, secret)
    state = runs.wake(run)
    assert state is not None
    assert state.name == "Refused"
    assert "identity was 'toy' and is 'another'" in (state.message or "")
    assert not (folder / "a").exists()


def test_target_repointed_between_stages(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """Where the first stage's work stands on another system nothing is undone on this one."""
    secrets = enrol(ledger, "ada", "bob")
    run, state = runs.start(toy.toy_two_stages, target="toy")
    assert state is None
    (folder / "identity").write_text("another")
    case = Case.read(ledger, runs.id_of(run))
    for name, secret in secrets.items():
        approve(ledger, case, name, secret)
    state = runs.wake(run)
    assert state is not None
    assert state.name == "Stuck", state.message
    assert (folder / "copy").read_text() == "new"
    assert not (folder / "live").exists()
    holder = holder_of(ledger, target_resource("toy"))
    assert holder is not None
    assert "is 'another'" in holder.stuck


def test_undo_leaves_what_somebody_changed(runs: Runs, folder: Path) -> None:
    """A change that was done and that somebody changed since is not overwritten by an undo."""
    (folder / "spoil-a").touch()
    (folder / "fail-b").touch()
    _, state = runs.start(toy.toy_one_stage, target="toy")
    assert state is not None
    assert state.name == "Stuck", state.message
    assert (folder / "a").read_text() == "spoilt"


def test_limit_exceeded_asks_again(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """An amount beyond what was approved opens the gate again, with the new amount."""
    secrets = enrol(ledger, "ada", "bob", "eve", "fay")
    (folder / "count").write_text("5")
    run, _ = runs.start(toy.toy_one_stage, target="toy", risk="disruptive")
    (folder / "count").write_text("9")
    for pair in (("ada", "bob"), ("eve", "fay")):
        case = Case.read(ledger, runs.id_of(run))
        for name in pair:
            approve(ledger, case, name, secrets[name])
        state = runs.wake(run)
        if pair[0] == "ada":
            assert state is None
            assert not (folder / "a").exists()
    assert state is not None
    assert state.name == "Remediated", state.message
    superseded = Case.read(ledger, runs.id_of(run)).of_kind("superseded")
    assert superseded[0].facts["why"] == "rows lost: 9 rows now, approved were 5"


def test_refused_second_stage_reverts_the_first(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """The copy of a stage before is taken back when the cut-over is refused."""
    secrets = enrol(ledger, "ada")
    run, state = runs.start(toy.toy_two_stages, target="toy")
    assert state is None
    assert (folder / "copy").read_text() == "new"
    case = Case.read(ledger, runs.id_of(run))
    approve(ledger, case, "ada", secrets["ada"], "refuse")
    state = runs.wake(run)
    assert state is not None
    assert state.name == "Refused", state.message
    assert "What earlier stages did was taken back" in (state.message or "")
    assert (folder / "copy").read_text() == ""
    assert not (folder / "live").exists()


@pytest.mark.parametrize(
    ("probe", "seen"), [(True, "not served"), (False, "could not be asked: there is none")]
)
def test_outage_is_measured(
    runs: Runs, folder: Path, ledger: Ledger, *, probe: bool, seen: str
) -> None:
    """What users meet while the changes are carried out is asked from outside, and reported."""
    seen_down = folder / "seen-down"
    if probe:
        (folder / "probe").mkdir()
        (folder / "hold-b").touch()

    def let_go() -> None:
        try:
            until(lambda: seen_down.exists() and seen_down.stat().st_size > 1)
        finally:
            (folder / "hold-b").unlink()

    with ThreadPoolExecutor(1) as beside:
        told = beside.submit(let_go) if probe else None
        run, state = runs.start(toy.toy_one_stage, target="toy", names=["down", "b"])
    assert told is None or told.result() is None
    assert state is not None
    assert state.name == "Remediated", state.message
    case = Case.read(ledger, runs.id_of(run))
    (watched,) = case.of_kind("watched")
    assert (watched.facts["failed"] > 0) is probe
    assert (watched.facts["longest_outage_seconds"] > 0) is probe
    assert seen in report(case)
    assert ("the first time: it is down" in report(case)) is probe


def test_second_stage_beyond_its_outline(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A stage that turned out riskier needs the approvers of the next higher risk."""
    assert folder
    run, _ = runs.start(toy.toy_two_stages, target="toy", second_risk="destructive")
    case = Case.read(ledger, runs.id_of(run))
    stand = count(ledger, case, waiting_gate(case))
    assert stand.needed == 3
    assert case.stages[1].exceeds == "outlined as disruptive, it is destructive"


@pytest.mark.parametrize("decision", ["approve", "refuse"])
def test_undo_with_losses_asks(runs: Runs, folder: Path, ledger: Ledger, decision: str) -> None:
    """An automatic undo that would lose others' writes waits for a person, lease marked."""
    secrets = enrol(ledger, "ada", "bob", "eve", "fay")
    (folder / "loss-live").write_text("12")
    run, _ = runs.start(toy.toy_two_stages, target="toy", check_file="live", check="")
    case = Case.read(ledger, runs.id_of(run))
    for name in ("ada", "bob"):
        approve(ledger, case, name, secrets[name])
    assert runs.wake(run) is None
    assert (folder / "live").read_text() == "swapped new"
    case = Case.read(ledger, runs.id_of(run))
    assert (
        "12 rows would be lost. Approve to undo while it loses at most 1,012 rows"
        in waiting_gate(case).question
    )
    for name in ("eve", "fay"):
        approve(ledger, case, name, secrets[name], decision)
        if decision == "refuse":
            break
    state = runs.wake(run)
    assert state is not None
    kept = decision == "refuse"
    assert state.name == ("Stuck" if kept else "Undone"), state.message
    assert (folder / "live").read_text() == ("swapped new" if kept else "")
    assert (folder / "copy").read_text() == ("new" if kept else "")


def test_undo_asks_anew_where_the_loss_has_grown(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """Who approved the loss of twelve rows did not approve the loss of five thousand."""
    secrets = enrol(ledger, "ada", "bob", "eve", "fay", "gil", "hal")
    (folder / "loss-live").write_text("12")
    run, _ = runs.start(toy.toy_two_stages, target="toy", check_file="live", check="")
    for name in ("ada", "bob"):
        approve(ledger, Case.read(ledger, runs.id_of(run)), name, secrets[name])
    assert runs.wake(run) is None
    for name in ("eve", "fay"):
        approve(ledger, Case.read(ledger, runs.id_of(run)), name, secrets[name])
    (folder / "loss-live").write_text("5000")
    assert runs.wake(run) is None
    assert (folder / "live").read_text() == "swapped new"
    case = Case.read(ledger, runs.id_of(run))
    assert "5000 rows would be lost. Approve to undo while it loses at most 10,000 rows" in (
        waiting_gate(case).question
    )
    (folder / "loss-live").write_text("6000")
    for name in ("gil", "hal"):
        approve(ledger, case, name, secrets[name])
    state = runs.wake(run)
    assert state is not None
    assert state.name == "Undone", state.message
    assert (folder / "live").read_text() == ""


def test_message_without_an_answer_is_asked_about(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """Nobody knows whether it was sent: each further attempt is a person's decision."""
    secrets = enrol(ledger, "ada", "bob", "eve", "fay")
    (folder / "no-answer").touch()
    run, state = runs.start(toy.toy_message, target="toy")
    assert state is None
    assert (folder / "attempts").read_text() == "x"
    approve(ledger, Case.read(ledger, runs.id_of(run)), "ada", secrets["ada"], "refuse")
    assert runs.wake(run) is None
    assert (folder / "attempts").read_text() == "xx"
    (folder / "no-answer").unlink()
    approve(ledger, Case.read(ledger, runs.id_of(run)), "bob", secrets["bob"], "refuse")
    state = runs.wake(run)
    assert state is not None
    assert state.name == "Remediated", state.message
    assert (folder / "attempts").read_text() == "xxx"
    assert (folder / "message").read_text() == "sent"


def test_failing_revert_is_stuck(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """A revert that fails leaves the lease marked and says what stands."""
    (folder / "fail-b").touch()
    (folder / "keep-a").touch()
    _, state = runs.start(toy.toy_one_stage, target="toy")
    assert state is not None
    assert state.name == "Stuck", state.message
    assert "These changes stand: write a" in (state.message or "")
    holder = holder_of(ledger, target_resource("toy"))
    assert holder is not None
    assert "write a" in holder.stuck
    _, state = runs.start(toy.toy_one_stage, target="toy", names=["c"])
    assert state is not None
    assert state.name == "Refused"


def test_ticket_makes_the_requester_known(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """An authenticated requester saves the extra approver, and may not approve themselves."""
    assert folder
    secrets = enrol(ledger, "ada", "bob")
    key = ticket(
        ledger,
        "toy_one_stage",
        {"target": "toy", "risk": "disruptive"},
        "ada",
        pyotp.TOTP(secrets["ada"]).now(),
    )
    run = runs.create(toy.toy_one_stage, ticket=key, target="toy", risk="disruptive")
    assert runs.execute(run) is None
    case = Case.read(ledger, runs.id_of(run))
    assert case.requester.name == "ada"
    assert count(ledger, case, waiting_gate(case)).needed == 1
    again = pyotp.TOTP(secrets["ada"])
    with pytest.raises(ApprovalRefused, match="ada asked for it"):
        decide(
            ledger,
            case,
            waiting_gate(case),
            approver="ada",
            code=again.at(toy.now().timestamp() + 30),
            decision="approve",
            comment="",
            source=codes.HOST,
        )
    assert UUID(str(run.id))
