"""The engine's own share of a change: ledger, lease, two looks and the task run."""

import argparse
import os
from itertools import pairwise
from pathlib import Path

from prefect.testing.utilities import prefect_test_harness

from tasks.guardrails import systems
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tests import toy
from tests.bench.section import new_home, quantiles, write
from tests.prefect_fixtures import Runs


def measure(home: Path, changes: int = 50) -> list[float]:
    """Measure what the engine adds to a change that takes no time itself.

    Args:
        home: An empty folder.
        changes: How many changes the plan has.

    Returns:
        Seconds from the end of one change to the end of the next.
    """
    os.environ["REMEDY_HOME"] = str(home / "remedy")
    folder = home / "toy"
    folder.mkdir()
    systems.use_loader(toy.SYSTEMS.__getitem__)
    toy.SYSTEMS["toy"] = toy.FileSystem("toy", folder)
    with prefect_test_harness(server_startup_timeout=150):
        runs, ledger = Runs(), Ledger()
        names = [f"file-{number}" for number in range(changes)]
        run, state = runs.start(toy.toy_one_stage, target="toy", names=names)
        if state is None or state.name != "Remediated":
            raise SystemExit(f"the run ended as {state}")
        done = Case.read(ledger, runs.id_of(run)).of_kind("done")
    return [(b.when - a.when).total_seconds() for a, b in pairwise(done)]


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--changes", type=int, default=50, help="changes of the plan")
    with new_home() as home:
        seconds = measure(home, parser.parse_args().changes)
    write(
        [
            "## The engine's share of a change",
            "",
            "From the end of one change to the end of the next where the change itself takes no",
            "time: two looks, `begun` and `done` in the ledger (each durable), the lease asked, a",
            f"task run. {len(seconds)} changes, p50 / p95: {quantiles(seconds)}.",
        ]
    )


if __name__ == "__main__":
    main()
