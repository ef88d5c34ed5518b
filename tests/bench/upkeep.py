"""Upkeep: the guide's own commands beside ours, under load."""

import argparse
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prefect.testing.utilities import prefect_test_harness

from flows.database.back_up_database import back_up_database
from infra.sandbox.load_report import LoadReport
from infra.sandbox.planner import Planner
from infra.sandbox.seed import seed
from infra.sandbox.services import Sandbox
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import carry_out
from tests.bench.guide import GIVEN_UP_SECONDS, TASKS, Task
from tests.bench.restore import under_load
from tests.bench.section import new_home, write
from tests.prefect_fixtures import Runs

_AFTERWARDS_SECONDS = 3
HEADING = (
    "Outage: tenths of a second in which a request began that failed or took over a second.",
    "Stall: time in which no request at all was answered.",
    "",
    "| | wall time | outage | failed requests | slowest request | longest stall |",
    "| --- | --- | --- | --- | --- | --- |",
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


def measure(home: Path, rows: int) -> list[tuple[str, Measured, Measured]]:
    """Measure the guide's way and ours for each task, on one sandbox.

    Args:
        home: An empty folder.
        rows: Rows to seed.

    Returns:
        What is done, the guide's way, ours.
    """
    os.environ["REMEDY_HOME"] = str(home / "remedy")
    sandbox = Sandbox(home / "sandbox")
    try:
        with prefect_test_harness(server_startup_timeout=150):
            sandbox.up()
            seed(sandbox, rows=rows)
            targets.give(SandboxTarget(**sandbox.target_settings()))
            runs = Runs()
            carry_out(runs, sandbox, back_up_database)  # to rehearse a migration on
            return [(task.title, *_both(runs, sandbox, task)) for task in TASKS]
    finally:
        sandbox.down()


def _both(runs: Runs, sandbox: Sandbox, task: Task) -> tuple[Measured, Measured]:
    task.broken(sandbox)
    ours = partial(_ours, runs, sandbox, task)
    measured = measured_under_load(sandbox, ours, task.meanwhile(sandbox))
    task.broken(sandbox)
    guides = partial(task.guide, sandbox)
    return measured_under_load(sandbox, guides, task.meanwhile(sandbox)), measured


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


def _ours(runs: Runs, sandbox: Sandbox, task: Task) -> bool:
    _, state = carry_out(runs, sandbox, task.ours, **task.parameters)
    if state.name != "Remediated":
        raise SystemExit(f"{task.ours.name} ended as {state}")
    return True


def table(found: list[tuple[str, Measured, Measured]], rows: int) -> list[str]:
    """Write both ways side by side.

    Args:
        found: What `measure` gave.
        rows: Rows of the sandbox.

    Returns:
        Lines of markdown.
    """
    return [
        f"## Upkeep of {rows:,} rows under load",
        "",
        f"Guide: its own commands, each statement given up after {GIVEN_UP_SECONDS} s. Ours looks,",
        "plans, proves and reports as well; the approvals are given at once.",
        "",
        "| | guide | ours |",
        "| --- | --- | --- |",
        *(f"| {task.title} | {task.by_hand} | `{task.ours.name}`{task.more} |" for task in TASKS),
        "",
        *figures(found),
    ]


def figures(found: list[tuple[str, Measured, Measured]]) -> list[str]:
    """Write what was measured of each way as a table of markdown, with what the words mean."""
    lines = list(HEADING)
    for title, guides, ours in found:
        lines += [figure(f"{title}, guide", guides), figure(f"{title}, ours", ours)]
    return lines


def figure(title: str, one: Measured) -> str:
    """Write what was measured of one way as a row of that table."""
    time_taken = f"{one.seconds:.1f} s" if one.ended else "never ended"
    return (
        f"| {title} | {time_taken} | {one.load.outage_seconds:.1f} s "
        f"| {one.load.failed} | {one.load.slowest_seconds:.2f} s "
        f"| {one.load.longest_stall_seconds:.2f} s |"
    )


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the sandbox")
    rows = parser.parse_args().rows
    with new_home() as home:
        write(table(measure(home, rows), rows))


if __name__ == "__main__":
    main()
