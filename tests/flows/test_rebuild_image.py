"""rebuild_image on an application whose packages move on: explained, pinned, built, proved."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.docker.rebuild_image import rebuild_image
from flows.help.undo_remediation import undo_remediation
from infra.testbed.compose.system import ComposeSystem
from tasks.guardrails.case import Case
from tests.approving import carry_out
from tests.prefect_fixtures import Runs
from tests.rebuilding import DOCKERFILE, REQUIREMENTS, Rebuilding, rebuilding
from tests.users import log_in, under_load


@pytest.fixture
def built(fresh_compose: ComposeSystem, home: Path, tmp_path: Path) -> Iterator[Rebuilding]:
    """A project that runs an image of its own, known as a target."""
    assert home
    with rebuilding(fresh_compose, tmp_path) as found:
        yield found


def said(case: Case) -> str:
    """Give all that a case's stages say, as one text."""
    return json.dumps([stage.stage.model_dump(mode="json") for stage in case.stages])


def test_what_the_cache_hides_is_pinned_and_rolled(runs: Runs, built: Rebuilding) -> None:
    """Told first; then written, built, tried, and served without a gap; undone byte for byte."""
    project = built.project
    old, files = project.image_of(), project.texts()
    assert old == built.build()  # the cache hides what comes now
    built.index.add_sources("lower", "2.0")
    case, state = carry_out(runs, project.system, rebuild_image)
    assert state.name == "Advised", state.message
    text = said(case)
    assert "taken from earlier builds; without it, it fails at step" in text
    assert "lower has no wheel for this Python, and to build it a Rust compiler is missing." in text
    assert "install cargo in a step before" in text
    assert "+lower==1.0" in text
    assert "with these versions it is built" in text
    assert (project.texts(), project.image_of(), built.left()) == (files, old, set())
    with under_load(project.system):
        case, state = carry_out(runs, project.system, rebuild_image, pin=True)
    assert state.name == "Remediated", state.message
    assert built.requirements.read_text() == f"{REQUIREMENTS}\n# remedy {case.id}\nlower==1.0\n"
    new = built.tag(f"rebuilt-{case.id}")
    assert new not in {"", old}
    assert (project.image_of(), project.image(built.name)) == (new, new)
    assert built.tag(f"before-{case.id}") == old
    assert log_in(project.system).is_success
    assert built.left() == set()
    with under_load(project.system):
        _, undone = carry_out(runs, project.system, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert (project.image_of(), project.image(built.name)) == (old, old)
    assert project.texts() == files
    assert (project.image(new), built.tag(f"before-{case.id}"), built.left()) == ("", "", set())


def test_an_image_that_does_not_come_up_replaces_nothing(runs: Runs, built: Rebuilding) -> None:
    """It lacks a module: nothing is touched or left; nor where a name is not what runs."""
    project = built.project
    made, old = project.container().id, project.image_of()
    lacking = DOCKERFILE.replace("ENV ", "RUN rm -r /opt/site/redis\nENV ")
    (built.folder / "Dockerfile").write_text(lacking)
    case, state = carry_out(runs, project.system, rebuild_image)
    assert state.name == "Undone", state.message
    assert "lacks the Python module redis" in str(state.message)
    assert (project.container().id, project.image(built.name)) == (made, old)
    assert (built.tag(f"rebuilt-{case.id}"), built.left()) == ("", set())
    assert log_in(project.system).is_success
    project.build(built.name, "RUN touch /other")  # and not rolled: no undo would lead back
    _, state = carry_out(runs, project.system, rebuild_image)
    assert state.name == "Refused", state.message
    assert f"docker tag {old[7:19]} {built.name}" in str(state.message)
    assert project.container().id == made
