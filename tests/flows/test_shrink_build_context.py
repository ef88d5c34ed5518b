"""shrink_build_context on a project that builds its image: less is sent, the image is the same."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flows.docker.shrink_build_context import shrink_build_context
from flows.help.undo_remediation import undo_remediation
from infra.testbed.compose.system import ComposeSystem
from tasks.guardrails.case import Case
from tasks.guardrails.plan import Finding
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tests.approving import carry_out
from tests.build_folder import BuildFolder
from tests.prefect_fixtures import Runs

# Its last line has no end; `!` shows a log that is wanted though nothing copies it.
IGNORE = "# Ours\n*.tmp\n\n!small/wanted.log"
SAFE = {
    "**/.env",
    "**/.git",
    "**/*.key",
    "**/node_modules",
    "backend/error.log",
    "backend/dumps",
    "data #1",
}


@pytest.fixture
def folder(fresh_compose: ComposeSystem, home: Path) -> Iterator[BuildFolder]:
    """A folder full of what no image needs, known as a target; it is as before afterwards."""
    assert home
    targets.give(ComposeTarget(**fresh_compose.target_settings()))
    found = BuildFolder(fresh_compose)
    before = found.all()
    found.fill()
    yield found
    found.clear(before)


def found_of(case: Case, beginning: str) -> Finding:
    """Give the finding of the plan whose sentence holds words."""
    (found,) = [one for one in case.stages[0].stage.findings if beginning in one.what]
    return found


def test_less_is_sent_and_the_image_stays(runs: Runs, folder: BuildFolder) -> None:
    """Docker itself sends what is copied and no more; undone byte for byte; nothing is left."""
    folder.ignore.write_text(IGNORE)
    folder.ignore.chmod(0o640)
    folder.write("small/wanted.log", 10)
    before = folder.all()
    got = folder.seen_by_docker()
    case, state = carry_out(runs, folder.system, shrink_build_context)
    assert state.name == "Remediated", state.message
    text = folder.ignore.read_text()
    head, _, ours = text.partition(f"# remedy {case.id}\n")
    assert head == f"{IGNORE}\n"
    assert set(ours.splitlines()) == SAFE
    assert folder.ignore.stat().st_mode & 0o777 == 0o640
    saved = {row[0]: row[2] for row in found_of(case, "would keep").rows}
    assert saved["data #1"] == "7.00 MB"
    assert saved["backend/dumps"] == "6.00 MB"
    assert "with and without them" in found_of(case, "would keep").what
    if got is not None:
        gets = folder.seen_by_docker()
        gone = {
            *(".env", ".git/objects/pack", "keys/server.key", "backend/error.log"),
            *("frontend/node_modules/left-pad/index.js", "backend/dumps/of-monday.bin"),
            "data #1/big.bin",
        }
        assert got - (gets or set()) == gone
    decide = found_of(case, "would change the image")
    assert [row[0] for row in decide.rows] == ["**/__pycache__", "**/*.pyc", "**/*.log"]
    assert "+**/__pycache__\n" in decide.patch
    secret = found_of(case, "Security")
    assert {row[0]: row[3] for row in secret.rows} == {"**/.env": "no", "**/*.key": "no"}
    assert folder.images() == set()
    again, state = carry_out(runs, folder.system, shrink_build_context)
    assert state.name == "Advised", state.message
    assert again.stages[0].stage.changes == ()
    _, undone = carry_out(runs, folder.system, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert folder.all() == before


def test_without_a_file_one_is_made_and_others_edits_stay(runs: Runs, folder: BuildFolder) -> None:
    """Undone it is gone; where somebody added lines since, only ours go."""
    case, state = carry_out(runs, folder.system, shrink_build_context)
    assert state.name == "Remediated", state.message
    made = folder.ignore.read_text()
    assert made.startswith(f"# remedy {case.id}\n")
    folder.ignore.write_text(f"{made}theirs\n")
    _, undone = carry_out(runs, folder.system, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert folder.ignore.read_text() == "theirs\n"
    folder.ignore.unlink()
    case, state = carry_out(runs, folder.system, shrink_build_context)
    assert state.name == "Remediated", state.message
    _, undone = carry_out(runs, folder.system, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert not folder.ignore.exists()


def test_what_the_dockerfile_does_not_show_is_found_by_building(
    runs: Runs, folder: BuildFolder
) -> None:
    """A base that copies by ONBUILD: the image would be another one, and nothing is written."""
    base = f"{folder.system.project.name}:onbuild"
    folder.write("onbuild/Dockerfile", "FROM redis:7-alpine\nONBUILD COPY backend/dumps /dumps\n")
    with closing(folder.system.project.engine.client()) as client:
        client.images.build(path=str(folder.system.folder / "onbuild"), tag=base, rm=True)
        try:
            (folder.system.folder / "onbuild" / "Dockerfile").unlink()
            folder.write(
                "Dockerfile", f"FROM {base}\nCOPY frontend/src /srv\nFROM {base} as production\n"
            )
            _, state = carry_out(runs, folder.system, shrink_build_context)
            assert state.name == "Refused", state.message
            assert "ONBUILD" in (state.message or "")
            assert not folder.ignore.exists()
            assert folder.images() == set()
        finally:
            client.images.remove(base)


def test_a_folder_copied_as_a_whole_is_left_to_people(runs: Runs, folder: BuildFolder) -> None:
    """Every line would change the image: a patch with the instruction, and secrets are told."""
    folder.write("Dockerfile", "FROM redis:7-alpine AS production\nCOPY . /srv\n")
    case, state = carry_out(runs, folder.system, shrink_build_context)
    assert state.name == "Advised", state.message
    assert "line 2 of Dockerfile (COPY . /srv)" in found_of(case, "would change").what
    assert "is in the image" in found_of(case, "Security").what
    assert not folder.ignore.exists()


def test_what_the_engine_cannot_build_is_advised(runs: Runs, folder: BuildFolder) -> None:
    """For BuildKit alone: a patch; a build that fails is refused with its step."""
    mount = "RUN --mount=type=bind,source=backend/dumps,target=/d true\n"
    folder.write(
        "Dockerfile", f"FROM redis:7-alpine AS production\n{mount}COPY frontend/src /srv\n"
    )
    case, state = carry_out(runs, folder.system, shrink_build_context)
    assert state.name == "Advised", state.message
    found = found_of(case, "cannot prove that")
    assert "--mount option requires BuildKit" in found.what
    assert "backend/dumps" not in found.patch  # that is mounted
    assert "data #1" in found.patch
    folder.write("Dockerfile", "FROM redis:7-alpine AS production\nRUN echo oh no; exit 3\n")
    _, state = carry_out(runs, folder.system, shrink_build_context)
    assert state.name == "Refused", state.message
    assert "`RUN echo oh no; exit 3` fails" in (state.message or "")
