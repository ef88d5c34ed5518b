"""The page of the command line, from the application that `remedy` runs."""

import importlib
import importlib.util
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import cyclopts

CLI = "deployments.cli"
_WIDTH = "100"


def find_app() -> cyclopts.App | None:
    """Find the application of the `remedy` command; None where it is not written yet."""
    if importlib.util.find_spec(CLI) is None:
        return None
    found = getattr(importlib.import_module(CLI), "app", None)
    return found if isinstance(found, cyclopts.App) else None


def page(app: cyclopts.App) -> str:
    """Write the page of all commands, their arguments and options.

    Args:
        app: The application.

    Returns:
        Markdown.
    """
    with _plain_surroundings():
        text = app.generate_docs(output_format="markdown", recursive=True, max_heading_level=4)
    # Blanks at the ends of lines are the generator's; the headings' anchors stay.
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).strip() + "\n"


@contextmanager
def _plain_surroundings() -> Iterator[None]:
    """Make the page the same however it is made: no colours, one width, started as `remedy`."""
    before = {name: os.environ.get(name) for name in ("COLUMNS", "NO_COLOR")}
    os.environ.update(COLUMNS=_WIDTH, NO_COLOR="1")
    words, sys.argv = sys.argv, ["remedy"]  # usage lines name the program that runs
    try:
        yield
    finally:
        sys.argv = words
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
