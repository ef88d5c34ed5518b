"""Many remediations at once: one acts on a target at a time, the others wait, none is lost."""

import contextvars
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar

import pytest
from prefect.client.schemas.objects import FlowRun, State
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.guardrails.case import Case
from tasks.guardrails.holders import holders, target_resource
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Change, Observed, Plan, Risk, Standing, Work
from tasks.guardrails.policy import Policy, set_policy
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.guardrails.verify import verify
from tests import toy
from tests.integration.test_worker_crowd import api_url  # noqa: F401 - a fixture
from tests.prefect_fixtures import Runs
from tests.waiting import until


class _Room(Change):
    """A change in a folder that has room for one remediation at a time."""

    name: str

    @property
    def title(self) -> str:
        """Say what is done."""
        return f"{self.kind} {self.name}"

    @property
    def objects(self) -> tuple[str, ...]:
        """Its own mark."""
        return (f"mark {self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Without and with its mark."""
        return "no mark", "a mark"

    def mark(self, work: Work) -> Path:
        """Give the file that says that this was done."""
        return toy.folder(work) / f"{self.kind}-{self.name}"

    def observe(self, work: Work) -> Observed:
        """Look for the mark."""
        done = self.mark(work).exists()
        return Observed(Standing.AFTER if done else Standing.BEFORE, f"marked: {done}")

    def revert(self, work: Work) -> str | None:
        """Remove the mark."""
        self.mark(work).unlink(missing_ok=True)
        return None


class Enter(_Room):
    """Goes in; fails where somebody is inside, and stays while there is a file named 'hold'."""

    kind: ClassVar[str] = "toy.enter"

    def apply(self, work: Work) -> str | None:
        """Go in."""
        with (toy.folder(work) / "inside").open("x") as inside:
            inside.write(self.name)
        self.mark(work).touch()
        until(lambda: not (toy.folder(work) / "hold").exists(), seconds=400)
        return None


class Leave(_Room):
    """Goes out; fails where somebody else is inside."""

    kind: ClassVar[str] = "toy.leave"

    def apply(self, work: Work) -> str | None:
        """Go out."""
        inside = toy.folder(work) / "inside"
        assert inside.read_text() == self.name
        inside.unlink()
        self.mark(work).touch()
        return None


@remediation(guide="Toy / Alone")
def toy_alone(target: str) -> Plan:
    """Go in and out.

    Args:
        target: The folder.
    """
    assert target
    name = remediation_id()
    return Plan(title="Go", risk=Risk.HARMLESS, changes=(Enter(name=name), Leave(name=name)))


@pytest.fixture
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """Give runs on a Prefect server with PostgreSQL, as `remedy up` starts it."""
    with temporary_settings({PREFECT_API_URL: request.getfixturevalue("api_url")}):
        yield Runs()


class Crowd:
    """Runs that all begin at the same moment, each in a thread of its own."""

    def __init__(self, runs: Runs, created: list[FlowRun]) -> None:
        """Start them."""
        self.pool = ThreadPoolExecutor(len(created))
        barrier = threading.Barrier(len(created))

        def execute(run: FlowRun) -> State[Any] | None:
            barrier.wait()
            return runs.execute(run)

        self.futures = [
            self.pool.submit(contextvars.copy_context().run, execute, run) for run in created
        ]

    def ends(self) -> list[str]:
        """Wait for all, and give how each ended, with its reason."""
        states = [future.result() for future in self.futures]
        self.pool.shutdown()
        return [f"{state.name}: {state.message}" if state else "Suspended" for state in states]


def set_patience(ledger: Ledger, seconds: int) -> None:
    """Set how long a remediation waits for a busy target."""
    with ledger.writing() as chain:
        set_policy(chain, Policy(), "toy", {"busy_wait_seconds": seconds}, "test")


def insist_on_one_at_a_time(ledger: Ledger, resource: str) -> int:
    """Walk the ledger: whoever acts on a target holds it; gives how often it was taken."""
    holder, taken = "", 0
    for entry in ledger.entries():
        if entry.facts.get("resource") == resource:
            if entry.kind == "lease_taken":
                assert holder == "", f"{entry.remediation} came in while {holder} was there"
                assert entry.facts["over_from"] == ""
                holder, taken = entry.remediation, taken + 1
                assert entry.facts["token"] == taken
            else:
                assert (entry.kind, entry.remediation) == ("lease_released", holder)
                holder = ""
        elif entry.kind in {"begun", "done", "skipped", "checked", "watched", "stage_done"}:
            assert entry.remediation == holder
    assert holder == ""
    return taken


def test_twenty_on_one_target_go_one_after_the_other(
    runs: Runs, folder: Path, ledger: Ledger
) -> None:
    """All start at once and all are done, with no act of one between those of another."""
    created = [runs.create(toy_alone, target="toy") for _ in range(20)]
    ends = Crowd(runs, created).ends()
    assert [end for end in ends if not end.startswith("Remediated: ")] == []
    ids = {runs.id_of(run) for run in created}
    assert len(ids) == 20
    marks = {f"{kind}-{one}" for kind in ("toy.enter", "toy.leave") for one in ids}
    assert {path.name for path in folder.iterdir()} == marks
    assert insist_on_one_at_a_time(ledger, target_resource("toy")) == 20
    for one in ids:
        assert Counter(entry.kind for entry in Case.read(ledger, one).entries)["done"] == 2
    assert not [one for one in holders(ledger) if one.is_live or one.stuck]
    assert verify(ledger).is_sound


def test_the_same_work_twenty_times_is_done_once(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """Whoever comes later finds it done, and leaves it so."""
    created = [runs.create(toy.toy_one_stage, target="toy") for _ in range(20)]
    ends = Crowd(runs, created).ends()
    assert [end for end in ends if not end.startswith("Remediated: ")] == []
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "a": "new a",
        "b": "new b",
    }
    insist_on_one_at_a_time(ledger, target_resource("toy"))
    assert Counter(entry.kind for entry in ledger.entries())["begun"] == 2


def test_where_nobody_waits_the_rest_are_refused(runs: Runs, folder: Path, ledger: Ledger) -> None:
    """They say who holds the target, and have done nothing, not even half of it."""
    set_patience(ledger, 0)
    (folder / "hold").touch()
    first, *others = [runs.create(toy_alone, target="toy") for _ in range(20)]
    inside = Crowd(runs, [first])
    until((folder / "inside").exists)
    ends = Crowd(runs, others).ends()
    holds = f"remediation {runs.id_of(first)} holds it"
    assert [end for end in ends if not (end.startswith("Refused: ") and holds in end)] == []
    assert len(ends) == 19
    (folder / "hold").unlink()
    assert inside.ends()[0].startswith("Remediated: ")
    assert insist_on_one_at_a_time(ledger, target_resource("toy")) == 1
    assert len(list(folder.iterdir())) == 2
    for run in others:
        case = Case.read(ledger, runs.id_of(run))
        assert (case.outcome, case.has_acted) == ("refused", False)


@pytest.mark.timeout(1200)
def test_fifty_targets_at_once(
    runs: Runs, home: Path, ledger: Ledger, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No remediation waits for that of another target, and all end."""
    assert folder
    names = [f"toy-{number}" for number in range(50)]
    for name in names:
        (home / name).mkdir()
        (home / name / "hold").touch()
        monkeypatch.setitem(toy.SYSTEMS, name, toy.FileSystem(name, home / name))
    crowd = Crowd(runs, [runs.create(toy_alone, target=name) for name in names])
    # All at once; each starts a process's worth of work, on however few processors.
    until(lambda: all((home / name / "inside").exists() for name in names), seconds=400)
    for name in names:
        (home / name / "hold").unlink()
    ends = crowd.ends()
    assert [end for end in ends if not end.startswith("Remediated: ")] == []
    for name in names:
        assert len(list((home / name).iterdir())) == 2
    assert verify(ledger).is_sound
