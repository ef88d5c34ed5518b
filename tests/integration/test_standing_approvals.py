"""Standing approvals: within their bounds nobody is asked, outside of them somebody is."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyotp
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun

from deployments.cli.app import call
from tasks.database.migrations.downgrading import DowngradeRevision
from tasks.guardrails import approvers, engine, standing, systems
from tasks.guardrails.case import Case
from tasks.guardrails.errors import BadInput
from tasks.guardrails.leases import Lease, take
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.policy import policy_of, set_policy
from tasks.guardrails.requests import own_parameters, ticket
from tests import toy
from tests.approving import Approvers, Person
from tests.prefect_fixtures import Runs

ASKED = {"target": "toy", "risk": "disruptive"}


class Scheduled:
    """Somebody known who asks, and somebody who lets it run."""

    def __init__(self, runs: Runs, ledger: Ledger) -> None:
        """Enrol both."""
        self.runs, self.ledger = runs, ledger
        self.giver = approvers.add(ledger, "polly", ("policy", "approve"), "test")
        self._asker = Person(ledger, "ada")

    def bounds(self, **other: Any) -> dict[str, Any]:  # noqa: ANN401 - any bound
        """Give bounds that cover the run, but for some."""
        return {
            "remediation": "toy_one_stage",
            "target": "toy",
            "parameters": own_parameters(toy.toy_one_stage, ASKED),
            "kinds": ["toy.write_file"],
            "at_most": 2,
            "risk": "disruptive",
            "until": datetime.now(UTC) + timedelta(days=1),
            "fingerprint": toy.SYSTEMS["toy"].fingerprint(),
            "reason": "weekly",
            **other,
        }

    def give(self, actor: str = "polly", **other: Any) -> str:  # noqa: ANN401 - any bound
        """Give a standing approval, and its id."""
        with self.ledger.writing() as chain:
            return standing.give(self.ledger, chain, self.bounds(**other), actor).id

    def revoke(self, name: str) -> None:
        """Revoke it."""
        with self.ledger.writing() as chain:
            standing.revoke(self.ledger, chain, name, "over", "polly")

    def policy(self, **values: Any) -> None:  # noqa: ANN401 - any field
        """Set fields of the target's policy."""
        with self.ledger.writing() as chain:
            before = policy_of(self.ledger, "toy").policy
            set_policy(chain, before, "toy", values, "polly")

    def create(self, **other: Any) -> FlowRun:  # noqa: ANN401 - any parameter
        """Create a run of a known requester."""
        asked = {**ASKED, **other}
        key = ticket(self.ledger, "toy_one_stage", asked, "ada", self._asker.code())
        return self.runs.create(toy.toy_one_stage, ticket=key, **asked)

    def enrol_anew(self, name: str) -> None:
        """Revoke somebody, and enrol them again with both roles."""
        approvers.revoke(self.ledger, name, "lost their telephone", "test")
        secret = approvers.add(self.ledger, name, ("policy", "approve"), "test").secret
        if name == "ada":
            self._asker.totp = pyotp.TOTP(secret)

    def case(self, run: FlowRun) -> Case:
        """Read the run's case."""
        return Case.read(self.ledger, self.runs.id_of(run))


@pytest.fixture
def scheduled(runs: Runs, folder: Path, ledger: Ledger) -> Scheduled:
    """Give a target made of files, and who works on it."""
    assert folder
    return Scheduled(runs, ledger)


def test_within_its_bounds_nobody_is_asked(scheduled: Scheduled, folder: Path) -> None:
    """The run goes to its end; ledger and report say under whose approval."""
    name = scheduled.give()
    run = scheduled.create()
    state = scheduled.runs.execute(run)
    assert state is not None
    assert state.name == "Remediated", state.message
    assert (folder / "a").read_text() == "new a"
    case = scheduled.case(run)
    (used,) = case.of_kind("standing_used")
    assert (used.facts["standing"], used.facts["given_by"]) == (name, "polly")
    assert used.facts["digest"] == case.stages[0].digest
    assert not case.of_kind("gate_opened", "decided")


def outside(scheduled: Scheduled, case: str) -> FlowRun:
    """Make a run that a standing approval does not cover."""
    now = datetime.now(UTC)
    bounds: dict[str, dict[str, Any]] = {
        "kinds": {"kinds": ["toy.ring"]},
        "objects": {"at_most": 1},
        "risk": {"risk": "harmless"},
        "remediation": {"remediation": "toy_ring"},
        "target": {"target": "other"},
        "parameters": {"parameters": {**own_parameters(toy.toy_one_stage, ASKED), "check": "ok"}},
        "configured anew": {"fingerprint": "another"},
        "ended": {"until": now + timedelta(seconds=5)},  # for whatever giving it takes
    }
    name = scheduled.give(**bounds.get(case, {}))
    if case == "own":
        scheduled.enrol_anew("ada")
        scheduled.give("ada")
        scheduled.revoke(name)
    elif case == "enrolled anew":
        scheduled.enrol_anew("polly")
    elif case == "lower risk":
        scheduled.policy(harmless=2)
    elif case == "revoked":
        scheduled.revoke(name)
    elif case == "giver revoked":
        approvers.revoke(scheduled.ledger, "polly", "left", "test")
    elif case == "stricter":
        scheduled.policy(disruptive=2)
    elif case == "ended":
        while datetime.now(UTC) <= now + timedelta(seconds=5):
            time.sleep(0.1)
    elif case == "unknown":
        return scheduled.runs.create(toy.toy_one_stage, **ASKED)
    return scheduled.create()


