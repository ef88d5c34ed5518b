"""The docs: up to date, with links that lead somewhere and commands that work."""

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclopts import App

from deployments import docs as generator
from deployments import docs_errors
from deployments.docs_cli import find_app
from deployments.docs_guide import GUIDE, slug

ROOT = Path(__file__).resolve().parents[1]
# A block behind this line is executed as it stands.
MARK = "<!-- run -->"
BLOCK = re.compile(r"^(<!-- run -->\n+)?```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELLS = {"sh", "bash", "console"}
# uv.lock names the public registry that every uv.lock names.
NOT_LOOKED_INTO = {"uv.lock"}
# Put together, so that this file does not hold what it looks for.
REGISTRIES = "|".join(
    re.escape(".".join(host.split()))
    for host in (
        "pypi org",
        "pythonhosted org",
        "npmjs org",
        "npmjs com",
        "registry-1 docker io",
        "index docker io",
        "ghcr io",
        "quay io",
        "gcr io",
        "registry k8s io",
        "proxy golang org",
    )
)
PLACES = r"work|root|home/\w+|Users/\w+|opt/wheels"
FOREIGN = re.compile(rf"\b(?:{REGISTRIES})\b|(?<![\w.}}*/-])/(?:{PLACES})/")


def tracked(pattern: str = "*") -> list[Path]:
    """Give the files that git has, or would add."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", pattern]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    paths = [ROOT / name for name in sorted(set(done.stdout.split("\0"))) if name]
    return [path for path in paths if path.is_file()]


PAGES = tracked("*.md")
OURS = [path for path in PAGES if path.name != GUIDE]


def name_of(path: Path) -> str:
    """Name a page as the test's id."""
    return path.relative_to(ROOT).as_posix()


def prose(path: Path) -> str:
    """Give a page without what stands in code."""
    text = re.sub(r"^( *)```.*?^ *```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"`[^`\n]*`", "", text)


def anchors(path: Path) -> set[str]:
    """Give the anchors of a page's headings."""
    text = re.sub(r"^( *)```.*?^ *```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def commands(path: Path) -> Iterator[str]:
    """Give the commands in a page's shell blocks."""
    for _, language, block in BLOCK.findall(path.read_text()):
        if language not in SHELLS:
            continue
        for line in block.replace("\\\n", " ").splitlines():
            yield line.removeprefix("$ ").strip()


def app() -> App:
    """Give the command line's application."""
    found = find_app()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def made() -> dict[str, str]:
    """All pages as the code has them now."""
    return generator.pages()


def test_generated_pages_are_up_to_date(made: dict[str, str]) -> None:
    """What is committed is what `make docs` writes."""
    assert generator.differences(generator.DOCS, made) == "", "run `make docs`"


def test_page_that_is_old_missing_or_left_over_is_found(
    made: dict[str, str], tmp_path: Path
) -> None:
    """The check shows each difference as a diff, and writing puts all right."""
    assert set(generator.write(tmp_path, made)) == set(made)
    assert generator.differences(tmp_path, made) == ""
    page = tmp_path / "errors.md"
    page.write_text(page.read_text().replace("# Errors", "# Mistakes"))
    (tmp_path / "guide.md").unlink()
    (tmp_path / "remediations" / "gone.md").write_text(f"{generator.MARK}\n# gone\n")
    (tmp_path / "remediations" / "by_hand.md").write_text("# stays\n")
    found = generator.differences(tmp_path, made)
    assert "-# Mistakes\n+# Errors\n" in found
    assert "--- docs/guide.md\n" in found
    assert "-# gone\n" in found
    assert "stays" not in found
    touched = generator.write(tmp_path, made)
    assert set(touched) == {"errors.md", "guide.md", "remediations/gone.md"}
    assert generator.differences(tmp_path, made) == ""


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    """Each link to a page, a picture or a heading of ours finds it."""
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", prose(path)):
        if re.match(r"https?:|mailto:", link):
            continue
        place, _, anchor = link.partition("#")
        there = (path.parent / place).resolve() if place else path
        if place.endswith("/") or there.is_dir():
            there /= "README.md"
        if not there.exists() or (anchor and anchor not in anchors(there)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_commands_exist(path: Path) -> None:
    """Each `remedy` and `make` line of the docs is one that its program accepts."""
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in commands(path):
        words = shlex.split(line, comments=True)
        if words and words[0].rpartition("/")[2] == "remedy" and words[1:] != ["COMMAND"]:
            if generator.MARK in path.read_text():
                continue  # made of the application itself: usage, not commands
            app().parse_args(words[1:], exit_on_error=False, print_error=False)
        elif words and words[0] == "make":
            assert {word for word in words[1:] if "=" not in word} <= targets, line


def unknown(text: str) -> list[str]:
    """Give the `remedy ...` commands that a text names and that do not exist."""
    wrong = []
    for words in re.findall(r"(?:`|: )remedy ((?:[a-z][a-z-]*[ `.,]?)+)", text):
        at = app()
        for word in re.findall(r"[a-z-]+", words):
            names = [name for name in at if not name.startswith("-")]
            if not names:
                break
            if word not in names:
                wrong.append(f"remedy {words}")
                break
            at = at[word]
    return wrong


@pytest.mark.parametrize("path", OURS, ids=name_of)
def test_commands_in_sentences_exist(path: Path) -> None:
    """No page names a command of `remedy` that there is not."""
    assert unknown(path.read_text()) == []


def test_errors_name_commands_that_exist() -> None:
    """What an error says to do next can be done."""
    messages = docs_errors.messages(ROOT)
    assert len(messages) > 50
    assert [(m.where, wrong) for m in messages for wrong in unknown(m.todo)] == []
    assert unknown("Run `remedy ledger varify` now") == ["remedy ledger varify`"]


def test_errors_are_all_found() -> None:
    """The page has messages made in a raise, by a function of its own, and by a variable."""
    found = {(kind, m.found) for m in docs_errors.messages(ROOT) for kind in m.kinds}
    assert ("LedgerBroken", "mode {mode}.") in found
    assert (
        "ApprovalRefused",
        "the name or the code is wrong, or the code was used before.",
    ) in found
    assert {kind for kind, text in found if text.startswith("{text} (SQLSTATE")} == {
        "Transient",
        "PreconditionFailed",
    }


def test_marked_blocks_run(tmp_path: Path) -> None:
    """Blocks that are marked so are executed as they stand, and end well."""
    environment = {**os.environ, "REMEDY_HOME": str(tmp_path)}
    with contextlib.suppress(KeyError):
        del environment["PREFECT_API_URL"]
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    executed = []
    for path in OURS:
        for mark, language, block in BLOCK.findall(path.read_text()):
            if not mark:
                continue
            program = (
                ["python", "-c"] if language == "python" else ["bash", "-euo", "pipefail", "-c"]
            )
            done = subprocess.run(
                [*program, block],
                cwd=ROOT,
                env=environment,
                capture_output=True,
                text=True,
                timeout=300,
                check=False,
            )
            assert done.returncode == 0, f"{name_of(path)}:\n{block}\n{done.stderr}"
            executed.append(name_of(path))
    assert "CONTRIBUTING.md" in executed


def test_no_registry_and_no_path_of_a_machine_is_in_a_file() -> None:
    """Whoever clones this gets nothing of where it was written."""
    found = []
    for path in tracked():
        if name_of(path) in NOT_LOOKED_INTO:
            continue
        with contextlib.suppress(UnicodeDecodeError):
            found += [f"{name_of(path)}: {hit}" for hit in FOREIGN.findall(path.read_text())]
    assert found == []
    assert FOREIGN.search("see /" + "work/main/x")
    assert FOREIGN.search("https://" + "pypi." + "org/simple")
