"""A flame graph: what called what, as wide as it took time; it needs no other file."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from itertools import islice

from tasks.application.pictures import drawing
from tasks.application.stacks import Frame, Stacks

_WIDTH, _ROW, _CHARACTER = 640, 17, 6.5
_NARROWEST = 2.0  # pixels
_DEEPEST = 100  # rows: what calls itself a thousand times would fill pages, and our own stack
_OWN, _LIBRARY = "#e8a06a", "#a9bccd"


@dataclass
class _Box:
    """A call, or calls within one library, below what called them."""

    own: bool = False
    count: int = 0
    below: "dict[str, _Box]" = field(default_factory=dict)


def flame_graph(stacks: Stacks) -> str:
    """Draw stacks, the outermost call at the top.

    Calls of a library among themselves are drawn as one; the application's own are not.

    Args:
        stacks: How often each was seen.

    Returns:
        SVG; '' where nothing was seen.
    """
    root = _Box()
    for frames, count in stacks.items():
        box = root
        box.count += count
        for name, own in islice(_calls(frames), _DEEPEST):
            box = box.below.setdefault(name, _Box(own))
            box.count += count
    if not root.count:
        return ""
    parts = list(_drawn(root, 0.0, 0, _WIDTH / root.count))
    height = (_depth(root, _WIDTH / root.count)) * _ROW
    parts.append(
        f'<text x="0" y="{height + 16}"><tspan style="fill:{_OWN}">the application\'s own code'
        f'</tspan>, <tspan style="fill:{_LIBRARY}">libraries</tspan>; as wide as it took time'
        "</text>"
    )
    return drawing(_WIDTH, height + 24, parts)


def _calls(frames: tuple[Frame, ...]) -> Iterator[tuple[str, bool]]:
    before = ""
    for one in frames:
        if not one.library:
            yield f"{one.function} ({one.file.rpartition('/')[2]})", True
        elif one.library != before:
            yield one.library, False
        before = one.library


def _wide(box: _Box, scale: float) -> Iterator[tuple[str, _Box]]:
    for name, one in sorted(box.below.items(), key=lambda pair: -pair[1].count):
        if one.count * scale >= _NARROWEST:
            yield name, one


def _depth(box: _Box, scale: float) -> int:
    return max((1 + _depth(one, scale) for _, one in _wide(box, scale)), default=0)


def _drawn(box: _Box, left: float, row: int, scale: float) -> Iterator[str]:
    for name, one in _wide(box, scale):
        width = one.count * scale
        yield (
            f'<rect x="{left:.1f}" y="{row * _ROW}" width="{width - 0.5:.1f}" '
            f'height="{_ROW - 1}" style="fill:{_OWN if one.own else _LIBRARY}"/>'
        )
        room = int((width - 6) / _CHARACTER)
        if room > 2:  # noqa: PLR2004 - fewer letters say nothing
            text = name if len(name) <= room else f"{name[: room - 1]}…"
            yield (
                f'<text x="{left + 3:.1f}" y="{row * _ROW + 12}" style="fill:#222">'
                f"{escape(text)}</text>"
            )
        yield from _drawn(one, left, row + 1, scale)
        left += width
