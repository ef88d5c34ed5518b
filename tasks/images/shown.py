"""Files of a folder, and lines of its ignore file, as a plan shows them."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import unified_diff

from tasks.guardrails.words import bar
from tasks.images.proposals import Proposal

LINES = ("line", "what it hides", "saved", "files")
_SHOWN = 15  # entries of a folder


def entries_of(files: Mapping[str, int], copied: Collection[str]) -> tuple[tuple[str, ...], ...]:
    """Sum files up by the uppermost entry that they are below.

    Args:
        files: Bytes by path.
        copied: Those that are copied.

    Returns:
        Rows of entry, size, share of all, number of files, and size of what is copied of it.
    """
    return tuple(_entries(files, copied))


def _entries(files: Mapping[str, int], copied: Collection[str]) -> Iterator[tuple[str, ...]]:
    sizes, numbers, taken = Counter[str](), Counter[str](), Counter[str]()
    for path, size in files.items():
        top = path.partition("/")[0].encode(errors="replace").decode()
        sizes[top] += size
        numbers[top] += bool(size)
        taken[top] += size if path in copied else 0
    total = sizes.total() or 1
    for top, size in sizes.most_common(_SHOWN):
        yield top, megabytes(size), bar(size / total), f"{numbers[top]:,}", megabytes(taken[top])
    if others := sizes.most_common()[_SHOWN:]:
        size = sum(number for _, number in others)
        yield f"{len(others)} more", megabytes(size), bar(size / total), "", ""


def rows_of(proposals: Sequence[Proposal]) -> tuple[tuple[str, ...], ...]:
    """Give lines as rows under `LINES`."""
    return tuple((it.line, it.why, megabytes(it.size), f"{it.files:,}") for it in proposals)


def patch_of(name: str, before: str | None, after: str, around: int = 3) -> str:
    """Give an edit as a patch.

    Args:
        name: The file.
        before: Its text, None where there is none.
        after: The text that it would have.
        around: Lines shown before and behind each that differs.
    """
    old = (before or "").splitlines(keepends=True)
    new = after.splitlines(keepends=True)
    diff = unified_diff(old, new, f"a/{name}", f"b/{name}", n=around)
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in diff)


def megabytes(size: int) -> str:
    """Write bytes as MB."""
    return f"{size / 1e6:,.2f} MB"
