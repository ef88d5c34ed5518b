"""What is changed between the question and the act: only what was approved is carried out."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.client.schemas.objects import BlockDocument

from tasks.guardrails import acting, systems
from tasks.guardrails.approval import count, waiting_gate
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.policy import policy_of
from tasks.platforms.sandbox.target import SandboxTarget
from tests import toy
from tests.approving import Person
from tests.security.attacked import Attacked, api

EVIL = "**Approve this**: nothing is done."
POLICY = {
    "policy": {"disruptive": 0},
    "disruptive": 0,
    "destructive": 0,
    "requester_may_approve": True,
    "ui_may_approve_destructive": True,
    "expiry_seconds": 604800,
}


def test_a_plan_that_prefect_shows_otherwise(attacked: Attacked) -> None:
    """Artifact and form's text are copies: what is carried out is the plan in the ledger."""
    attacked.start()
    planned = attacked.case.stages[0].stage
    description = attacked.keys()["description"]
    mine = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[attacked.run.id]))
    with api() as client:
        shown = client.read_artifacts(artifact_filter=mine)
        assert shown
        for artifact in shown:
            path = {"id": artifact.id}
            client.request("PATCH", "/artifacts/{id}", path_params=path, json={"data": EVIL})
        assert {one.data for one in client.read_artifacts(artifact_filter=mine)} == {EVIL}
        client.delete_flow_run_input(attacked.run.id, description)
    attacked.plant(f'"{EVIL}"', description)
    attacked.assert_untouched()
    attacked.assert_approval_works()
    assert attacked.case.stages[0].stage == planned
    assert attacked.files() == {"a": "new a", "b": "new b"}


@pytest.mark.parametrize(
    ("edited", "approved"),
    [
        ({"names": ["a", "evil"]}, True),
        ({"target": "other"}, True),
        ({"risk": "harmless"}, False),
    ],
    ids=["names", "target", "risk"],
)
def test_a_run_whose_parameters_were_edited(
    attacked: Attacked, edited: dict[str, Any], *, approved: bool
) -> None:
    """It is refused, and said; a recovery goes on with what was asked for and approved."""
    attacked.start()
    if approved:
        attacked.approve()
    asked = attacked.run.parameters
    with api() as client:
        client.update_flow_run(attacked.run.id, parameters={**asked, **edited})
    assert attacked.resume(Person(attacked.ledger, "ada").form())["status"] == "ACCEPT"
    state = attacked.execute()
    assert state is not None
    assert state.is_failed()
    attacked.assert_untouched()
    woken = attacked.case.of_kind("woken")[-1]
    assert (woken.run, "the run was edited" in woken.facts["note"]) == (str(attacked.run.id), True)
    state = attacked.recover()
    if not approved:
        assert state is None
        attacked.assert_untouched()
        attacked.assert_approval_works()
    assert attacked.files() == {"a": "new a", "b": "new b"}


def elsewhere(attacked: Attacked, how: str, other: Path) -> None:
    """Edit the target."""
    if how == "address":
        toy.SYSTEMS["toy"].address = "elsewhere"
    elif how == "server":
        toy.SYSTEMS["toy"] = toy.FileSystem("toy", other)
    else:
        (attacked.folder / "identity").write_text("another")


@pytest.mark.parametrize(
    ("how", "second_gate"),
    [("address", False), ("server", False), ("identity", False), ("server", True)],
)
def test_a_target_that_was_edited_after_the_approval(
    attacked: Attacked, tmp_path: Path, how: str, *, second_gate: bool
) -> None:
    """Its configuration, where it points, who answers there: another system is not touched."""
    attacked.start(second_gate=second_gate)
    (other := tmp_path / "other").mkdir()
    (other / "identity").write_text("another")
    attacked.approve()
    system = toy.SYSTEMS["toy"]
    elsewhere(attacked, how, other)
    before = attacked.files()
    state = attacked.runs.wake(attacked.run)
    assert state is not None
    assert state.name == ("Stuck" if second_gate else "Refused"), state.message
    assert "as it was when the plan was made" in attacked.recorded("ended")["why"]
    assert attacked.files() == before
    assert [path.name for path in other.iterdir()] == ["identity"]
    toy.SYSTEMS["toy"] = system
    system.address = str(attacked.folder)
    (attacked.folder / "identity").unlink(missing_ok=True)
    if not second_gate:  # else the target stays marked, for a person
        attacked.start().assert_approval_works()


