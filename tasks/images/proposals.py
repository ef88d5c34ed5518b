"""Lines for an ignore file, each with what it saves; none hides what a Dockerfile copies."""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.images.unwanted import EXAMPLES, KNOWN, SECRETS, VIRTUAL_ENVIRONMENT

Hidden = Callable[[Sequence[str], Iterable[str]], set[str]]
_SPECIAL = re.compile(r"[*?\[\]\\]|^[!#]")
_MOST_APART = 20  # lines instead of one that would hide what is copied


@dataclass(frozen=True)
class Proposal:
    """A line, with what it is about.

    Args:
        line: The line.
        why: What it hides.
        size: Bytes that the builder gets no more, beyond what earlier lines hide.
        files: Their number, folders not counted.
        secret: Whether it is about secrets.
    """

    line: str
    why: str
    size: int
    files: int
    secret: bool = False


@dataclass(frozen=True)
class Proposals:
    """What can be left out of a folder, and what an instruction copies although no image needs it.

    Args:
        lines: The lines that hide nothing that is copied.
        copied: Lines that a person has to decide on, as they change the image.
    """

    lines: tuple[Proposal, ...]
    copied: tuple[Proposal, ...]


def propose(
    files: Mapping[str, int],
    copied: Collection[str],
    wanted: Collection[str],
    hidden: Hidden,
    smallest: int,
) -> Proposals:
    """Find lines for a folder's ignore file.

    Args:
        files: What the builder gets: bytes by path, folders with 0.
        copied: What some Dockerfile copies of it.
        wanted: What has to stay besides.
        hidden: Says which paths lines hide.
        smallest: Bytes from which a folder or file that nobody copies gets a line, whatever it is.

    Returns:
        The lines, in the order in which they are counted.
    """
    found = _Finding(files, copied, wanted, hidden)
    for line, why, secret in _candidates(files):
        found.consider(line, why, secret=secret)
    for path in _largest(found.left, found.held, smallest):
        found.take_exactly(path, "nothing copies it", secret=False)
    return Proposals(tuple(found.lines), tuple(found.decide))


class _Finding:
    """Lines that are found one after the other, each for what earlier ones leave."""

    def __init__(
        self,
        files: Mapping[str, int],
        copied: Collection[str],
        wanted: Collection[str],
        hidden: Hidden,
    ) -> None:
        self.left, self.lines, self.decide = dict(files), list[Proposal](), list[Proposal]()
        self.held = {*copied, *wanted, *hidden(EXAMPLES, files)}
        self._files, self._copied, self._hidden = files, set(copied), hidden

    def consider(self, line: str, why: str, *, secret: bool) -> None:
        """Take a line, or narrower ones where it would hide what has to stay."""
        hit = self._hidden([line], self.left)
        kept = hit & self.held
        if not kept:
            self._take(line, why, secret=secret)
            return
        in_image = hit & self._copied
        if any(self._files[path] for path in in_image):
            self.decide.append(_proposal(line, why, in_image, self._files, secret=secret))
        apart = [root for root in _roots(hit) if not any(_within(path, root) for path in kept)]
        for root in apart[:_MOST_APART]:
            self.take_exactly(root, why, secret=secret)

    def take_exactly(self, path: str, why: str, *, secret: bool) -> None:
        """Take the line that hides a path with what is below it, where that hides nothing else."""
        line = escaped(path)
        if path.isprintable() and all(
            _within(one, path) for one in self._hidden([line], self.left)
        ):
            self._take(line, why, secret=secret)

    def _take(self, line: str, why: str, *, secret: bool) -> None:
        gone = self._hidden([line], self.left)
        if gone:
            self.lines.append(_proposal(line, why, gone, self.left, secret=secret))
            for path in gone:
                del self.left[path]


def _candidates(files: Iterable[str]) -> Iterator[tuple[str, str, bool]]:
    yield from ((line, why, True) for line, why in SECRETS)
    yield from ((line, why, False) for line, why in KNOWN)
    for path in sorted(files):
        folder, _, name = path.rpartition("/")
        if name == VIRTUAL_ENVIRONMENT and folder:
            yield escaped(folder), "a virtual environment of this machine", False


def _proposal(
    line: str, why: str, paths: Collection[str], sizes: Mapping[str, int], *, secret: bool
) -> Proposal:
    above = {path.rpartition("/")[0] for path in paths}
    files = sum(path not in above for path in paths)
    return Proposal(line, why, sum(sizes[path] for path in paths), files, secret)


def _roots(paths: Collection[str]) -> list[str]:
    """Give the paths that lie below no other of them."""
    known = set(paths)
    return sorted(path for path in known if not any(one in known for one in _above(path)))


def _above(path: str) -> Iterator[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path


def _within(path: str, root: str) -> bool:
    return path == root or path.startswith(f"{root}/")


def escaped(path: str) -> str:
    """Write a path so that an ignore file has no pattern in it."""
    return _SPECIAL.sub(r"\\\g<0>", path)


def _largest(left: Mapping[str, int], held: Collection[str], smallest: int) -> list[str]:
    """Find the uppermost files and folders that are large, and hold nothing that is copied."""
    sizes, needed = Counter[str](), set[str]()
    for path, size in left.items():
        for one in (path, *_above(path)):
            sizes[one] += size
    for path in held:
        needed |= {path, *_above(path)}
    large = {path for path, size in sizes.items() if size >= smallest and path not in needed}
    return _roots(large)
