"""Upkeep: the guide's REINDEX DATABASE, VACUUM FULL and new password beside ours, under load."""

import argparse
import os
import secrets
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prefect.testing.utilities import prefect_test_harness

from flows.database.rebuild_indexes import rebuild_indexes
from flows.database.rotate_database_password import rotate_database_password
from flows.database.vacuum_database import vacuum_database
from infra.sandbox import dotenv_file
from infra.sandbox.load_report import LoadReport
from infra.sandbox.seed import seed
from infra.sandbox.services import Sandbox
from tasks.guardrails.remediation import Remediation
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import carry_out
from tests.bench.restore import psql_environment, under_load
from tests.bench.section import new_home, write
from tests.prefect_fixtures import Runs

_AFTERWARDS_SECONDS = 3
_GIVEN_UP_SECONDS = 60


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


# What is done: the guide's way, ours with its parameters, and what is broken before each.
Task = tuple[
    str,
    Callable[[Sandbox], bool],
    Remediation,
    dict[str, object],
    Callable[[Sandbox], None],
]


def nothing(sandbox: Sandbox) -> None:
    """Break nothing: every index is built anew."""
    assert sandbox


def dead_rows(sandbox: Sandbox) -> None:
    """Leave as many dead rows as there are rows in the largest table."""
    with sandbox.connect() as session:
        session.execute("ALTER TABLE actuals SET (autovacuum_enabled = false)")
        session.execute("UPDATE actuals SET updated_at = updated_at")


def reindex(sandbox: Sandbox) -> bool:
    """Do as the guide does."""
    return _statement(sandbox, f"REINDEX DATABASE {sandbox.settings.database}")


def vacuum_full(sandbox: Sandbox) -> bool:
    """Do as the guide does."""
    return _statement(sandbox, "VACUUM FULL")


def new_password(sandbox: Sandbox) -> bool:
    """Do as the guide does: another password, `.env` edited, the application restarted."""
    settings, password = dotenv_file.read(sandbox.dotenv), secrets.token_urlsafe(18)
    user, old = settings["POSTGRES_USER"], settings["POSTGRES_PASSWORD"]
    done = _statement(sandbox, f"ALTER ROLE {user} PASSWORD '{password}'")
    sandbox.dotenv.write_text(sandbox.dotenv.read_text().replace(old, password))
    for name in sandbox.upstreams:
        sandbox.services()[name].stop()
    sandbox.up()
    return done


TASKS: tuple[Task, ...] = (
    ("rebuild every index", reindex, rebuild_indexes, {"which": "all"}, nothing),
    ("remove dead rows", vacuum_full, vacuum_database, {}, dead_rows),
    ("new database password", new_password, rotate_database_password, {}, nothing),
)


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
    found = []
    try:
        with prefect_test_harness(server_startup_timeout=150):
            sandbox.up()
            seed(sandbox, rows=rows)
            targets.give(SandboxTarget(**sandbox.target_settings()))
            runs = Runs()
            for title, guide, flow, parameters, broken in TASKS:
                broken(sandbox)
                ours = _under_load(sandbox, partial(_ours, runs, sandbox, flow, parameters))
                broken(sandbox)
                guides = _under_load(sandbox, partial(guide, sandbox))
                found.append((title, guides, ours))
    finally:
        sandbox.down()
    return found


def _under_load(sandbox: Sandbox, step: Callable[[], bool]) -> Measured:
    load = under_load(sandbox)
    began = time.monotonic()
    ended = step()
    took = time.monotonic() - began
    time.sleep(_AFTERWARDS_SECONDS)
    return Measured(took, ended, load.stop())


def _ours(runs: Runs, sandbox: Sandbox, flow: Remediation, parameters: dict[str, object]) -> bool:
    _, state = carry_out(runs, sandbox, flow, **parameters)
    if state.name != "Remediated":
        raise SystemExit(f"{flow.name} ended as {state}")
    return True


def _statement(sandbox: Sandbox, statement: str) -> bool:
    """Run a statement of the guide; cancelled by the server where it does not end."""
    environment = psql_environment(sandbox)
    environment["PGOPTIONS"] = f"-c statement_timeout={_GIVEN_UP_SECONDS}s"
    program = [str(sandbox.cluster.programs / "psql"), "-c", statement, sandbox.settings.database]
    done = subprocess.run(program, env=environment, check=False, capture_output=True)
    return done.returncode == 0


def table(found: list[tuple[str, Measured, Measured]], rows: int) -> list[str]:
    """Write both ways side by side.

    Args:
        found: What `measure` gave.
        rows: Rows of the sandbox.

    Returns:
        Lines of markdown.
    """
    lines = [
        f"## Upkeep of {rows:,} rows under load",
        "",
        f"Guide: REINDEX DATABASE, VACUUM FULL, given up after {_GIVEN_UP_SECONDS} s; ALTER ROLE,",
        "`.env` edited, both processes restarted. Ours: rebuild_indexes (every index, verified",
        "before and afterwards), vacuum_database, rotate_database_password.",
        "",
        "| | wall time | outage | failed requests | longest stall |",
        "| --- | --- | --- | --- | --- |",
    ]
    for title, guides, ours in found:
        for whose, one in (("guide", guides), ("ours", ours)):
            time_taken = f"{one.seconds:.1f} s" if one.ended else "never ended"
            lines.append(
                f"| {title}, {whose} | {time_taken} | {one.load.outage_seconds:.1f} s "
                f"| {one.load.failed} | {one.load.longest_stall_seconds:.2f} s |"
            )
    return lines


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=300_000, help="rows of the sandbox")
    rows = parser.parse_args().rows
    with new_home() as home:
        write(table(measure(home, rows), rows))


if __name__ == "__main__":
    main()
