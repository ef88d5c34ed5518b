"""Drawings inside of what people read."""

import base64


def picture(what: str, svg: str) -> str:
    """Write a drawing as markdown that needs no other file; no script in it is run.

    Args:
        what: What it shows.
        svg: The drawing.
    """
    return f"![{what}](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"
