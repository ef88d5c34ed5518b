"""Edits of what a build gets: killed anywhere they are recognised, taken up, and taken back."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from infra.testbed.docker.compose_program import Compose
from tasks.containers.file_edits import hash_of
from tasks.guardrails.errors import PreconditionFailed, WorldMoved
from tasks.guardrails.plan import Standing, Verdict, Work
from tasks.images.ignore_file import AddIgnoreLines, BuildGetsItsFiles
from tasks.images.pinning import PinRequirements, with_pins
from tests.files_target import know_files
from tests.integration.test_compose_definition import killed_at

WORK = Work(target="files", remediation="k3f9q2zzzz")
BEGUN = replace(WORK, begun_at=datetime.now(UTC))
WINDOWS = "one\r\ntwo"
REQUIREMENTS = "requirements.txt"


@pytest.fixture
def context(tmp_path: Path, compose_program: Compose, home: Path) -> Path:
    """A folder that an image is built from, with an ignore file; known as a target."""
    assert home
    (tmp_path / "compose.yml").write_text("services: {app: {build: {context: code}}}\n")
    folder = tmp_path / "code"
    (folder / "big").mkdir(parents=True)
    (folder / "big" / "file").write_bytes(b"x" * 1000)
    (folder / "wanted").write_text("wanted")
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY wanted /\n")
    (folder / ".dockerignore").write_bytes(WINDOWS.encode())
    know_files(tmp_path, compose_program, "remedy-test-builds")
    return folder


def change_of(context: Path, before: str | None = WINDOWS) -> AddIgnoreLines:
    """Give the edit."""
    return AddIgnoreLines(
        context=context, name=".dockerignore", before=before, lines=("big",), mark="k3f9q2zzzz"
    )


@pytest.mark.parametrize("before", [WINDOWS, None])
def test_an_edit_that_was_killed_goes_on_or_back(context: Path, before: str | None) -> None:
    """The file is whole; its line ends are kept, also where it is made or taken away."""
    file = context / ".dockerignore"
    if before is None:
        file.unlink()
    change = change_of(context, before)
    assert change.observe(WORK).standing is Standing.BEFORE
    killed_at("after-file:images", change.apply)
    assert change.observe(BEGUN).standing is Standing.AFTER
    end = "\n" if before is None else "\r\n"
    written = f"{'' if before is None else before + end}# remedy k3f9q2zzzz{end}big{end}"
    assert file.read_bytes() == written.encode()
    assert sorted(one.name for one in context.iterdir() if "new" in one.name) == []
    killed_at("after-file:images", change.revert)
    assert change.observe(BEGUN).standing is Standing.BEFORE
    assert (file.read_bytes().decode() if file.exists() else None) == before
    assert change.revert(BEGUN) == "none of the lines is there"


def test_what_others_write_is_never_lost(context: Path) -> None:
    """Before the act it is another world; after it, lines of ours that they edited are theirs."""
    file, change = context / ".dockerignore", change_of(context)
    file.write_text("theirs\n")
    assert change.observe(WORK).standing is Standing.OTHER
    with pytest.raises(WorldMoved, match="somebody has edited it since"):
        change.apply(BEGUN)
    file.write_bytes(WINDOWS.encode())
    change.apply(BEGUN)
    edited = file.read_text().replace("big", "bigger")
    file.write_text(edited)
    assert change.observe(BEGUN).standing is Standing.OTHER
    with pytest.raises(PreconditionFailed, match="somebody has edited them since"):
        change.revert(BEGUN)
    assert file.read_text() == edited


def test_the_check_sees_what_the_builder_gets(context: Path) -> None:
    """Not held where the lines are not there, or hide what is copied."""
    check = BuildGetsItsFiles(context=context, name=".dockerignore", before=WINDOWS, lines=("big",))
    answer = check.ask(WORK)
    assert (answer.verdict, answer.detail) == (
        Verdict.NOT_HELD,
        "the builder still gets 2 paths of these lines",
    )
    change_of(context).apply(BEGUN)
    assert check.ask(WORK).verdict is Verdict.HELD
    with (context / ".dockerignore").open("a") as file:
        file.write("want*\n")
    answer = check.ask(WORK)
    assert answer.verdict is Verdict.NOT_HELD
    assert "copies wanted, which the builder lacks" in answer.detail


def pins_of(context: Path, text: str) -> PinRequirements:
    """Give an edit of the requirements: one line, and one that is added."""
    pins, added = ((3, "planner-extra == 1.0", "planner-extra==1.1"),), ("lower==1.0",)
    new = with_pins(text, pins, added, WORK.remediation)
    assert new is not None
    return PinRequirements(
        context=context,
        name=REQUIREMENTS,
        before=hash_of(text),
        after=hash_of(new),
        pins=pins,
        added=added,
        mark=WORK.remediation,
    )


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_an_edit_of_requirements_goes_on_or_back(context: Path, end: str) -> None:
    """Comments, line ends and others' edits stay; whole or not at all."""
    file = context / REQUIREMENTS
    before = f"# Ours{end}{end}planner-extra == 1.0  # wanted".encode()
    file.write_bytes(before)
    change = pins_of(context, before.decode())
    assert change.observe(WORK).standing is Standing.BEFORE
    killed_at("after-file:images", change.apply)
    assert change.observe(BEGUN).standing is Standing.AFTER
    now = (
        "# Ours",
        "",
        "planner-extra==1.1  # wanted",
        f"# remedy {WORK.remediation}",
        "lower==1.0",
        "",
    )
    assert file.read_bytes() == end.join(now).encode()
    killed_at("after-file:images", change.revert)
    assert change.observe(BEGUN).standing is Standing.BEFORE
    assert file.read_bytes() == before
    change.apply(BEGUN)
    theirs = f"other{end}".encode() + file.read_bytes()
    file.write_bytes(theirs)
    assert change.observe(BEGUN).standing is Standing.AFTER
    assert change.revert(BEGUN) == "what others edited since stays"
    assert file.read_bytes() == f"other{end}".encode() + before + end.encode()
    file.write_bytes(before.replace(b"1.0", b"0.9"))
    assert change.observe(WORK).standing is Standing.OTHER
    with pytest.raises(WorldMoved, match="somebody has edited it since"):
        change.apply(BEGUN)
    file.write_bytes(before.replace(b" == 1.0", b"==1.1"))
    with pytest.raises(PreconditionFailed, match="somebody has edited them since"):
        change.revert(BEGUN)
