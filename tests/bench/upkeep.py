"""Upkeep: the guide's own commands beside ours, under load."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from prefect.testing.utilities import prefect_test_harness

from flows.database.back_up_database import back_up_database
from infra.sandbox.seed import seed
from infra.sandbox.services import Sandbox
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import carry_out
from tests.bench.comparing import (
    Compared,
    Measured,
    arguments,
    compare,
    figures,
    judge,
    measured_under_load,
)
from tests.bench.guide import GIVEN_UP_SECONDS, TASKS, Task
from tests.bench.section import new_home, write
from tests.prefect_fixtures import Runs


def measure(home: Path, rows: int, rounds: int) -> list[Compared]:
    """Measure the guide's way and ours for each task, on one sandbox.

    Args:
        home: An empty folder.
        rows: Rows to seed.
        rounds: How often.

    Returns:
        Both ways of each task.
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

            def way(task: Task, step: Callable[[], bool]) -> Callable[[], Measured]:
                def under_load() -> Measured:
                    task.broken(sandbox)
                    return measured_under_load(sandbox, step, task.meanwhile(sandbox))

                return under_load

            return [
                compare(
                    task.title,
                    way(task, partial(task.guide, sandbox)),
                    way(task, partial(_ours, runs, sandbox, task)),
                    rounds,
                )
                for task in TASKS
            ]
    finally:
        sandbox.down()


def _ours(runs: Runs, sandbox: Sandbox, task: Task) -> bool:
    _, state = carry_out(runs, sandbox, task.ours, **task.parameters)
    if state.name != "Remediated":
        raise SystemExit(f"{task.ours.name} ended as {state}")
    return True


def table(found: Sequence[Compared], rows: int) -> list[str]:
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
        "plans, proves and reports as well; the approvals are given at once. `VACUUM FULL` gives",
        "the room back to the disk, which `rewrite-tables` does where that is needed.",
        "",
        "| | guide | ours |",
        "| --- | --- | --- |",
        *(f"| {task.title} | {task.by_hand} | `{task.ours.name}`{task.more} |" for task in TASKS),
        "",
        *figures(found),
    ]


def main() -> None:
    """Measure, and write the section."""
    given = arguments(__doc__, 1_000_000)
    with new_home() as home:
        found = measure(home, given.rows, given.rounds)
    write(table(found, given.rows))
    judge(found)


if __name__ == "__main__":
    main()
