"""Which files of its folder a Dockerfile copies, in any of its stages.

Source: Docker's reference, Dockerfile: COPY, ADD, RUN --mount, ARG, ENV, here-documents, escape.
Where it is not certain what is copied, everything counts as copied.
"""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

EVERYTHING = "."
_ESCAPE = re.compile(r"^#\s*escape\s*=\s*(\S)", re.IGNORECASE)
_DIRECTIVE = re.compile(r"^#\s*\w+\s*=")
_HERE = re.compile(r"<<-?\s*([\"']?)(\w+)\1")
_WORD = re.compile(r"(?:\\.|\S)+")
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::?[-+][^}]*)?\}|(\w+))")
_PLAIN_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_ELSEWHERE = ("http://", "https://", "ftp://", "git@", "git://", "<<")
_MOUNT = re.compile(r"--mount=(\S+)")


@dataclass(frozen=True)
class Instruction:
    """An instruction of a Dockerfile.

    Args:
        line: Number of the line in which it begins, from 1.
        name: What it is, as 'COPY'.
        value: What follows, on one line.
    """

    line: int
    name: str
    value: str

    def __str__(self) -> str:
        """Show it."""
        return f"{self.name} {self.value}"


@dataclass(frozen=True)
class Copies:
    """An instruction that takes files from the folder.

    Args:
        instruction: The instruction.
        sources: What it takes, as patterns of paths; '.' for everything.
    """

    instruction: Instruction
    sources: tuple[str, ...]

    @property
    def is_everything(self) -> bool:
        """Whether it takes the folder as a whole."""
        return EVERYTHING in self.sources


def instructions(text: str) -> Iterator[Instruction]:
    """Read a Dockerfile.

    Args:
        text: The Dockerfile.

    Yields:
        Its instructions; those that ONBUILD keeps for later as if they stood there.
    """
    lines = text.lstrip("\ufeff").splitlines()
    escape = _escape_of(lines)
    number = 0
    while number < len(lines):
        began, value, goes_on = number + 1, "", True
        while goes_on and number < len(lines):
            line, number = lines[number].strip(), number + 1
            if line.startswith("#") or (value and not line):
                continue  # comments and empty lines between continued ones
            goes_on = line.endswith(escape)
            value += f"{line[:-1]} " if goes_on else line
        name, _, rest = value.strip().partition(" ")
        if not name:
            continue
        while name.upper() == "ONBUILD":
            name, _, rest = rest.strip().partition(" ")
        if name.upper() in {"COPY", "ADD", "RUN"}:
            for _, end in _HERE.findall(rest):
                while number < len(lines) and lines[number].strip() != end:
                    number += 1
                number += 1
        yield Instruction(began, name.upper(), rest.strip())


def _escape_of(lines: list[str]) -> str:
    for line in lines:
        if found := _ESCAPE.match(line.strip()):
            return found[1]
        if not _DIRECTIVE.match(line.strip()):
            break
    return "\\"


def find_copies(text: str, arguments: Mapping[str, str]) -> list[Copies]:
    """Find what a Dockerfile takes from its folder, in every stage.

    Args:
        text: The Dockerfile.
        arguments: Build arguments that are given.

    Returns:
        The instructions that take something.
    """
    found, known = [], {name: {value} for name, value in arguments.items()}
    for one in instructions(text):
        if one.name == "ARG":
            for name, value in _pairs(one.value):
                if name not in arguments:
                    known.setdefault(name, set()).add(value)
        elif one.name == "ENV":
            for name, value in _pairs(one.value):
                known.setdefault(name, set()).add(value)
        elif sources := tuple(_sources(one)):
            found.append(Copies(one, tuple(_expanded(source, known) for source in sources)))
    return found


def _pairs(value: str) -> Iterator[tuple[str, str]]:
    words = _WORD.findall(value)
    if words and "=" not in words[0] and len(words) > 1:
        yield words[0], value.split(None, 1)[1].strip("\"'")  # ENV NAME VALUE, as of old
        return
    for word in words:
        name, is_set, given = word.partition("=")
        # Without a value it is not known what it will be.
        yield name, given.strip("\"'") if is_set else "$unknown"


def _sources(one: Instruction) -> Iterator[str]:
    if one.name == "RUN":
        for mount in _MOUNT.findall(one.value):
            given = dict(part.partition("=")[::2] for part in mount.split(","))
            if given.get("type", "bind") == "bind" and "from" not in given:
                yield given.get("source") or given.get("src") or EVERYTHING
        return
    if one.name not in {"COPY", "ADD"}:
        return
    words = _WORD.findall(one.value)
    flags = [word for word in words if word.startswith("--")]
    if any(flag.startswith("--from") for flag in flags):
        return  # from a stage, or from another image
    value = one.value
    for flag in flags:
        value = value.replace(flag, "", 1)
    words = [word.replace("\\ ", " ") for word in _WORD.findall(value)]
    if value.strip().startswith("["):
        with suppress(ValueError):
            words = [str(word) for word in json.loads(value.strip())]
    yield from (word for word in words[:-1] if not word.startswith(_ELSEWHERE))


def _expanded(source: str, known: Mapping[str, set[str]]) -> str:
    """Give a source with its variables' values; everything where they are not certain."""
    for _ in range(len(known) + 1):
        names = {a or b for a, b in _PLAIN_VARIABLE.findall(source)}
        if not names or any(len(known.get(name, ())) != 1 for name in names):
            break
        source = _PLAIN_VARIABLE.sub(lambda hit: next(iter(known[hit[1] or hit[2]])), source)
    if _VARIABLE.search(source) or "$" in source:
        return EVERYTHING
    parts = [part for part in source.split("/") if part not in {"", "."}]
    return "/".join(parts) if parts and ".." not in parts and parts != ["*"] else EVERYTHING
