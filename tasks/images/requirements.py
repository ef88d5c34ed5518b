"""Requirements files of pip: their lines, and versions written into them.

Sources: pip's documentation, Requirements File Format; PEP 508. What is behind a URL, an option or
a variable is left alone: it may hold a password.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

_COMMENT = re.compile(r"(^|\s)#.*$")
_INCLUDES = re.compile(r"^\s*(?:-r|-c|--requirement|--constraint)[ =]+(\S+)")
_OPTION = re.compile(r"\s--?\w[\w-]*(?:[ =].*)?$")
_GIVEN = re.compile(r"(?:-r|-c|--requirement|--constraint)[ =]*[\"']?([\w./-]+)")


@dataclass(frozen=True)
class Line:
    """A requirement as a line of a file says it.

    Args:
        file: The file, seen from the folder that is built.
        number: Number of the line, from 1.
        text: The requirement, without comment and options.
        package: Name of the package, as names are compared.
        hashed: Whether hashes are given for it.
    """

    file: str
    number: int
    text: str
    package: str
    hashed: bool

    def __str__(self) -> str:
        """Say where it stands."""
        return f"`{self.text}` (line {self.number} of {self.file})"


def files_in(instruction: str, paths: Iterable[str]) -> list[str]:
    """Find the files of a folder that an instruction may install from.

    Args:
        instruction: It, as the Dockerfile has it.
        paths: What there is in the folder.

    Returns:
        Files that have the names that it says.
    """
    names = {given.rpartition("/")[2] for given in _GIVEN.findall(instruction)}
    return sorted(path for path in paths if path.rpartition("/")[2] in names)


def included(text: str) -> list[str]:
    """Give the files that a requirements file includes, as it says them."""
    return [found[1] for line in text.splitlines() if (found := _INCLUDES.match(line))]


def lines_of(file: str, text: str) -> Iterator[Line]:
    """Read a requirements file.

    Args:
        file: Its path, for the lines.
        text: It.

    Yields:
        What it requires by name and version; what it says otherwise is left out.
    """
    lines = text.splitlines()
    number = 0
    while number < len(lines):
        began, said = number + 1, lines[number]
        while said.endswith("\\") and number + 1 < len(lines):
            number += 1
            said = f"{said[:-1]} {lines[number]}"
        number += 1
        plain = _COMMENT.sub("", said).strip()
        hashed = "--hash" in plain
        plain = plain.partition(" --")[0].strip() if hashed else _OPTION.sub("", plain).strip()
        try:
            parsed = Requirement(plain)
        except InvalidRequirement:
            continue
        if not parsed.url:
            yield Line(file, began, plain, canonicalize_name(parsed.name), hashed)


def pinned(line: Line, version: str) -> str:
    """Write a requirement with one version in the place of those that it allows.

    Args:
        line: The requirement.
        version: The version.
    """
    parsed = Requirement(line.text)
    extras = f"[{','.join(sorted(parsed.extras))}]" if parsed.extras else ""
    marker = f" ; {parsed.marker}" if parsed.marker else ""
    return f"{parsed.name}{extras}=={version}{marker}"


def written(text: str, pins: Mapping[int, tuple[str, str]], block: Sequence[str]) -> str | None:
    """Write lines of a file anew; what else is on them, and their ends, stay.

    Args:
        text: The file.
        pins: What stands there, and what shall, by the number of the line.
        block: Lines that come at the end.

    Returns:
        The new text; None where something else stands on one of the lines.
    """
    lines = text.splitlines(keepends=True)
    for number, (old, new) in pins.items():
        if number > len(lines) or not lines[number - 1].lstrip().startswith(old):
            return None
        lines[number - 1] = lines[number - 1].replace(old, new, 1)
    end = "\r\n" if "\r\n" in text else "\n"
    if block and lines and not lines[-1].endswith("\n"):
        lines[-1] += end
    return "".join([*lines, *(f"{line}{end}" for line in block)])
