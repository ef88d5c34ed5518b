"""A new image in the place of an old one: killed anywhere it is recognised, taken up or back."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.testbed.compose.system import ComposeSystem
from tasks.guardrails.errors import WorldMoved
from tasks.guardrails.plan import Standing, Work
from tasks.images.replacing import ReplaceImage
from tests.integration.test_compose_definition import killed_at
from tests.rebuilding import Rebuilding, rebuilding
from tests.users import log_in, under_load

MARK = "k3f9q2zzzz"
WORK = Work(target="compose", remediation=MARK)
BEGUN = replace(WORK, begun_at=datetime.now(UTC))


@pytest.fixture
def built(fresh_compose: ComposeSystem, home: Path, tmp_path: Path) -> Iterator[Rebuilding]:
    """A project that runs an image of its own, known as a target."""
    assert home
    with rebuilding(fresh_compose, tmp_path) as found:
        yield found


def test_a_replacement_that_was_killed_goes_on_or_back(built: Rebuilding) -> None:
    """At each point it is half, nobody meets an outage, and the old image is never lost."""
    project = built.project
    old, kept = project.image_of(), f"{built.name.rpartition(':')[0]}:before-{MARK}"
    new = project.build(f"{kept.rpartition(':')[0]}:rebuilt-{MARK}", "RUN touch /new")
    change = ReplaceImage(
        service="app", name=built.name, before=old, after=new, kept=kept, served=True
    )
    assert change.observe(WORK).standing is Standing.BEFORE
    with under_load(project.system):
        for point in ("kept", "named"):
            killed_at(f"{change.kind}:{point}", lambda _: change.apply(BEGUN))
            assert change.observe(BEGUN).standing is Standing.HALF
        assert project.image_of() == old
        change.apply(BEGUN)
        assert change.observe(BEGUN).standing is Standing.AFTER
        assert (project.image_of(), project.image(kept)) == (new, old)
        killed_at(f"{change.kind}:named-back", lambda _: change.revert(BEGUN))
        assert change.observe(BEGUN).standing is Standing.HALF
        change.revert(BEGUN)
    assert change.observe(BEGUN).standing is Standing.BEFORE
    assert (project.image_of(), project.image(built.name), project.image(kept)) == (old, old, "")
    other = project.build(built.name, "RUN touch /theirs")
    assert change.observe(WORK).standing is Standing.OTHER
    project.up("app")
    project.until(lambda one: project.image_of(one) == other and one.health == "healthy")
    with pytest.raises(WorldMoved, match="made one of another image since"):
        change.apply(BEGUN)
    assert (project.image_of(), log_in(project.system).is_success) == (other, True)
