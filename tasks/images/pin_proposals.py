"""Versions that let a build succeed: those that the running image has, proved by building."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from packaging.version import InvalidVersion, Version

from tasks.images.build_failures import Failure, classify
from tasks.images.pinning import with_pins
from tasks.images.requirements import Line, files_in, included, lines_of, pinned
from tasks.platforms.images import Built, Images, Recipe

_ROUNDS = 5
PINNED = frozenset({"version", "conflict", "python", "library"})


@dataclass(frozen=True)
class Pin:
    """A version for a package.

    Args:
        package: Its name.
        line: The line that requires it; None where none does, and one is added.
        new: What it shall require.
        why: Where the version is from.
    """

    package: str
    line: Line | None
    new: str
    why: str


@dataclass
class Proposal:
    """Versions for a requirements file.

    Args:
        file: The file, seen from the folder that is built.
        pins: The versions.
        proved: Whether the image is built with them.
        rest: Why it still fails, None where it does not.
    """

    file: str
    pins: list[Pin] = field(default_factory=list)
    proved: bool = False
    rest: Failure | None = None

    @property
    def edits(self) -> tuple[tuple[int, str, str], ...]:
        """Number of each line, what it requires, what it shall require."""
        return tuple((one.line.number, one.line.text, one.new) for one in self.pins if one.line)

    @property
    def added(self) -> tuple[str, ...]:
        """What is added at the end."""
        return tuple(one.new for one in self.pins if one.line is None)


def requirements_of(images: Images, recipe: Recipe, instruction: str) -> dict[str, str]:
    """Read the files of a folder that an instruction installs from, and those they include.

    Args:
        images: Where the recipe is from.
        recipe: The recipe.
        instruction: The instruction.

    Returns:
        Text by path; those that it names first.
    """
    paths = images.files(recipe, images.read(recipe.context, recipe.ignore))
    found: dict[str, str] = {}
    waiting = files_in(instruction, paths)
    while waiting:
        path = waiting.pop(0)
        text = images.read(recipe.context, path) if path in paths and path not in found else None
        if text is not None:
            found[path] = text
            folder = path.rpartition("/")[0]
            waiting += [f"{folder}/{one}" if folder else one for one in included(text)]
    return found


def propose(
    images: Images,
    recipe: Recipe,
    remediation: str,
    failure: Failure,
    texts: Mapping[str, str],
    running: Mapping[str, str],
) -> Proposal | None:
    """Find versions with which a build succeeds that fails for what it installs.

    Args:
        images: Where the recipe is from.
        recipe: The recipe.
        remediation: The id that images carry meanwhile.
        failure: Why it fails.
        texts: The requirements files.
        running: The packages of the image that runs.

    Returns:
        Versions for one file; None where the running image knows none.
    """
    found: Proposal | None = None
    for _ in range(_ROUNDS):
        if failure.kind not in PINNED or not texts:
            break
        pins = [one for one in _pins(failure, texts, running) if _is_new(one, found)]
        file = next((one.line.file for one in pins if one.line), next(iter(texts)))
        if found is not None:
            file = found.file
        pins = [one for one in pins if one.line is None or one.line.file == file]
        if not pins:
            break
        found = found or Proposal(file)
        found.pins += pins
        text = with_pins(texts[file], found.edits, found.added, remediation) or texts[file]
        built = _built(images, recipe, remediation, {file: text})
        found.proved = bool(built.image)
        if found.proved:
            found.rest = None
            break
        found.rest = failure = classify(built)
    return found


def _built(images: Images, recipe: Recipe, remediation: str, replaced: Mapping[str, str]) -> Built:
    ignore = images.read(recipe.context, recipe.ignore)
    built: Sequence[Built] = ()
    try:
        built = [images.build(recipe, remediation, ignore=ignore, cached=False, replaced=replaced)]
        return built[0]
    finally:
        images.forget(remediation, built)


def _is_new(pin: Pin, found: Proposal | None) -> bool:
    return found is None or all(one.package != pin.package for one in found.pins)


def _pins(failure: Failure, texts: Mapping[str, str], running: Mapping[str, str]) -> list[Pin]:
    lines = [line for file, text in texts.items() for line in lines_of(file, text)]
    pins = []
    for package in failure.packages:
        mine = [line for line in lines if line.package == package]
        version, why = _version_of(package, failure, running, mine)
        if not version or any(line.hashed for line in mine):
            continue
        if not mine:
            pins.append(Pin(package, None, f"{package}=={version}", why))
        pins += [
            Pin(package, line, new, why)
            for line in mine[:1]
            if (new := pinned(line, version)) != line.text
        ]
    return pins


def _version_of(
    package: str, failure: Failure, running: Mapping[str, str], mine: Sequence[Line]
) -> tuple[str, str]:
    """Give a version with where it is from: that which runs, else the newest of the same line."""
    runs = running.get(package, "")
    if runs and (not failure.known or runs in failure.known):
        return runs, "the running image has it"
    asked = mine[0].text.rpartition("=")[2].strip() if mine and "==" in mine[0].text else ""
    listed = [found for one in failure.known if (found := _parsed(one))]
    wanted = _parsed(asked)
    alike = [one for one in listed if wanted and one.major == wanted.major]
    if failure.packages[:1] == (package,) and alike:
        return str(max(alike)), f"the newest {max(alike).major}.x that the index has"
    return "", ""


def _parsed(text: str) -> Version | None:
    try:
        found = Version(text)
    except InvalidVersion:
        return None
    return None if found.is_prerelease else found