def shown_with_form(run: FlowRun) -> str:
    """Read what Prefect shows beside the form of a run that waits."""
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(run.id).state
        assert state is not None
        keys = state.state_details.run_input_keyset
        assert keys is not None
        return str(client.read_flow_run_input(run.id, keys["description"]))


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("kinds", "kinds of change that are not covered: toy.write"),
        ("objects", "2 objects, at most 1 are covered"),
        ("risk", "it is disruptive, at most harmless is covered"),
        ("remediation", ""),
        ("target", ""),
        ("parameters", "its parameters are others"),
        ("configured anew", "the target was configured anew"),
        ("ended", "it ended at"),
        ("enrolled anew", "was enrolled anew since"),
        ("lower risk", "the policy asks for more approvers"),
        ("revoked", "polly revoked it"),
        ("giver revoked", "has not the role policy any more"),
        ("stricter", "the policy asks for more approvers"),
        ("unknown", "nobody knows who asked for it"),
        ("own", "ada gave it and asks for it now"),
    ],
)
def test_outside_of_its_bounds_somebody_is_asked(
    scheduled: Scheduled, folder: Path, case: str, why: str
) -> None:
    """The run waits, untouched; who is asked reads why, and their approval is carried out."""
    run = outside(scheduled, case)
    assert scheduled.runs.execute(run) is None
    assert list(folder.iterdir()) == []
    assert not scheduled.case(run).of_kind("standing_used")
    shown = shown_with_form(run)
    assert why in shown
    assert ("does not cover this" in shown) is bool(why)
    if case == "giver revoked":
        return
    state = Approvers(scheduled.ledger).approve_until_it_ends(scheduled.runs, run)
    assert state.name == "Remediated", state.message


def test_some_changes_a_person_decides_on_each_time(
    scheduled: Scheduled, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What such a stage does is asked about, whatever a standing approval covers."""
    monkeypatch.setattr(toy.WriteFile, "asked_each_time", True)
    scheduled.give()
    run = scheduled.create()
    assert scheduled.runs.execute(run) is None
    assert list(folder.iterdir()) == []
    assert "people decide on it each time" in shown_with_form(run)
    assert DowngradeRevision.asked_each_time


def test_revoked_while_it_waits_for_the_target(
    scheduled: Scheduled, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is covered and has not begun asks once the approval is revoked."""
    name = scheduled.give()
    run = scheduled.create()

    def take_late(*given: Any, **named: Any) -> Lease:  # noqa: ANN401 - as `take` takes
        scheduled.revoke(name)
        monkeypatch.setattr(engine, "take", take)
        return take(*given, **named)

    monkeypatch.setattr(engine, "take", take_late)
    assert scheduled.runs.execute(run) is None
    assert list(folder.iterdir()) == []
    case = scheduled.case(run)
    assert [len(case.of_kind(kind)) for kind in ("standing_used", "superseded")] == [1, 1]
    assert case.open_gate is not None


def test_a_question_is_asked_all_the_same(scheduled: Scheduled, folder: Path) -> None:
    """A check that fails as it did before is a question to a person, whatever stands."""
    parameters = own_parameters(toy.toy_one_stage, {**ASKED, "check": "ok", "check_file": "proof"})
    scheduled.give(parameters=parameters)
    (folder / "proof").write_text("broken")
    run = scheduled.create(check="ok", check_file="proof")
    assert scheduled.runs.execute(run) is None
    case = scheduled.case(run)
    assert case.of_kind("standing_used")
    assert case.open_gate is not None
    assert "/" in case.open_gate.facts["gate"]


@pytest.mark.parametrize(
    ("other", "found"),
    [
        ({"until": datetime.now(UTC) - timedelta(days=1)}, "."),
        ({"until": datetime.now(UTC) + timedelta(days=900)}, "."),
        ({"kinds": []}, "kinds"),
        ({"at_most": 0}, "at_most"),
        ({"reason": ""}, "reason"),
        ({"risk": "none"}, "risk"),
        ({"more": 1}, "more"),
    ],
)
def test_bad_bounds_are_refused(scheduled: Scheduled, other: dict[str, Any], found: str) -> None:
    """Nothing is written, and the answer names the bound."""
    with pytest.raises(BadInput, match=found):
        scheduled.give(**other)
    assert standing.standing_approvals(scheduled.ledger) == []


@pytest.fixture
def code(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """Somebody with the role policy, for the command line."""
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert ledger
    secret = approvers.add(ledger, "pat", ("policy",), "test").secret
    given = iter(range(2))
    return lambda: pyotp.TOTP(secret).at(int(datetime.now(UTC).timestamp()) + 30 * next(given))


def test_by_command(
    ledger: Ledger,
    code: Callable[[], str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Given, listed and revoked; a mistyped name costs no code."""
    monkeypatch.setattr(systems, "_loaders", [lambda name: toy.FileSystem(name, tmp_path)])
    until = f"{datetime.now(UTC) + timedelta(days=90):%Y-%m-%d}"
    bounds = ("--target", "shop", "--until", until, "--at-most", "3", "--reason", "nightly")
    proof = ("--as", "pat", "--code", code())
    assert call(["standing", "add", "back-up", *bounds, *proof]) == 2
    assert "back-up-database" in capsys.readouterr().err
    assert call(["standing", "add", "back-up-database", *bounds, *proof]) == 0
    (one,) = standing.standing_approvals(ledger)
    assert one.bounds.remediation == "back_up_database"
    assert one.bounds.kinds == ("database.back_up_database",)
    assert one.bounds.parameters == {"target": "shop"}
    assert call(["standing", "list"]) == 0
    assert "holds" in capsys.readouterr().out
    again = ("--as", "pat", "--code", code())
    assert call(["standing", "revoke", one.id, "--reason", "over", *again]) == 0
    assert standing.standing_approvals(ledger)[0].revoked_by == "pat"
