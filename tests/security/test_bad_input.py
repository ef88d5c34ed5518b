"""Every flow with every kind of nonsense for its parameters: a plan or a refusal, nothing else."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.exceptions import ParameterTypeError
from prefect.utilities.callables import parameter_schema

from flows.catalogue import load_all
from infra.sandbox.services import Sandbox
from tasks.guardrails.case import Case
from tasks.guardrails.errors import RemediationError
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Plan, digest_of
from tasks.guardrails.remediation import Remediation, planning_for
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget
from tests import hostile
from tests.prefect_fixtures import Runs
from tests.snapshots import databases

FLOWS = {name: flow for name, flow in load_all().items() if parameter_schema(flow).properties}
REMEDIATIONS = {name: flow for name, flow in FLOWS.items() if isinstance(flow, Remediation)}
GIVEN_BY_THE_ENGINE = {"dry_run", "reason"}
ENDS = {"Planned", "Unchanged", "Advised", "Refused"}
# For how long something is watched at most here; a day would be allowed.
BRIEF = {"watch_minutes": 0.01, "watch_seconds": 1, "seconds": 1}
DAY = 86_400
QUICK = settings(
    max_examples=20,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@dataclass(frozen=True)
class World:
    """What of the sandbox and this machine no planning may change."""

    databases: tuple[str, ...]
    roles: tuple[Any, ...]
    files: tuple[tuple[str, int], ...]

    @classmethod
    def look(cls, sandbox: Sandbox, *folders: Path) -> "World":
        """Look at it as it is now."""
        with sandbox.connect("postgres") as session:
            roles = session.execute("SELECT rolname, rolsuper FROM pg_roles ORDER BY 1").fetchall()
        found = sorted(
            one
            for folder in folders
            for one in folder.rglob("*")
            if one.is_file() and not one.name.startswith("ledger.db")  # reading touches it
        )
        files = tuple((str(one), one.stat().st_mtime_ns) for one in found)
        return cls(databases(sandbox), tuple(roles), files)


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """Give the file that a shell would make of some values."""
    return tmp_path / "canary"


@pytest.fixture
def sandbox(
    prefect_server: None,  # noqa: ARG001 - it has to run: targets are looked up there
    fresh_sandbox: Sandbox,
    sandbox_target: SandboxTarget,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Sandbox:
    """Give a real target named 'sandbox' with one sound backup."""
    backup = fresh_sandbox.backups / "backup-20261124-100000.sql"
    with fresh_sandbox.connect() as session:
        environment = {
            "PGHOST": session.info.host,
            "PGPORT": str(session.info.port),
            "PGUSER": session.info.user,
            "PGPASSWORD": session.info.password,
        }
        subprocess.run(
            [
                *(fresh_sandbox.cluster.programs / "pg_dump", "-f", backup),
                fresh_sandbox.settings.database,
            ],
            env=environment,
            check=True,
        )
    monkeypatch.chdir(home)
    targets.give(sandbox_target)
    return fresh_sandbox


def values(schema: dict[str, Any], canary: Path) -> st.SearchStrategy[Any]:
    """Give values for a parameter: nonsense of its type, and of others."""
    words = hostile.words(canary)
    numbers = st.sampled_from([-1, 0, 1, 10**9, 10**30, 10**400, -(10**400), 0.5, float("inf")])
    if schema.get("type") == "integer":
        return numbers
    good = st.just(schema["default"]) if "default" in schema else st.just("sandbox")
    other = numbers | st.booleans() | st.none() | st.lists(words, max_size=2)
    return words | good | st.dictionaries(words, words, max_size=2) | other


def _brief(name: str, value: Any) -> Any:  # noqa: ANN401 - any nonsense
    most = BRIEF.get(name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return min(value, most) if most and is_number and 0 < value <= DAY else value


@st.composite
def parameters(draw: st.DrawFn, flow: Flow[..., Any], canary: Path) -> dict[str, Any]:
    """Give parameters of a flow: one of them or all are nonsense, the others are good."""
    schema = parameter_schema(flow).properties
    names = sorted(set(schema) - GIVEN_BY_THE_ENGINE)
    bad = {draw(st.sampled_from(names))} if draw(st.booleans()) else set(names)
    chosen = {
        name: draw(values(schema[name], canary)) if name in bad else schema[name].get("default")
        for name in names
    }
    if "target" not in bad and "target" in names:
        chosen["target"] = "sandbox"
    return {name: _brief(name, value) for name, value in chosen.items()}


@pytest.mark.parametrize("name", FLOWS)
def test_nonsense_is_planned_or_refused(
    name: str, sandbox: Sandbox, home: Path, canary: Path
) -> None:
    """Planning ends with a plan or in our four parts; no program, database, role or file by it."""
    flow = FLOWS[name]
    Ledger()
    before = World.look(sandbox, sandbox.backups, home)

    @QUICK
    @given(asked=parameters(flow, canary))
    def planned(asked: dict[str, Any]) -> None:
        try:
            typed = flow.validate_parameters(asked)
        except ParameterTypeError:
            return  # Prefect refuses such a run before there is one
        planner = flow.planner if isinstance(flow, Remediation) else flow.fn
        given_ = {key: value for key, value in typed.items() if key not in GIVEN_BY_THE_ENGINE}
        try:
            with planning_for("k3f9q2zzzz"):
                plan = planner(**given_)
        except RemediationError as error:
            told = error
        else:
            assert isinstance(plan, Plan), asked
            digest_of(plan.model_dump(mode="json"))
            return
        assert all((told.expected, told.found, told.todo)), asked

    planned()
    assert not canary.exists()
    assert World.look(sandbox, sandbox.backups, home) == before


def _goes_over_the_wire(asked: dict[str, Any]) -> bool:
    try:
        json.dumps(asked, allow_nan=False)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("name", REMEDIATIONS)
def test_a_run_with_nonsense_ends(
    name: str, sandbox: Sandbox, home: Path, canary: Path, runs: Runs, ledger: Ledger
) -> None:
    """Through Prefect and the engine it ends in an outcome, and the ledger has what was typed."""
    flow = REMEDIATIONS[name]
    before = World.look(sandbox, sandbox.backups, home)

    @settings(QUICK, max_examples=6)
    @given(asked=parameters(flow, canary).filter(_goes_over_the_wire), reason=hostile.words(canary))
    def ended(asked: dict[str, Any], reason: str) -> None:
        run, state = runs.start(flow, **asked, dry_run=True, reason=reason)
        case = Case.read(ledger, runs.id_of(run))
        with get_client(sync_client=True) as client:
            # With a number of more than 64 bits among its parameters no list of runs is answered.
            client.delete_flow_run(run.id)
        assert state is not None, asked
        if not case.request:  # Prefect refused the type
            assert "ParameterTypeError" in f"{state.name} {state.message}", asked
            return
        assert state.name in ENDS, (asked, state.message)
        assert "defect" not in (state.message or ""), (asked, state.message)
        assert case.request["reason"] == reason
        assert case.outcome == state.name.lower()

    ended()
    assert not canary.exists()
    assert World.look(sandbox, sandbox.backups, home) == before
