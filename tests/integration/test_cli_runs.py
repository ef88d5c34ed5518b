"""The command with a real Prefect server, its runs executed here: every moment is reached."""

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import Flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.client.schemas.sorting import FlowRunSort
from prefect.settings import PREFECT_API_URL
from prefect.states import Crashed
from prefect.utilities.callables import parameter_schema

from deployments.services.environment import environment
from flows.help.reap_remediations import reap_remediations, start_recovery
from flows.help.recover_remediation import recover_remediation
from tasks.guardrails import recovery
from tasks.guardrails.case import Case
from tasks.guardrails.holders import remediation_resource
from tasks.guardrails.leases import take
from tasks.guardrails.ledger import Ledger
from tasks.platforms.targets import PLATFORMS
from tests import toy
from tests.broken_flows import make_section
from tests.integration.test_cli import Command
from tests.postgres_fixtures import Cluster
from tests.prefect_fixtures import Runs


class Worker(Runs):
    """Takes the runs that the command created, when the test wants it."""

    def deploy(self, flow: Flow[..., Any]) -> None:
        """Register a flow as `remedy up` does: with the parameters that it takes."""
        with get_client(sync_client=True) as client:
            client.create_deployment(
                flow_id=client.create_flow(flow),
                name=flow.name,
                parameter_openapi_schema=parameter_schema(flow).model_dump(exclude_unset=True),
            )

    def work(self, flow: Flow[..., Any], run: str) -> State[Any] | None:
        """Execute a run until it ends or suspends; None where it suspended."""
        with get_client(sync_client=True) as client:
            found = client.read_flow_run(UUID(run))
        self._flows[found.id] = flow
        return self.execute(found)


@pytest.fixture
def worker(prefect_server: None, folder: Path) -> Worker:  # noqa: ARG001 - it has to run
    """A worker for target 'toy', with the flows that the tests start."""
    assert folder
    made = Worker()
    for flow in (toy.toy_one_stage, toy.toy_two_stages, recover_remediation):
        made.deploy(flow)
    return made


@pytest.fixture
def command(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, worker: Worker
) -> Command:
    """The command with a home of its own, and the server's address."""
    assert worker
    variables = environment(home, {"PREFECT_API_URL": PREFECT_API_URL.value() or ""})
    variables["PREFECT_API_URL"] = PREFECT_API_URL.value() or ""
    for name, value in (variables | {"COLUMNS": "200"}).items():
        monkeypatch.setenv(name, value)
    return Command(capsys)


