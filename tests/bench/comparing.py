"""Two ways to do something, measured under load in turn, and what is written of them."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from infra.sandbox.load_report import LoadReport
from infra.sandbox.planner import Planner
from tests.bench.restore import under_load
from tests.bench.section import MISSED, spread

_AFTERWARDS_SECONDS = 3
_MOST_STALL_SECONDS = 1.0
HEADING = (
    "Outage: tenths of a second in which a request began that failed or took over a second.",
    "Stall: time in which no write was answered with success; two in five requests write.",
    "",
    "| | wall time | ratio | outage | failed requests | slowest request | longest write stall |",
    "| --- | --- | --- | --- | --- | --- | --- |",
)


@dataclass(frozen=True)
class Measured:
    """One way, measured.

    Args:
        seconds: Wall time; as long as was waited where it did not end.
        ended: Whether it ended by itself.
        load: What the load saw from outside meanwhile.
    """

    seconds: float
    ended: bool
    load: LoadReport


@dataclass(frozen=True)
class Compared:
    """Both ways to do something, each measured as often.

    Args:
        title: What is done.
        guide: The guide's way, each round.
        ours: Our way, each round.
    """

    title: str
    guide: Sequence[Measured]
    ours: Sequence[Measured]

    @property
    def missed(self) -> bool:
        """Whether users noticed ours: a request failed, or writes stalled."""
        return any(
            one.load.failed or one.load.longest_write_stall_seconds > _MOST_STALL_SECONDS
            for one in self.ours
        )


def measured_under_load(
    system: Planner, step: Callable[[], bool], meanwhile: AbstractContextManager[None] | None = None
) -> Measured:
    """Measure one way under load, and some seconds beyond its end.

    Args:
        system: The system under load.
        step: What is measured; says whether it ended by itself.
        meanwhile: What others do in the meantime.
    """
    load = under_load(system)
    with meanwhile or nullcontext():
        began = time.monotonic()
        ended = step()
        took = time.monotonic() - began
    time.sleep(_AFTERWARDS_SECONDS)
    return Measured(took, ended, load.stop())


def compare(
    title: str, guide: Callable[[], Measured], ours: Callable[[], Measured], rounds: int
) -> Compared:
    """Measure both ways as often; who comes first changes with each round.

    Args:
        title: What is done.
        guide: Measures the guide's way once.
        ours: Measures ours once.
        rounds: How often.
    """
    guides, measured = [], []
    for number in range(rounds):
        if number % 2:
            guides.append(guide())
        measured.append(ours())
        if not number % 2:
            guides.append(guide())
    return Compared(title, guides, measured)


def figures(found: Sequence[Compared]) -> list[str]:
    """Write what was measured as a table of markdown, with what the words mean, and ratios."""
    lines = list(HEADING)
    for one in found:
        lines += [
            figure(f"{one.title}, guide", one.guide),
            figure(f"{one.title}, ours", one.ours, one.guide),
        ]
    rounds = max(len(one.ours) for one in found)
    return [
        f"{rounds} rounds on one system, each way first in turn; median (least-most).",
        "Ratio: our wall time as a part of the guide's, by round.",
        *lines,
    ]


def figure(title: str, rounds: Sequence[Measured], beside: Sequence[Measured] = ()) -> str:
    """Write what was measured of one way as a row of that table, beside another way."""
    ratios = [one.seconds / other.seconds for one, other in zip(rounds, beside, strict=False)]
    loads = [one.load for one in rounds]
    cells = (
        spread([one.seconds for one in rounds], ".1f s")
        if all(one.ended for one in rounds)
        else "did not end",
        spread(ratios, ".1f") if ratios else "",
        spread([one.outage_seconds for one in loads], ".1f s"),
        spread([one.failed for one in loads], ".0f"),
        spread([one.slowest_seconds for one in loads], ".2f s"),
        spread([one.longest_write_stall_seconds for one in loads], ".2f s"),
    )
    return f"| {title} | {' | '.join(cells)} |"


def judge(found: Sequence[Compared]) -> None:
    """End as one who missed the goal where users noticed ours."""
    if missed := [one.title for one in found if one.missed]:
        sys.stderr.write(f"users noticed ours: {', '.join(missed)}\n")
        sys.exit(MISSED)


def arguments(description: str | None, rows: int) -> argparse.Namespace:
    """Read the command line of a section: `rows`, `rounds`."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rows", type=int, default=rows, help="rows of the system")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way")
    return parser.parse_args()
