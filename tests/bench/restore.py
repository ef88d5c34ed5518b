"""Restore: the guide's `psql < backup.sql` beside restore_from_backup, both under load."""

import argparse
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prefect.testing.utilities import prefect_test_harness

from flows.database.back_up_database import back_up_database
from flows.database.restore_from_backup import restore_from_backup
from infra.sandbox.load import Load
from infra.sandbox.load_report import LoadReport
from infra.sandbox.planner import Planner
from infra.sandbox.seed import seed
from infra.sandbox.services import Sandbox
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import Approvers
from tests.bench.section import new_home, spread, write
from tests.prefect_fixtures import Runs

_WARM_UP_SECONDS = 3
_AFTERWARDS_SECONDS = 3


@dataclass(frozen=True)
class Measured:
    """One way of restoring, measured.

    Args:
        seconds: Wall time from its start until the application works on restored data.
        load: What the load saw from outside meanwhile.
    """

    seconds: float
    load: LoadReport


def under_load(sandbox: Planner) -> Load:
    """Put a system under its steady load, and let it get even."""
    load = Load(sandbox.url, sandbox.settings.accounts["load"])
    load.start()
    time.sleep(_WARM_UP_SECONDS)
    return load


def psql_environment(sandbox: Sandbox) -> dict[str, str]:
    """Give libpq's variables of the sandbox's superuser."""
    with sandbox.connect("postgres") as session:
        parameters = session.info.get_parameters()
        return {
            **os.environ,
            "PGHOST": parameters["host"],
            "PGPORT": parameters["port"],
            "PGUSER": parameters["user"],
            "PGPASSWORD": session.info.password,
        }


def guides_way(sandbox: Sandbox, dump: Path) -> Measured:
    """Stop the application, load plain SQL into an emptied database, start it."""
    load = under_load(sandbox)
    began = time.monotonic()
    settings = sandbox.settings
    for name in sandbox.upstreams:
        sandbox.services()[name].stop()
    with sandbox.connect("postgres") as session:
        session.autocommit = True
        session.execute(f"DROP DATABASE {settings.database} WITH (FORCE)")
        session.execute(f"CREATE DATABASE {settings.database} OWNER {settings.application_user}")
    with dump.open("rb") as file:
        subprocess.run(
            [sandbox.cluster.programs / "psql", "-X", "-q", settings.database],
            stdin=file,
            env=psql_environment(sandbox),
            check=True,
            stdout=subprocess.DEVNULL,
        )
    sandbox.up()
    took = time.monotonic() - began
    time.sleep(_AFTERWARDS_SECONDS)
    return Measured(took, load.stop())


def our_way(sandbox: Sandbox, runs: Runs, ledger: Ledger) -> tuple[Measured, dict[str, float]]:
    """Restore with restore_from_backup, approved at once."""
    load = under_load(sandbox)
    began = time.monotonic()
    run, state = runs.start(restore_from_backup, target=sandbox.settings.name, max_rows_lost=10**6)
    if state is None:
        state = Approvers(ledger).approve_until_it_ends(runs, run)
    took = time.monotonic() - began
    if state.name != "Remediated":
        raise SystemExit(f"the restore ended as {state.name}: {state.message}")
    time.sleep(_AFTERWARDS_SECONDS)
    return Measured(took, load.stop()), steps(Case.read(ledger, runs.id_of(run)))


def steps(case: Case) -> dict[str, float]:
    """Give the seconds that each change took, as the ledger has them."""
    begun: dict[tuple[str, int], float] = {}
    taken: dict[str, float] = {}
    for entry in case.of_kind("begun", "done"):
        key = (entry.facts["digest"], entry.facts["index"])
        if entry.kind == "begun":
            begun[key] = entry.when.timestamp()
        elif key in begun:
            taken[entry.facts["title"]] = entry.when.timestamp() - begun[key]
    return taken


