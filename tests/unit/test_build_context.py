"""What a Dockerfile copies, and what an ignore file hides, read as the builder reads them."""

import pytest

from tasks.images.dockerfile import EVERYTHING, find_copies
from tasks.images.proposals import propose
from tasks.platforms.compose.images.contexts import Patterns

DOCKERFILE = """\
# syntax=docker/dockerfile:1
# escape=`
ARG WHERE=one OTHER
FROM base
ENV DIR=two DIR2="three"
COPY a b `
  # between

  /x/
COPY --chown=1:1 --from=stage c /x/
COPY ["with space", "d", "/x/"]
ADD https://example.com/e ./f/* /x/
COPY ${WHERE}/g $DIR/h /x/
COPY $OTHER/i /x/
copy <<END /x/made
COPY not-this /x/
END
ONBUILD COPY later /x/
RUN --mount=type=bind,src=j,target=/j --mount=type=cache,target=/k `
    --mount=type=bind,from=stage,source=l make
RUN cat <<-'EOF'
  COPY nor-this /x/
  EOF
COPY ../m /x/
"""


def hidden(lines: list[str], *paths: str) -> list[str]:
    """Give the paths that lines hide."""
    patterns = Patterns(lines)
    return [path for path in paths if patterns.hide(path)]


def test_what_is_copied() -> None:
    """Continued lines, JSON, variables, here-documents, mounts; where unsure, everything."""
    found = {one.instruction.line: one.sources for one in find_copies(DOCKERFILE, {})}
    assert found == {
        6: ("a", "b"),
        11: ("with space", "d"),
        12: ("f/*",),
        13: ("one/g", "two/h"),
        14: (EVERYTHING,),  # nobody says what OTHER is
        18: ("later",),
        19: ("j",),
        24: (EVERYTHING,),
    }
    given = find_copies(DOCKERFILE, {"OTHER": "four", "WHERE": "five"})
    assert [one.sources for one in given][3:5] == [("five/g", "two/h"), ("four/i",)]


@pytest.mark.parametrize("source", [".", "./", "/", "*", "$X", "${X:-a}/b", "./."])
def test_everything_is_copied(source: str) -> None:
    """However it is said."""
    (found,) = find_copies(f"FROM a\nCOPY {source} /x/", {})
    assert found.is_everything


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        (["a"], ["b/a", "b/c.log", "#x"]),
        (["/a/"], ["b/a", "b/c.log", "#x"]),
        (["**/a"], ["b/c.log", "#x"]),
        (["*/*.log"], ["a", "a/x/y", "b/a", "#x"]),
        (["*.log"], ["a", "a/x/y", "b/a", "b/c.log", "#x"]),
        (["**/*.log", "# no", r"\#x"], ["a", "a/x/y", "b/a"]),
        (["*", "!b", "b/a"], ["b/c.log"]),
        (["\ufeffa", "", "  b  ", "."], ["#x"]),
        (["[ab]", "!**/y"], ["a/x/y", "#x"]),
        (["a/**", "b/./../b/?"], ["a", "b/c.log", "#x"]),
    ],
)
def test_what_is_hidden(lines: list[str], shown: list[str]) -> None:
    """Moby's rules: from the folder on, the last line that matches decides, folders with all."""
    paths = ["a", "a/x/y", "b/a", "b/c.log", "#x"]
    assert [path for path in paths if path not in hidden(lines, *paths)] == shown


def test_proposals_go_around_what_is_copied() -> None:
    """One line where it hides nothing that is copied, else one for each place; or a decision."""
    files = {
        "a": 0,
        "a/node_modules": 0,
        "a/node_modules/x": 5,
        "b": 0,
        "b/node_modules": 0,
        "b/node_modules/x": 7,
        "b/[1]": 0,
        "b/[1]/big": 99,
        ".env": 3,
        ".env.example": 1,
        "copied": 0,
        "copied/.git": 50,
    }
    found = propose(
        files,
        {"b/node_modules", "b/node_modules/x", "copied", "copied/.git"},
        {"b"},
        lambda lines, paths: {path for path in paths if Patterns(lines).hide(path)},
        50,
    )
    assert [(one.line, one.size) for one in found.lines] == [
        ("**/.env", 3),
        ("a/node_modules", 5),
        (r"b/\[1\]", 99),
    ]
    assert [(one.line, one.size) for one in found.copied] == [
        ("**/.git", 50),
        ("**/node_modules", 7),
    ]