def test_targets_are_listed_where_a_platform_was_never_registered(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a server that an older version has set up."""
    monkeypatch.setitem(PLATFORMS, "never-registered-target", "nowhere:Nothing")
    code, _, error = command("target", "list")
    assert code == 0, error


def runs_of_recovery(remediation: str) -> list[str]:
    """Read the ids of the recoveries of a remediation that were started."""
    with get_client(sync_client=True) as client:
        # By default in the order of random ids: of more than these, any might be missing.
        found = client.read_flow_runs(limit=200, sort=FlowRunSort.EXPECTED_START_TIME_DESC)
    return [str(run.id) for run in found if run.parameters == {"remediation": remediation}]


def test_the_day_to_day_way_on_a_ledger_on_postgresql(
    command: Command,
    worker: Worker,
    home: Path,
    postgres_cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Installed, asked, approved, done and verified, by a role that owns nothing of the ledger."""
    name = f"ledger_{uuid4().hex[:12]}"
    owner, writer = f"{name}_owner", f"{name}_writer"
    postgres_cluster.run(f"CREATE ROLE {owner} LOGIN; CREATE ROLE {writer} LOGIN")
    postgres_cluster.run(f"CREATE DATABASE {name} OWNER {owner}")
    place = f"127.0.0.1:{postgres_cluster.port}/{name}"
    install = ("ledger", "install", "--owner-url", f"postgresql://{owner}@{place}")
    code, _, said = command(*install, "--writer", writer)
    assert code == 0, said
    monkeypatch.setenv("REMEDY_LEDGER_URL", f"postgresql://{writer}@{place}")

    secrets = {"ada": command.data("approver", "add", "ada")["secret"]}

    def proof(who: str) -> tuple[str, ...]:
        return ("--as", who, "--code", command.code(secrets[who]))

    # Of each person two codes are good at a time.
    roles = ("--role", "approve", "--role", "policy")
    secrets["bob"] = command.data("approver", "add", "bob", *roles, *proof("ada"))["secret"]
    assert command.data("policy", "set", "toy", "harmless=1", *proof("bob"))["harmless"] == 1
    asked = ("--target", "toy", "--reason", "a is missing", *proof("ada"))
    started = command.data("run", "toy-one-stage", *asked)
    assert worker.work(toy.toy_one_stage, started["run"]) is None
    shown = command.data("show", started["remediation"])
    assert (shown["waits"], shown["requester"]["name"]) == (True, "ada")
    approved = command.data("approve", started["remediation"], *proof("bob"))
    assert (approved["open"], approved["woken"]) == (False, True)
    state = worker.work(toy.toy_one_stage, started["run"])
    assert state is not None
    assert state.name == "Remediated", state.message
    assert [one["outcome"] for one in command.data("runs")] == ["remediated"]
    verified = command.data("ledger", "verify")
    assert verified["sound"]
    assert verified["entries"] == postgres_cluster.one("SELECT count(*) FROM entries", name)
    assert not (home / "ledger.db").exists()
    Ledger().engine.dispose()
    postgres_cluster.run(f"DROP DATABASE {name} WITH (FORCE)")
    postgres_cluster.run(f"DROP ROLE {owner}; DROP ROLE {writer}")


@pytest.mark.parametrize("words", ["show", "approve --as ada", "undo", "recover", "ledger show"])
def test_a_run_that_has_not_begun_is_known(command: Command, words: str) -> None:
    """Right after `remedy run` the ledger has nothing yet; Prefect is asked by the same id."""
    started = command.data("run", "toy-one-stage", "--target", "toy")
    for typed in (started["remediation"], started["remediation"][:6], started["run"]):
        code, _, errors = command(*words.split(), typed)
        assert code == 7, errors
        assert "it is created and about to start; Prefect says Scheduled" in errors
    code, _, errors = command(*words.split(), "zzzzzzzzzz")
    assert (code, "neither the ledger nor" in errors) == (2, True), errors


def test_a_run_that_died_before_it_began_is_said(command: Command) -> None:
    """Its log is the place to look; waiting for it would be in vain."""
    started = command.data("run", "toy-one-stage", "--target", "toy")
    with get_client(sync_client=True) as client:
        crash: State[None] = Crashed(message="No space left on device.")
        client.set_flow_run_state(UUID(started["run"]), crash, force=True)
    code, _, errors = command("show", started["remediation"])
    assert code == 7
    assert "ended before it recorded anything; Prefect says Crashed: No space left" in errors
    assert f"prefect flow-run logs {started['run']}" in errors


def test_a_run_that_has_not_begun_is_cancelled(command: Command) -> None:
    """There is nothing to take back, and no worker takes it any more."""
    started = command.data("run", "toy-one-stage", "--target", "toy")
    said = command.data("cancel", started["remediation"])
    assert (said["run"], said["state"], said["recovery"]) == (started["run"], "Cancelled", None)
    with get_client(sync_client=True) as client:
        state = client.read_flow_run(UUID(started["run"])).state
    assert state is not None
    assert state.is_cancelled()
    assert runs_of_recovery(started["remediation"]) == []


def waiting(command: Command, worker: Worker, folder: Path) -> str:
    """Start a remediation that has done its first stage and waits for the second one's approval."""
    started = command.data("run", "toy-two-stages", "--target", "toy")
    assert worker.work(toy.toy_two_stages, started["run"]) is None
    assert (folder / "copy").read_text() == "new"
    return str(started["remediation"])


def test_cancel_has_it_taken_back_at_once(command: Command, worker: Worker, folder: Path) -> None:
    """The command starts the recovery itself; the reaper starts no second one."""
    remediation = waiting(command, worker, folder)
    said = command.data("cancel", remediation)
    assert said["state"] == "Cancelled"
    assert len(Case.read(Ledger(), remediation).of_kind("recovery_started")) == 1
    assert recovery.reap(Ledger(), start_recovery) == []
    assert runs_of_recovery(remediation) == [said["recovery"]]
    state = worker.work(recover_remediation, said["recovery"])
    assert state is not None
    assert state.name == "Undone", state.message
    assert (folder / "copy").read_text() == ""


def test_cancel_leaves_a_process_at_work_alone(
    command: Command, worker: Worker, folder: Path
) -> None:
    """While somebody carries it on nothing else does: it is taken back when that has ended."""
    remediation = waiting(command, worker, folder)
    ledger = Ledger()
    run = Case.read(ledger, remediation).runs[-1]
    lease = take(ledger, remediation_resource(remediation), remediation, run)
    code, out, _ = command("cancel", remediation)
    assert (code, "taken back when its process has ended" in out) == (0, True)
    assert runs_of_recovery(remediation) == []
    lease.release()
    again = command.data("cancel", remediation)
    assert runs_of_recovery(remediation) == [again["recovery"]]


HALF_DONE = '''
from tasks.guardrails.plan import Plan
from tasks.guardrails.remediation import remediation

@remediation(guide="Toy / Half done")
def half_done(target: str) -> Plan:
    """Do one stage of two.

    Args:
        target: The folder.
    """
    return Plan(title=target)

@half_done.stages("second")
'''


def test_a_broken_flow_file_keeps_no_other_from_recovery(
    command: Command,
    worker: Worker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Doctor and reaper name the file; its remediation is left as it is, others go on."""
    section = make_section(tmp_path, monkeypatch)
    (section / "half_done.py").write_text(HALF_DONE + "def second() -> None: ...\n")
    code, out, _ = command("doctor", "--json")
    assert code == 11
    why = "AttributeError: 'Remediation' object has no attribute 'stages'"
    assert f'"what": "half_done.py",\n    "answer": "fails",\n    "detail": "{why}' in out

    ledger = Ledger()
    asked = {"target": "toy", "parameters": {"target": "toy"}, "dry_run": False, "reason": ""}
    asked |= {"requester": {"name": "x", "known": True, "how": "x"}}
    for remediation in ("half_done", "toy_one_stage"):
        ledger.append("requested", {"name": remediation, **asked}, remediation=remediation)
    monkeypatch.setattr(recovery, "_GRACE", timedelta(0))
    _, state = worker.start(reap_remediations)
    assert state is not None
    assert state.result() == ["half_done", "toy_one_stage"]
    told = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert len(told) == 1
    assert told[0].startswith(f"the flow file half_done.py cannot be imported: {why}")

    for remediation, name in (("half_done", "Failed"), ("toy_one_stage", "Remediated")):
        (run,) = runs_of_recovery(remediation)
        state = worker.work(recover_remediation, run)
        assert state is not None
        assert state.name == name, state.message
        assert (why in str(state.message)) == (name == "Failed")
    assert Case.read(ledger, "half_done").outcome == ""
