"""What a program was seen to do: stacks of calls, and the functions that they are made of."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

_CALL = re.compile(r"(?P<function>[^;\n]+?) \((?P<file>[^();\n]*?)(?::(?P<line>\d+))?\)")
_INSTALLED = re.compile(r"/(?:site|dist)-packages/(?P<name>[^/]+)(?P<rest>.*)")
_OF_PYTHON = re.compile(r"/lib/python3[\d.]*/|^<frozen ")
PYTHON = "Python"


@dataclass(frozen=True)
class Frame:
    """A call.

    Args:
        function: The function that was called.
        file: The file that it is in, as seen from where the program or the library is.
        line: The line that was at work, 0 if unknown.
        library: The library that it belongs to; '' for the application's own.
    """

    function: str
    file: str
    line: int
    library: str


@dataclass(frozen=True)
class Use:
    """How much of the time a function took.

    Args:
        function: Its name.
        file: The file that it is in.
        line: The line of it that was at work most often.
        library: The library that it belongs to; '' for the application's own.
        own: Part of the looks that saw it at work itself, or C code that it had called.
        total: Part of the looks that saw it at work, or waiting for what it had called.
    """

    function: str
    file: str
    line: int
    library: str
    own: float
    total: float


Stacks = Mapping[tuple[Frame, ...], int]


def read(text: str, folder: str) -> Counter[tuple[Frame, ...]]:
    """Read stacks as py-spy writes them, the outermost call first.

    Args:
        text: A line for each, with how often it was seen.
        folder: The folder that the program works in: its own code lies below; '' if unknown.

    Returns:
        How often each was seen.
    """
    found: Counter[tuple[Frame, ...]] = Counter()
    owners = _Owners((one["file"] for one in _CALL.finditer(text)), folder)
    for line in text.splitlines():
        calls, _, count = line.rpartition(" ")
        frames = tuple(_frames(calls, owners))
        if frames and count.isdigit():
            found[frames] += int(count)
    return found


def _frames(calls: str, owners: "_Owners") -> Iterator[Frame]:
    for call in calls.split(";"):
        if found := _CALL.fullmatch(call):
            library, file = owners.of(found["file"])
            yield Frame(found["function"], file, int(found["line"] or 0), library)


class _Owners:
    """Whose files are: the application's own, Python's, or those of a library."""

    def __init__(self, files: Iterable[str], folder: str) -> None:
        self._folder = folder.rstrip("/")
        others = {one for one in files if one.startswith("/") and self._of_known(one) is None}
        # Where libraries lie that are installed in a folder of the image's own.
        self._root = os.path.commonpath(others) if len(others) > 1 else ""

    def of(self, file: str) -> tuple[str, str]:
        """Give the library of a file, '' for none, and the file as seen from there."""
        if (known := self._of_known(file)) is not None:
            return known
        if not file.startswith("/"):
            return "", file
        inside = os.path.relpath(file, self._root) if self._root else file.strip("/")
        return inside.partition("/")[0], inside

    def _of_known(self, file: str) -> tuple[str, str] | None:
        if installed := _INSTALLED.search(file):
            return installed["name"].removesuffix(".py"), installed["name"] + installed["rest"]
        if _OF_PYTHON.search(file):
            return PYTHON, file
        if not self._folder or file.startswith(f"{self._folder}/"):
            return "", file.removeprefix(f"{self._folder}/") if self._folder else file
        return None


def uses(stacks: Stacks) -> list[Use]:
    """Add up how much of the time each function took.

    Args:
        stacks: How often each stack was seen.

    Returns:
        The functions, by their own part, the largest first.
    """
    seen = sum(stacks.values())
    own: Counter[tuple[str, str, str]] = Counter()
    total: Counter[tuple[str, str, str]] = Counter()
    lines: dict[tuple[str, str, str], Counter[int]] = {}
    for frames, count in stacks.items():
        keys = [(one.function, one.file, one.library) for one in frames]
        own[keys[-1]] += count
        for key in set(keys):  # one that calls itself counts once
            total[key] += count
        for key, frame in zip(keys, frames, strict=True):
            lines.setdefault(key, Counter())[frame.line] += count
    found = [
        Use(
            function,
            file,
            lines[key].most_common(1)[0][0],
            library,
            own[key] / seen,
            total[key] / seen,
        )
        for key in total
        for function, file, library in [key]
    ]
    return sorted(found, key=lambda one: (one.own, one.total), reverse=True)
