"""What of a folder a builder gets, by the rules of its ignore file.

Source: Docker's reference, .dockerignore files; moby/patternmatcher, Pattern.compile and
MatchesUsingParentResults. The SDK's own reading knows no backslash, and not what lies below a
folder that `**` matched.
"""

import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, cast

from docker.utils.build import create_archive

from tasks.guardrails.errors import PreconditionFailed

_PART = re.compile(
    r"(?P<deep>\*\*/?)|(?P<any>\*)|(?P<one>\?)|\\(?P<plain>.)|(?P<set>[\[\]])|(?P<word>.)"
)


def _compiled(pattern: str) -> re.Pattern[str]:
    """Turn a pattern into an expression, as the builder does."""
    said = ""
    for part in _PART.finditer(pattern):
        kind, text = part.lastgroup, part[0]
        if kind == "deep":
            said += ".*" if part.end() == len(pattern) else "(.*/)?"
        elif kind in {"any", "one"}:
            said += "[^/]*" if kind == "any" else "[^/]"
        else:
            said += text if kind == "set" else re.escape(part["plain"] or text)
    try:
        return re.compile(said, re.DOTALL)
    except re.error as error:
        raise PreconditionFailed(
            expected="patterns in the ignore file.",
            found=f"{pattern!r}: {error}. A build fails at it too.",
            todo="Correct that line.",
        ) from error


class Patterns:
    """Lines of an ignore file, in order: the last one that speaks of a path decides.

    Args:
        lines: The lines; empty ones and comments say nothing.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        """Read them."""
        # The builder takes a mark of UTF-8 before the first line for none of it.
        stripped = (line.lstrip("\ufeff").strip() for line in lines)
        given = [line for line in stripped if line and not line.startswith("#")]
        named = [
            (posixpath.normpath(one.removeprefix("!").strip()), one[0] == "!") for one in given
        ]
        self._patterns = [
            (_compiled(path.lstrip("/")), shows) for path, shows in named if path.strip("/.")
        ]
        self.may_show = any(shows for _, shows in self._patterns)
        self._known: dict[str, tuple[bool, ...]] = {"": (False,) * len(self._patterns)}

    def hide(self, path: str) -> bool:
        """Say whether the builder does not get a path, seen from the folder."""
        found = self._matching(path)
        last = max((number for number, hit in enumerate(found) if hit), default=-1)
        return last >= 0 and not self._patterns[last][1]

    def _matching(self, path: str) -> tuple[bool, ...]:
        """Say which patterns match a path or a folder above it."""
        known = self._known.get(path)
        if known is None:
            above = self._matching(path.rpartition("/")[0])
            known = tuple(
                hit or bool(pattern.fullmatch(path))
                for hit, (pattern, _) in zip(above, self._patterns, strict=True)
            )
            self._known[path] = known
        return known


def lines_of(ignore: str | None) -> Sequence[str]:
    """Give the lines of an ignore file's text."""
    return (ignore or "").split("\n")


def list_files(root: Path, ignore: str | None, always: Iterable[str]) -> dict[str, int]:
    """List what a builder gets of a folder.

    Args:
        root: The folder.
        ignore: Text of the ignore file.
        always: Files that it gets whatever that says.

    Returns:
        Bytes by path seen from the folder; folders too, with 0.

    Raises:
        PreconditionFailed: A file or folder cannot be read.
    """
    patterns = Patterns([*lines_of(ignore), *(f"!{path}" for path in always)])
    try:
        return {
            path: found.st_size if stat.S_ISREG(found.st_mode) else 0
            for path, found in _walk(root, "", patterns)
            if not patterns.hide(path)
        }
    except OSError as error:
        raise PreconditionFailed(
            expected=f"to read what a build gets of {root}.",
            found=f"{error.filename}: {error.strerror}. A build fails there too.",
            todo="Give the worker's user the right to read it, or move it elsewhere.",
        ) from error


def _walk(root: Path, below: str, patterns: Patterns) -> Iterator[tuple[str, os.stat_result]]:
    for entry in sorted(os.scandir(root / below), key=lambda one: one.name):
        path = f"{below}/{entry.name}" if below else entry.name
        found = entry.stat(follow_symlinks=False)
        if stat.S_ISSOCK(found.st_mode):
            continue  # no archive holds it
        yield path, found
        is_folder = stat.S_ISDIR(found.st_mode)
        if is_folder and (patterns.may_show or not patterns.hide(path)):
            yield from _walk(root, path, patterns)


def pack(root: Path, paths: Iterable[str], replaced: Mapping[str, str]) -> BinaryIO:
    """Pack files of a folder as a builder takes them.

    Args:
        root: The folder.
        paths: What is packed, seen from there.
        replaced: Texts that are packed in the place of files, by their path.

    Returns:
        The archive, at its beginning; it is gone when it is closed.

    Raises:
        PreconditionFailed: A file cannot be read.
    """
    try:
        files = sorted(set(paths) - set(replaced))
        extra = sorted(replaced.items())
        return cast("BinaryIO", create_archive(str(root), files=files, extra_files=extra))
    except OSError as error:
        raise PreconditionFailed(
            expected=f"to pack what a build gets of {root}.",
            found=f"{type(error).__name__}: {error.strerror or error}.",
            todo="Make room for it in the folder for temporary files, or correct its rights.",
        ) from error
