"""A compose project: the guide's own commands beside ours, under load."""

import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from prefect.testing.utilities import prefect_test_harness

from flows.database.back_up_database import back_up_database
from flows.database.restore_from_backup import restore_from_backup
from flows.database.rotate_database_password import rotate_database_password
from infra.sandbox import dotenv_file
from infra.sandbox.seed import seed
from infra.testbed.compose.system import ComposeSystem
from infra.testbed.docker.compose_program import provide_v2
from infra.testbed.docker.engine import engine
from infra.testbed.docker.images import provide_images
from tasks.application.rolling import roll
from tasks.guardrails.plan import Work
from tasks.guardrails.remediation import Remediation
from tasks.platforms import targets
from tasks.platforms.applications import Replica
from tasks.platforms.compose.target import ComposeTarget
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
from tests.bench.section import new_home, write
from tests.compose_fixtures import CACHE, project_on
from tests.prefect_fixtures import Runs


@dataclass(frozen=True)
class Task:
    """What is done in both ways.

    Args:
        title: What it is.
        by_hand: The guide's commands, in a line of markdown.
        guide: Does as the guide says.
        by_us: What does it here, in a line of markdown.
        ours: Does it.
    """

    title: str
    by_hand: str
    guide: Callable[[ComposeSystem], None]
    by_us: str
    ours: Callable[[ComposeSystem], None]


def restart(system: ComposeSystem) -> None:
    """Do as the guide does."""
    system.project.run("restart", "app")


def roll_all(system: ComposeSystem) -> None:
    """Restart each container once, as remediations do that change its settings."""
    restarted: set[str] = set()

    def is_restarted(replica: Replica) -> bool:
        known = replica.name in restarted
        restarted.add(replica.name)
        return known

    roll(Work(system.settings.name, "bench"), is_restarted)


def new_password(system: ComposeSystem) -> None:
    """Do as the guide does, but for its `restart`, which starts with the old settings again."""
    settings, password = dotenv_file.read(system.dotenv), secrets.token_urlsafe(18)
    user, old = settings["POSTGRES_USER"], settings["POSTGRES_PASSWORD"]
    with system.connect() as session:
        session.execute(f"ALTER ROLE {user} PASSWORD '{password}'".encode())
    system.dotenv.write_text(system.dotenv.read_text().replace(old, password))
    system.up()


def load_dump(system: ComposeSystem) -> None:
    """Do as the guide does, into an emptied database: into a full one psql restores nothing."""
    settings = system.settings
    system.project.run("stop", "app")
    with system.connect("postgres") as session:
        session.execute(f"DROP DATABASE {settings.database} WITH (FORCE)".encode())
        session.execute(
            f"CREATE DATABASE {settings.database} OWNER {settings.application_user}".encode()
        )
    _in_database(system, "psql", "-X", "-q", "-f", _DUMP)
    system.up()


_DUMP = "/tmp/backup.sql"  # noqa: S108 - in the database's container, which is ours


def _in_database(system: ComposeSystem, program: str, *arguments: str) -> None:
    settings = system.settings
    command = [program, "-U", settings.superuser, *arguments, settings.database]
    status, said = system.project.container("db").exec_run(command)
    if status:
        raise SystemExit(f"{program} ended with {status}: {said!r}")


def remediation(flow: Remediation, **parameters: object) -> Callable[[ComposeSystem], None]:
    """Give what carries a remediation out, approved at once."""

    def carried_out(system: ComposeSystem) -> None:
        _, state = carry_out(Runs(), system, flow, **parameters)
        if state.name != "Remediated":
            raise SystemExit(f"{flow.name} ended as {state}")

    return carried_out


TASKS = (
    Task(
        "restart the application",
        "`docker compose restart app`",
        restart,
        "a second container behind nginx meanwhile, each proved before it gets requests",
        roll_all,
    ),
    Task(
        "new database password",
        "`ALTER ROLE … PASSWORD`, `.env` edited, `docker compose up -d`",
        new_password,
        "`rotate-database-password`",
        remediation(rotate_database_password),
    ),
    Task(
        "restore from backup",
        "`docker compose stop app`, `psql < backup.sql` into an emptied database, `up -d`",
        load_dump,
        "`restore-from-backup`",
        remediation(restore_from_backup, max_rows_lost=10**6),
    ),
)


@contextmanager
def project_up(home: Path, rows: int) -> Iterator[ComposeSystem]:
    """Give a compose project with rows, known as a target.

    Args:
        home: An empty folder.
        rows: Rows to seed.
    """
    os.environ["REMEDY_HOME"] = str(home / "remedy")
    with engine(CACHE) as found:
        provide_images(found, CACHE)
        with project_on(found, provide_v2(found, home / "docker")) as system:
            system.up()
            seed(system, rows=rows)
            targets.give(ComposeTarget(**system.target_settings()))
            yield system


def measure(home: Path, rows: int, rounds: int) -> list[Compared]:
    """Measure the guide's way and ours for each task, on one compose project.

    Args:
        home: An empty folder.
        rows: Rows to seed.
        rounds: How often.

    Returns:
        Both ways of each task.
    """
    with prefect_test_harness(server_startup_timeout=150), project_up(home, rows) as system:
        remediation(back_up_database)(system)
        _in_database(system, "pg_dump", "-f", _DUMP)

        def way(step: Callable[[ComposeSystem], None]) -> Callable[[], Measured]:
            return partial(measured_under_load, system, partial(_done, step, system))

        return [compare(one.title, way(one.guide), way(one.ours), rounds) for one in TASKS]


def _done(way: Callable[[ComposeSystem], None], system: ComposeSystem) -> bool:
    way(system)
    return True


def table(found: Sequence[Compared], rows: int) -> list[str]:
    """Write both ways side by side.

    Args:
        found: What `measure` gave.
        rows: Rows of the project.

    Returns:
        Lines of markdown.
    """
    return [
        f"## A compose project with {rows:,} rows under load",
        "",
        "On a Docker engine, users come through nginx. Ours looks, plans, proves and reports as",
        "well; the approvals are given at once.",
        "",
        "| | guide | ours |",
        "| --- | --- | --- |",
        *(f"| {task.title} | {task.by_hand} | {task.by_us} |" for task in TASKS),
        "",
        *figures(found),
    ]


def main() -> None:
    """Measure, and write the section."""
    given = arguments(__doc__, 300_000)
    with new_home() as home:
        found = measure(home, given.rows, given.rounds)
    write(table(found, given.rows))
    judge(found)


if __name__ == "__main__":
    main()
