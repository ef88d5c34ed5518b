"""clean_up_docker on a real engine that others use at the same time: only what is labelled goes."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from docker.types import IPAMConfig, IPAMPool
from prefect.client.schemas.objects import FlowRun, State

from flows.database.clean_up_docker import clean_up_docker
from flows.help.undo_remediation import undo_remediation
from infra.testbed.compose.project import ComposeProject, remove_project
from infra.testbed.compose.system import ComposeSystem
from infra.testbed.docker.registry import registry
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tests.approving import Approvers, carry_out
from tests.compose_fixtures import CACHE, or_missing
from tests.leftovers import Leftovers
from tests.prefect_fixtures import Runs

MB = 1_000_000


@pytest.fixture
def planner(fresh_compose: ComposeSystem, home: Path) -> ComposeSystem:
    """Give a compose project, known as a target."""
    assert home
    targets.give(ComposeTarget(**fresh_compose.target_settings()))
    return fresh_compose


@pytest.fixture
def left(planner: ComposeSystem) -> Iterator[Leftovers]:
    """Give what lies about on the engine, and clear it."""
    with closing(planner.project.engine.client()) as client:
        leftovers = Leftovers(client)
        try:
            yield leftovers
        finally:
            leftovers.clear()


@pytest.fixture(scope="module")
def images() -> Iterator[str]:
    """Give a registry."""
    with ExitStack() as held:
        with or_missing():
            address = held.enter_context(registry(CACHE))
        yield address


def clean_up(
    runs: Runs, planner: ComposeSystem, left: Leftovers, **given: object
) -> tuple[Case, State[Any]]:
    """Clean up what is labelled as the test's own, however young it is: never anything else."""
    run, state = begin(runs, planner, left, **given)
    if state is None:
        state = Approvers(Ledger()).approve_until_it_ends(runs, run)
    return Case.read(Ledger(), runs.id_of(run)), state


def begin(
    runs: Runs, planner: ComposeSystem, left: Leftovers, **given: object
) -> tuple[FlowRun, State[Any] | None]:
    """Have it planned, and make sure that it is about nothing of anybody else's."""
    asked = {"older_than_days": 0, **given, "only_label": left.label}
    run, state = runs.start(clean_up_docker, target=planner.settings.name, **asked)
    case = Case.read(Ledger(), runs.id_of(run))
    planned = {getattr(one, "known", "") for record in case.stages for one in record.stage.changes}
    assert state is not None or planned <= left.there()
    return run, state


def stays(case: Case, name: str) -> str:
    """Say why an object stays, as the plan has it."""
    found = case.stages[0].stage.findings
    (told,) = [one for one in found if "why it stays" in one.columns]
    return next(why for what, _, why in told.rows if name in what)


def services(planner: ComposeSystem) -> dict[str, str]:
    """Name the project's containers."""
    return {one: str(planner.project.container(one).id) for one in ("db", "redis", "app", "nginx")}


