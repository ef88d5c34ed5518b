"""Pictures of what was measured: drawings that need no other file and run nothing."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import cycle

_WIDTH, _HEIGHT, _LEFT, _ROW = 640, 240, 70, 16
_COLOURS = ("#2a78d6", "#d1603d", "#3a9d5d", "#8a56c2", "#b8860b", "#5f6b7a")


def lines(series: Mapping[str, Sequence[tuple[float, float]]], unit: str, factor: float) -> str:
    """Draw what became of amounts over a time.

    Args:
        series: Seconds and amount, by name.
        unit: Unit of the amounts as they are shown.
        factor: What an amount is multiplied by to be shown in it.

    Returns:
        SVG; '' where nothing was measured twice.
    """
    drawn = {name: points for name, points in series.items() if len(points) > 1}
    if not drawn:
        return ""
    most = max(amount for points in drawn.values() for _, amount in points) or 1
    longest = max(points[-1][0] for points in drawn.values()) or 1
    parts = [
        f'<text x="{_LEFT - 6}" y="14" text-anchor="end">{most * factor:,.0f} {unit}</text>',
        f'<text x="{_LEFT - 6}" y="{_HEIGHT}" text-anchor="end">0</text>',
        f'<text x="{_WIDTH}" y="{_HEIGHT + 16}" text-anchor="end">{longest:,.0f} s</text>',
        f'<path d="M{_LEFT} 4V{_HEIGHT}H{_WIDTH}" fill="none" stroke="#888"/>',
    ]
    for row, ((name, points), colour) in enumerate(
        zip(drawn.items(), cycle(_COLOURS), strict=False)
    ):
        way = " ".join(
            f"{_LEFT + (_WIDTH - _LEFT) * at / longest:.0f},"
            f"{_HEIGHT - (_HEIGHT - 10) * amount / most:.0f}"
            for at, amount in points
        )
        y = _HEIGHT + 34 + row * _ROW
        parts.append(f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{_LEFT}" y="{y}" style="fill:{colour}">{escape(name)}</text>')
    return drawing(_WIDTH, _HEIGHT + 40 + _ROW * len(drawn), parts)


def drawing(width: int, height: int, parts: Sequence[str]) -> str:
    """Put a drawing together.

    Args:
        width: Of it, in pixels.
        height: Of it.
        parts: Its elements, as SVG.

    Returns:
        SVG.
    """
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="12" fill="#888">{"".join(parts)}</svg>'
    )
