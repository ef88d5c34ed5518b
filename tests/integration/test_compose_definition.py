"""Compose files are read by compose, written whole, and an edit that was killed is taken up."""

import os
import signal
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.testbed.docker.compose_program import Compose
from infra.testbed.docker.engine import Engine
from tasks.containers.file_edits import EditedFile, hash_of
from tasks.containers.memory_changes import SetMemoryInFiles
from tasks.containers.memory_texts import with_limit
from tasks.containers.modernising import ModerniseFiles
from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Standing, Work
from tasks.platforms import targets
from tests.files_target import know_files

BASE = (
    "version: '2.4'\nservices:\n  app:\n    image: app  # ours\n    links: [db]\n"
    "  db:\n    image: db\n"
)
OVER = "version: '2.4'\nservices:\n  app:\n    mem_limit: 1g\n    environment: {A: '${A}'}\n"
WORK = Work(target="files", remediation="k3f9q2zzzz")
BEGUN = replace(WORK, begun_at=datetime.now(UTC))
WAY = {"limits_move": True, "links_go": True, "restarts": True}
KIND = ModerniseFiles.kind


@pytest.fixture
def folder(tmp_path: Path, docker_engine: Engine, compose_program: Compose, home: Path) -> Path:
    """A project's folder with two files, one of them behind a link; known as a target."""
    assert home
    project = tmp_path / "project"
    (project / "shared").mkdir(parents=True)
    (project / "base.yml").write_text(BASE)
    (project / "shared" / "over.yml").write_text(OVER)
    (project / "over.yml").symlink_to("shared/over.yml")
    (project / ".env").write_text("A=from-env\n")
    know_files(
        project,
        compose_program,
        "remedy-test-files",
        compose_files=["base.yml", "over.yml"],
        engine_url=docker_engine.url,
        backups_directory=tmp_path / "backups",
        secrets_directory=tmp_path / "secrets",
    )
    return project


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file, links as what they lead to."""
    found = (one for one in folder.rglob("*") if one.is_file())
    return {str(one.relative_to(folder)): one.read_bytes() for one in found}


def change_of(target: str) -> ModerniseFiles:
    """Give the edit of the files as they are."""
    definition = targets.load(target).definition
    texts = definition.texts()
    change = ModerniseFiles(files=(), keep="compose-k3f9q2zzzz", **WAY)
    new = change.written(definition)
    files = tuple(
        EditedFile(name=name, before=hash_of(texts[name]), after=hash_of(text))
        for name, text in new.items()
    )
    return change.model_copy(update={"files": files})


def killed_at(point: str, step: Callable[[Work], object]) -> None:
    """Carry a step out in a process that dies at a point."""
    child = os.fork()
    if child == 0:
        try:
            os.environ[faults.VARIABLE] = f"KILL={point}"
            step(BEGUN)
        finally:
            os._exit(1)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, f"{point} was never passed"


def test_files_are_read_by_compose_where_they_lie(folder: Path) -> None:
    """Other texts are read in their places, with `.env` and all, and nothing is left of it."""
    definition = targets.load("files").definition
    assert definition.texts() == {"base.yml": BASE, "over.yml": OVER}
    assert definition.program().version >= (2,)
    reading = definition.read()
    assert reading.said == ("`version` is obsolete",)
    assert reading.services is not None
    assert reading.services["app"]["environment"] == {"A": "from-env"}
    before = contents(folder)
    (folder / "base.yml.remedy-999999999").write_text("of one that was killed")
    other = definition.read({"over.yml": "services: {more: {image: x}}\n"})
    assert other.services is not None
    assert set(other.services) == {"app", "db", "more"}
    assert other.fingerprints["app"] != reading.fingerprints["app"]
    assert other.fingerprints["db"] == reading.fingerprints["db"]
    refused = definition.read({"over.yml": "services: {more: {image: x, net: 'a-secret'}}\n"})
    assert (refused.services, refused.said[-1]) == (None, "services.more.net is not known to it")
    assert "a-secret" not in repr(refused)
    assert contents(folder) == before


def test_what_compose_refuses_is_not_written(folder: Path) -> None:
    """None of the files; what is put back may be what it refuses."""
    definition = targets.load("files").definition
    before = contents(folder)
    texts = {"base.yml": BASE.replace("2.4", "3.8"), "over.yml": "services: {a: {net: x}}\n"}
    with pytest.raises(PreconditionFailed, match=r"services\.a\.net is not known"):
        definition.write(texts)
    assert contents(folder) == before
    definition.write(texts, tried=False)
    assert definition.texts() == texts
    assert (folder / "over.yml").is_symlink()


@pytest.mark.parametrize("point", [f"{KIND}:kept", "after-file:compose#1", "after-file:compose#2"])
def test_an_edit_that_was_killed_goes_on_or_back(folder: Path, point: str) -> None:
    """It is seen to be half done or done; no file is ever half, and no secret stays behind."""
    before, change = contents(folder), change_of("files")
    assert change.observe(WORK).standing is Standing.BEFORE
    faults._passed.clear()  # noqa: SLF001 - a new process counts anew
    killed_at(point, change.apply)
    seen = change.observe(BEGUN).standing
    assert seen is (Standing.AFTER if point.endswith("2") else Standing.HALF)
    change.revert(BEGUN)
    assert change.observe(BEGUN).standing is Standing.BEFORE
    assert contents(folder) == before
    assert not list((folder.parent / "secrets").iterdir())
    killed_at(point, change.apply)
    change.apply(BEGUN)
    assert change.observe(BEGUN).standing is Standing.AFTER
    reading = targets.load("files").definition.read()
    assert reading.said == ()
    assert set(contents(folder)) == set(before)


def test_an_edit_of_a_limit_that_was_killed_goes_on_or_back(folder: Path) -> None:
    """The other kind of edit is recognised in the same way."""
    before, definition = contents(folder), targets.load("files").definition
    (new,) = with_limit(definition.texts(), "app", 2**31, 0, deploy=True).values()
    change = SetMemoryInFiles(
        files=(EditedFile(name="over.yml", before=hash_of(OVER), after=hash_of(new)),),
        keep="compose-k3f9q2zzzz",
        service="app",
        before=2**30,
        after=2**31,
        swap=0,
        deploy=True,
    )
    killed_at(f"{SetMemoryInFiles.kind}:kept", change.apply)
    assert change.observe(BEGUN).standing is Standing.HALF
    change.revert(BEGUN)
    assert contents(folder) == before
    killed_at("after-file:compose", change.apply)
    assert change.observe(BEGUN).standing is Standing.AFTER
    assert (folder / "over.yml").read_text() == OVER.replace("1g", "2G")
    change.revert(BEGUN)
    assert contents(folder) == before


@pytest.mark.parametrize("point", ["after-file:compose#1", f"{KIND}:put-back"])
def test_an_undo_that_was_killed_goes_on(folder: Path, point: str) -> None:
    """Byte for byte as before, and no secret stays behind."""
    before, change = contents(folder), change_of("files")
    change.apply(BEGUN)
    killed_at(point, change.revert)
    assert change.observe(BEGUN).standing is Standing.HALF
    change.revert(BEGUN)
    assert contents(folder) == before
    assert change.observe(BEGUN).standing is Standing.BEFORE
    assert not list((folder.parent / "secrets").iterdir())


def test_what_somebody_edits_before_the_act_is_another_world(folder: Path) -> None:
    """What was approved is an edit of other texts."""
    change = change_of("files")
    (folder / "base.yml").write_text(BASE.replace("# ours", "# theirs"))
    assert change.observe(WORK).standing is Standing.OTHER


def test_an_undo_leaves_what_others_edited_or_touches_nothing(folder: Path) -> None:
    """Only our lines go; where somebody edited the same ones, all stays and a person is told."""
    change = change_of("files")
    change.apply(BEGUN)
    base = folder / "base.yml"
    base.write_text(base.read_text().replace("image: db", "image: other"))
    assert change.observe(BEGUN).standing is Standing.AFTER
    change.revert(BEGUN)
    assert base.read_text() == BASE.replace("image: db", "image: other")
    assert (folder / "over.yml").read_text() == OVER
    assert change.observe(BEGUN).standing is Standing.BEFORE
    base.write_text(BASE)
    again = change.model_copy(update={"keep": "compose-again"})
    again.apply(BEGUN)
    base.write_text(f"name: theirs\n{base.read_text()}")
    edited = contents(folder)
    with pytest.raises(PreconditionFailed, match="compose-again"):
        again.revert(BEGUN)
    assert contents(folder) == edited