def test_what_nobody_uses_goes_and_comes_back(
    runs: Runs, planner: ComposeSystem, left: Leftovers, images: str
) -> None:
    """Image, empty volume and network go, and the undo gives them back; what holds data stays."""
    # Whatever the engine gives by itself another test may be given before the undo.
    first = os.getpid() % 32 * 8
    pool = IPAMPool(f"203.0.113.{first}/29", gateway=f"203.0.113.{first + 1}")
    image, empty = left.pushed(images, 160 * MB), left.volume()
    network = left.network(IPAMConfig(pool_configs=[pool]))
    tag, subnet = image.tags[0], network.attrs["IPAM"]["Config"]
    full, named = left.volume(), left.volume(f"leftover-{left.mark}")
    (Path(full.attrs["Mountpoint"]) / "only.copy").write_text("")  # no bytes, and yet data
    user = left.image(f"leftover:{left.mark}")
    lasting, attached = left.volume(), left.network()
    stopped = left.container(
        user, network=attached.name, network_mode=None, volumes=[f"{lasting.name}:/data"]
    )
    before, running = left.there(), services(planner)
    case, state = clean_up(runs, planner, left)
    assert state.name == "Remediated", state.message
    gone = {str(image.id), str(empty.name), str(network.name)}
    assert before - left.there() == gone
    assert services(planner) == running
    assert "holds data" in stays(case, str(full.name))
    assert "only its owner" in stays(case, str(named.name))
    assert "stopped_containers=True" in stays(case, str(stopped.name))
    assert f"container {stopped.name}" in stays(case, str(attached.name))
    (report,) = case.stages[-1].stage.findings
    # Others write to that disk, too, but hardly so much.
    assert float(report.what.split()[0]) > 32, report.what
    _, undone = carry_out(runs, planner, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert left.there() == before
    assert left.client.images.get(tag).id == image.id
    again = left.client.networks.get(str(network.name))
    assert again.attrs["IPAM"]["Config"] == subnet


def test_what_was_built_here_stays_unless_asked_for(
    runs: Runs, planner: ComposeSystem, left: Leftovers, images: str
) -> None:
    """No registry gives it back, or not any more: the plan says so, and nothing goes."""
    built, nameless = left.image(f"leftover:{left.mark}"), left.image()
    forgotten = left.pushed(images)
    repository, _, digest = forgotten.attrs["RepoDigests"][0].rpartition("@")
    forget(images, repository.partition("/")[2], digest)
    before = left.there()
    case, state = clean_up(runs, planner, left)
    assert state.name in {"Unchanged", "Advised"}, state.message
    assert left.there() == before
    assert "it was built here: built_here=True" in stays(case, built.tags[0])
    assert "it has no tag" in stays(case, str(nameless.id).removeprefix("sha256:")[:12])
    assert "no registry gives it back" in stays(case, forgotten.tags[0])


def forget(address: str, repository: str, digest: str) -> None:
    """Have a registry forget an image."""
    url = f"http://{address}/v2/{repository}/manifests/{digest}"
    assert httpx.delete(url, trust_env=False).is_success


def test_it_is_saved_to_a_file_and_loaded_again(
    runs: Runs, planner: ComposeSystem, left: Leftovers, tmp_path: Path
) -> None:
    """With every tag that it had; one that somebody gave to another image stays there."""
    built, nameless = left.image(f"leftover:{left.mark}"), left.image()
    assert built.tag("leftover", f"{left.mark}-too")
    before = left.there()
    folder = tmp_path / "images"
    folder.mkdir()
    case, state = clean_up(runs, planner, left, built_here=True, save_to=str(folder))
    assert state.name == "Remediated", state.message
    assert left.there() == set()
    assert {one.stat().st_mode & 0o777 for one in folder.iterdir()} == {0o600}
    assert len(list(folder.iterdir())) == 2
    taken = left.image(f"leftover:{left.mark}")
    _, undone = carry_out(runs, planner, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert left.there() == {*before, str(taken.id)}
    assert left.client.images.get(str(built.id)).tags == [f"leftover:{left.mark}-too"]
    assert left.client.images.get(f"leftover:{left.mark}").id == taken.id
    assert left.client.images.get(str(nameless.id)).tags == []
    assert list(folder.iterdir()) == []


def test_what_goes_for_good_says_so_and_asks_more(
    runs: Runs, planner: ComposeSystem, left: Leftovers
) -> None:
    """A container that ended and an image that was built here: three approve, there is no undo."""
    image = left.image(f"leftover:{left.mark}")
    ended = left.container(left.image(f"leftover:{left.mark}-run"))
    serves = left.container(image, restart_policy={"Name": "unless-stopped"})
    case, state = clean_up(runs, planner, left, built_here=True, stopped_containers=True)
    assert state.name == "Remediated", state.message
    assert len(case.of_kind("decided")) == 3
    lost = case.stages[0].stage.effects.lost
    assert str(ended.name) in lost
    assert "restart policy unless-stopped" in stays(case, str(serves.name))
    assert str(ended.id) not in left.there()
    assert {str(image.id), str(serves.id)} <= left.there()
    case, state = clean_up(runs, planner, left, built_here=True)  # its image is nobody's by now
    assert state.name == "Remediated", state.message
    assert "which no registry gives back" in case.stages[0].stage.effects.lost
    _, undone = carry_out(runs, planner, undo_remediation, remediation=case.id)
    assert undone.name == "Refused", undone.message
    assert left.there() == {str(image.id), str(serves.id)}


def test_a_project_that_is_stopped_keeps_what_is_its_own(
    runs: Runs, planner: ComposeSystem, left: Leftovers, tmp_path: Path
) -> None:
    """Images, volumes and networks that only its file names, in a profile never started, stay."""
    left.image(f"leftover:{left.mark}")
    left.image(f"leftover:{left.mark}-later")
    label = left.label.replace("=", ": ")
    with stopped_project(planner, left, tmp_path, label):
        before = left.there()
        case, state = clean_up(runs, planner, left, built_here=True, stopped_containers=True)
        assert state.name in {"Unchanged", "Advised"}, state.message
        assert left.there() == before
        why = f"compose files of leftover-{left.mark}"
        assert why in stays(case, f"leftover:{left.mark}-later")
        assert f"compose project leftover-{left.mark}" in stays(case, "one-1")
    case, state = clean_up(runs, planner, left, built_here=True)
    assert state.name == "Remediated", state.message  # they were what kept it


@contextmanager
def stopped_project(
    planner: ComposeSystem, left: Leftovers, folder: Path, label: str
) -> Iterator[None]:
    """Give a project with one service that is stopped, and one that never ran."""
    name = f"leftover-{left.mark}"
    (folder / "compose.yml").write_text(
        f"""services:
  one:
    image: leftover:{left.mark}
    network_mode: none
    labels: {{{label}}}
  two:
    image: leftover:{left.mark}-later
    profiles: [later]
    networks: [own]
networks:
  own: {{labels: {{{label}}}}}
"""
    )
    project = ComposeProject(folder, name, planner.project.engine, planner.project.compose)
    left.client.networks.create(f"{name}_own", labels={left.label.partition("=")[0]: left.mark})
    try:
        project.run("create", "--no-build", "one", files=["compose.yml"])
        yield
    finally:
        project.close()
        remove_project(left.client, name)


def test_what_is_young_stays(
    runs: Runs, planner: ComposeSystem, left: Leftovers, tmp_path: Path
) -> None:
    """Made today, or long ago and here since today: only what is here since long ago goes."""
    left.image(f"leftover:{left.mark}")
    left.of_long_ago(f"leftover:{left.mark}-old")
    left.volume()
    old = left.of_long_ago()
    left.age(old)
    before = left.there()
    asked = {"built_here": True, "save_to": str(tmp_path), "older_than_days": 1}
    _, state = clean_up(runs, planner, left, **asked)
    assert state.name == "Remediated", state.message
    assert before - left.there() == {str(old.id)}


def test_what_is_used_by_then_is_not_touched(
    runs: Runs, planner: ComposeSystem, left: Leftovers, tmp_path: Path
) -> None:
    """Between plan and approval somebody uses one of both: it is said by whom, and both stay."""
    first, second = left.image(f"leftover:{left.mark}-1"), left.image(f"leftover:{left.mark}-2")
    run, state = begin(runs, planner, left, built_here=True, save_to=str(tmp_path))
    assert state is None
    user = left.container(second)
    state = Approvers(Ledger()).approve_until_it_ends(runs, run)
    assert state.name == "Refused", state.message
    assert f"is used by container {user.name}" in (state.message or "")
    assert {str(first.id), str(second.id)} <= left.there()


def test_rotation_that_is_missing_is_said_with_the_patch(
    runs: Runs, planner: ComposeSystem, left: Leftovers
) -> None:
    """What to write into the compose file stands in the plan."""
    case, _ = clean_up(runs, planner, left)
    patches = "".join(one.patch for one in case.stages[0].stage.findings)
    assert "  nginx:\n    logging:\n      driver: json-file\n" in patches
    assert 'max-size: "10m"' in patches
