"""How commands print: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from cyclopts import Parameter
from rich import box
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

AsJson = Annotated[bool, Parameter(name="--json", negative="", help="Print JSON for programs.")]

OUTCOME_STYLES = {
    "remediated": "green",
    "unchanged": "green",
    "planned": "cyan",
    "advised": "cyan",
    "undone": "yellow",
    "refused": "yellow",
    "expired": "yellow",
    "stuck": "bold red",
    "waits": "bold magenta",
    "at work": "blue",
}


class Terminal(Console):
    """A console on which names and messages of a target steer nothing."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render, with what a terminal would obey or reorder made visible."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)


def visible(text: str) -> str:
    """Write characters that are not seen, or change how others are, as escapes."""
    if text.isprintable():
        return text
    return "".join(
        one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode()
        for one in text
    )


def console() -> Console:
    """Give the console of standard output, as it is now."""
    return Terminal(highlight=False)


def tell(line: str) -> None:
    """Print a line of progress to standard error, out of the way of data."""
    Terminal(stderr=True, highlight=False).print(Text(line, style="dim"))


def emit(data: Any, shown: RenderableType, *, as_json: bool) -> None:  # noqa: ANN401 - JSON values
    """Print data for a program, or what is shown of it for a person.

    Args:
        data: JSON values.
        shown: What a person sees.
        as_json: Which of both.
    """
    if as_json:
        sys.stdout.write(json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")
        sys.stdout.flush()
    else:
        console().print(shown)


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], title: str = "") -> Table:
    """Make a table; cells are text and no markup, as they may come from a target."""
    made = Table(
        *columns, box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False
    )
    for column in made.columns:
        column.overflow = "fold"  # an address that is cut cannot be copied
    for row in rows:
        made.add_row(
            *(cell if isinstance(cell, Text) else Text(visible(str(cell))) for cell in row)
        )
    return made


def outcome(word: str) -> Text:
    """Give an outcome or a standing in its colour."""
    return Text(word, style=OUTCOME_STYLES.get(word, ""))
