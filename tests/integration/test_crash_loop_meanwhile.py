"""What repair_crash_loop planned is looked at again before it begins: other containers, images."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from docker.models.containers import Container

from infra.testbed.compose.system import ComposeSystem
from tasks.containers.crash_causes import Cause
from tasks.containers.crash_loop import find_crash_loop
from tasks.containers.crash_repair import find_repair
from tasks.containers.image_back import PinImage
from tasks.containers.last_sound import RecordSound, record_name
from tasks.containers.standing import watch
from tasks.guardrails.plan import Standing, Work
from tasks.platforms import targets
from tests.crashing import Crashing, crashing

WORK = Work(target="compose", remediation="k3f9q2zzzz")
BEGUN = replace(WORK, begun_at=datetime.now(UTC))
# Quick, and ill at will.
CHECKED = """\
services:
  app:
    healthcheck:
      test: ["CMD", "test", "!", "-e", "/tmp/ill"]
      interval: 1s
      retries: 1
      start_period: 0s
"""


@pytest.fixture
def project(fresh_compose: ComposeSystem, home: Path) -> Iterator[Crashing]:
    """A fresh project, known as a target."""
    assert home
    with crashing(fresh_compose) as found:
        yield found


def health(container: Container) -> str:
    """Give what a container's check says."""
    return str(container.attrs["State"]["Health"]["Status"])


def test_a_container_that_is_not_sound_any_more_is_not_recorded(project: Crashing) -> None:
    """It is ill, has ended, or is another one of the same image by the time of the act."""
    project.add("docker-compose.checked.yml", CHECKED)
    project.up("app")
    container = project.until(lambda one: health(one) == "healthy")
    found = find_crash_loop("compose", "app", 1, WORK.remediation, remember=True)
    (change,) = found.changes
    assert isinstance(change, RecordSound)
    assert change.container == container.id
    old = RecordSound(**change.model_dump(exclude={"container"}))
    assert change.observe(WORK).standing is Standing.BEFORE

    def refused(why: str) -> None:
        seen = change.observe(WORK)
        assert seen.standing is Standing.OTHER, seen.detail
        assert why in seen.detail
        assert {one.observe(BEGUN).standing for one in (change, old)} == {Standing.BEFORE}
        assert old.observe(WORK).standing is Standing.BEFORE

    assert container.exec_run(["sh", "-c", "touch /tmp/ill"]).exit_code == 0
    project.until(lambda one: health(one) == "unhealthy")
    refused(f"container {container.name} was sound, and is running, unhealthy by now")
    container.stop()
    refused("is exited")
    container.remove()
    project.up("app")
    project.until(lambda one: health(one) == "healthy")
    assert project.image_of() == change.image
    refused("the container of app that was sound is gone")


def test_a_name_that_means_another_image_is_not_pinned(project: Crashing) -> None:
    """The image that worked is planned by its id: built anew under its name, it is another one."""
    name = f"{project.system.project.name}-image:1"
    good = project.build(name, "LABEL one=1")
    system = targets.load("compose")
    record = {"by": "k3f9q2yyyy", "at": "then", "image": good, "how": "it ran"}
    system.secrets.keep(record_name("app"), record)
    standing = watch(system.containers, "app", 1)
    causes = (Cause("module", "Its image lacks a module.", "its log", "build it"),)
    whole = system.definition.read().whole()
    (change,) = find_repair(system, "app", standing, causes, whole, WORK.remediation).changes
    assert isinstance(change, PinImage)
    assert (change.after, change.image) == (name, good)
    old = PinImage(**change.model_dump(exclude={"image"}))
    assert change.observe(WORK).standing is Standing.BEFORE
    another = project.build(name, "LABEL two=2")
    assert another != good
    seen = change.observe(WORK)
    assert seen.standing is Standing.OTHER
    assert seen.detail == f"{name} is image {another[:19]} by now, not {good[:19]}"
    project.client.images.remove(name)
    assert f"{name} is no image any more" in change.observe(WORK).detail
    assert change.observe(BEGUN).standing is Standing.BEFORE
    assert old.observe(WORK).standing is Standing.BEFORE
    project.client.images.remove(good)
    system.secrets.forget(record_name("app"))