@dataclass(frozen=True)
class Round:
    """Both ways, one after the other on the same database.

    Args:
        guide: The guide's way.
        ours: Our way.
        changes: Seconds that each of our changes took, by title.
    """

    guide: Measured
    ours: Measured
    changes: dict[str, float]

    @property
    def ratio(self) -> float:
        """Our wall time as a part of the guide's."""
        return self.ours.seconds / self.guide.seconds


def measure(home: Path, rows: int, rounds: int) -> list[Round]:
    """Measure both ways on one sandbox; who comes first changes with each round.

    Args:
        home: An empty folder.
        rows: Rows to seed.
        rounds: How often.

    Returns:
        The rounds.
    """
    measured = []
    os.environ["REMEDY_HOME"] = str(home / "remedy")
    sandbox = Sandbox(home / "sandbox")
    try:
        with prefect_test_harness(server_startup_timeout=150):
            sandbox.up()
            seed(sandbox, rows=rows)
            targets.give(SandboxTarget(**sandbox.target_settings()))
            runs, ledger = Runs(), Ledger()
            _, state = runs.start(back_up_database, target=sandbox.settings.name)
            if state is None or state.name != "Remediated":
                raise SystemExit(f"the backup ended as {state}")
            dump = home / "backup.sql"
            subprocess.run(
                [sandbox.cluster.programs / "pg_dump", "-f", dump, sandbox.settings.database],
                env=psql_environment(sandbox),
                check=True,
            )
            for number in range(rounds):
                if number % 2:
                    guides = guides_way(sandbox, dump)
                ours, changes = our_way(sandbox, runs, ledger)
                if not number % 2:
                    guides = guides_way(sandbox, dump)
                measured.append(Round(guides, ours, changes))
    finally:
        sandbox.down()
    return measured


def table(rounds: list[Round], rows: int) -> list[str]:
    """Write both ways of restoring side by side, each figure as median (least-most)."""
    figures: list[tuple[str, str, Callable[[Measured], float]]] = [
        ("wall time", ".1f s", lambda one: one.seconds),
        ("outage", ".1f s", lambda one: one.load.outage_seconds),
        ("failed requests", ".0f", lambda one: one.load.failed),
        ("slower than 1 s", ".0f", lambda one: one.load.slow),
        ("longest stall", ".2f s", lambda one: one.load.longest_stall_seconds),
        ("longest write stall", ".2f s", lambda one: one.load.longest_write_stall_seconds),
        ("acknowledged writes missing afterwards", ".0f", lambda one: len(one.load.missing)),
    ]
    changes: dict[str, list[float]] = {}
    for one in rounds:
        for title, seconds in one.changes.items():
            changes.setdefault(_without_ids(title), []).append(seconds)
    return [
        f"## Restore of {rows:,} rows under load",
        "",
        "Guide: stop the application, `psql < backup.sql` into an emptied database, start.",
        "Ours: restore_from_backup, approved at once; its wall time holds looking, planning,",
        "loading, the proof of the copy, the comparison of both databases and the cut-over.",
        f"{len(rounds)} rounds on one database, each way first in turn; median (least-most).",
        "",
        "| | guide | ours |",
        "| --- | --- | --- |",
        *(
            f"| {what} | {spread([of(one.guide) for one in rounds], form)} "
            f"| {spread([of(one.ours) for one in rounds], form)} |"
            for what, form, of in figures
        ),
        "",
        f"Ratio of wall times (ours / guide): {spread([one.ratio for one in rounds], '.2f')}.",
        "",
        "| change | time |",
        "| --- | --- |",
        *(f"| {title} | {spread(seconds, '.1f s')} |" for title, seconds in changes.items()),
    ]


def _without_ids(title: str) -> str:
    """Write a change's title without what differs from run to run."""
    return re.sub(r"_(restore|before_restore|kept)_\w+", r"_\1_*", title)


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the sandbox")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way")
    given = parser.parse_args()
    with new_home() as home:
        write(table(measure(home, given.rows, given.rounds), given.rows))


if __name__ == "__main__":
    main()