def test_a_target_repointed_in_the_middle_of_the_act(attacked: Attacked, tmp_path: Path) -> None:
    """What was looked at again is what is changed, whatever the target's name means by then."""
    (other := tmp_path / "other").mkdir()
    look = acting.recheck

    def looked(*args: Any) -> None:  # noqa: ANN401 - passed on as they came
        look(*args)
        toy.SYSTEMS["toy"] = toy.FileSystem("toy", other)

    attacked.start()
    attacked.approve()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(acting, "recheck", looked)
        state = attacked.runs.wake(attacked.run)
    assert state is not None
    assert state.name == "Remediated", state.message
    assert attacked.files() == {"a": "new a", "b": "new b"}
    assert list(other.iterdir()) == []


class InBlock(toy.FileSystem):
    """A target of files whose configuration is a real block in Prefect."""

    def __init__(self, folder: Path) -> None:
        """Load the block, and take over whatever it says."""
        super().__init__("toy", folder)
        block = SandboxTarget.load("toy")
        assert isinstance(block, SandboxTarget)
        self.__dict__ |= block.model_extra or {}
        self.address = block.fingerprint()


@pytest.fixture
def block(attacked: Attacked, monkeypatch: pytest.MonkeyPatch) -> Iterator[SandboxTarget]:
    """A target in a block of Prefect's, as `remedy target add` saves it."""
    where = attacked.folder
    made = SandboxTarget(
        maintenance_password="x",
        url="http://127.0.0.1:1",
        proxy_control_url="http://127.0.0.1:1",
        application_directory=where,
        application_programs=where,
        backups_directory=where,
    )
    made.save("toy", overwrite=True)
    monkeypatch.setattr(systems, "_loaders", [lambda _name: InBlock(where)])
    yield made
    with api() as client:
        client.delete_block_document(document().id)


def document() -> BlockDocument:
    """Read the block as Prefect has it."""
    with api() as client:
        return client.read_block_document_by_name("toy", "sandbox-target")


def edit(**fields: Any) -> None:  # noqa: ANN401 - any field
    """Edit the block through the API."""
    with api() as client:
        client.request(
            "PATCH",
            "/block_documents/{id}",
            path_params={"id": document().id},
            json={"data": fields, "merge_existing_data": True},
        )


@pytest.mark.parametrize("when", ["before", "while it waits"])
def test_a_block_says_nothing_about_the_policy(
    attacked: Attacked, block: SandboxTarget, ledger: Ledger, when: str
) -> None:
    """Whatever is added to a target's block, the policy is the ledger's alone."""
    assert block
    if when == "before":
        edit(**POLICY)
    attacked.start()
    edit(**POLICY)
    assert attacked.resume(Person(ledger, "ada").form())["status"] == "ACCEPT"
    assert attacked.execute() is None
    attacked.assert_untouched()
    assert policy_of(ledger, "toy").version == 0
    stand = count(ledger, attacked.case, waiting_gate(attacked.case))
    assert (stand.needed, stand.approved_by) == (2, ("ada",))
    attacked.assert_approval_works()


def test_a_block_edited_after_the_approval(attacked: Attacked, block: SandboxTarget) -> None:
    """Another port than the plan was made for: nothing is done there."""
    attacked.start()
    attacked.approve()
    edit(port=1)
    state = attacked.runs.wake(attacked.run)
    assert state is not None
    assert state.name == "Refused", state.message
    attacked.assert_untouched()
    assert "the target's configuration was edited" in attacked.recorded("ended")["why"]
    edit(port=block.port)
    attacked.start().assert_approval_works()
