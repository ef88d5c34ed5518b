"""What an engine keeps: changes of it as they stand half done, and its build cache."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.testbed.compose.system import ComposeSystem
from tasks.disk.images import RemoveSavedImage
from tasks.disk.removals import ClearBuildCache, RemoveContainer
from tasks.guardrails.plan import Standing, Work
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tests.crashing import PRODUCTION
from tests.leftovers import Leftovers

SIZE = 7_123_456  # of nobody else's build


@pytest.fixture
def left(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem, home: Path
) -> Iterator[Leftovers]:
    """Give what lies about on the engine, and clear it."""
    assert home
    targets.give(compose_target)
    with closing(fresh_compose.project.engine.client()) as client:
        leftovers = Leftovers(client)
        try:
            yield leftovers
        finally:
            leftovers.clear()


def test_an_image_that_is_half_removed_is_known_as_such(left: Leftovers, tmp_path: Path) -> None:
    """A file was begun, a tag is gone: it is finished, or taken back, from where it stands."""
    image = left.image(f"leftover:{left.mark}")
    assert image.tag("leftover", f"{left.mark}-too")
    tags = (f"leftover:{left.mark}", f"leftover:{left.mark}-too")
    file = tmp_path / "image.tar.zst"
    change = RemoveSavedImage(
        known=str(image.id),
        name=tags[0],
        size=1000,
        since=datetime.now(UTC),
        why="nobody uses it",
        tags=tags,
        file=file,
    )
    work = Work(target="compose", remediation="k3f9q2zzzz")
    begun = replace(work, begun_at=datetime.now(UTC))
    assert change.observe(work).standing is Standing.BEFORE
    draft = tmp_path / "image.tar.zst.new"
    draft.write_bytes(b"half of it")
    assert change.observe(begun).standing is Standing.HALF
    change.revert(begun)
    assert not draft.exists()
    assert change.observe(begun).standing is Standing.BEFORE
    left.client.images.remove(tags[0])
    assert change.observe(work).standing is Standing.OTHER
    assert change.observe(begun).standing is Standing.HALF
    change.revert(begun)
    assert change.observe(begun).standing is Standing.BEFORE
    left.client.images.remove(tags[1])
    change.apply(begun)
    assert change.observe(begun).standing is Standing.AFTER
    assert left.there() == set()
    file.rename(tmp_path / "elsewhere")
    assert change.observe(begun).standing is Standing.OTHER


def test_a_container_that_ran_again_is_not_what_was_planned(left: Leftovers) -> None:
    """What it wrote since its plan was made nobody has approved to be lost."""
    container = left.container(left.client.images.get(PRODUCTION), command=["true"])
    container.start()
    container.wait()
    known = str(container.id)
    ended = targets.load("compose").engine_store.find("container", known)
    assert ended is not None
    planned = RemoveContainer(
        known=known, name=ended.name, size=0, since=ended.since, why="nobody uses it"
    )
    change = RemoveContainer.from_json(planned.to_json())
    work = Work(target="compose", remediation="k3f9q2zzzz")
    assert change.observe(work).standing is Standing.BEFORE
    container.start()
    container.wait()
    seen = change.observe(work)
    assert seen.standing is Standing.OTHER
    assert f"container {ended.name} ran again meanwhile, and ended at 20" in seen.detail
    unknown = change.model_copy(update={"since": None})
    assert unknown.observe(work).standing is Standing.BEFORE


def test_records_of_the_build_cache_go_and_no_others(left: Leftovers) -> None:
    """What a build has left in the cache goes by its id; another build's records stay."""
    records, others = left.cached(SIZE), left.cached(2 * SIZE)
    assert records
    assert others
    every = targets.load("compose").name
    change = ClearBuildCache(records=records, size=SIZE)
    work = Work(target=every, remediation="k3f9q2zzzz")
    assert change.observe(work).standing is Standing.BEFORE
    change.apply(work)
    assert change.observe(work).standing is Standing.AFTER
    again = ClearBuildCache(records=others, size=SIZE)
    assert change.observe(work).standing is Standing.AFTER
    assert again.observe(work).standing is Standing.BEFORE
    again.apply(work)
