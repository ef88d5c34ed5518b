"""A real PostgreSQL server for tests, a database like the application's, and a tiny driver."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from flows.database.restore_from_backup import Attached, Writes, cut_over, restore_from_backup
from infra.sandbox.settings import choose_port
from tasks.database.restore.cutover import SwapDatabases
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Answer, Plan, Stage, Standing, Work
from tasks.guardrails.remediation import planning_for
from tasks.platforms import targets
from tasks.platforms.cache_servers import CacheVariables
from tasks.platforms.local_backups import LocalBackups
from tasks.platforms.migration_settings import MigrationSettings
from tasks.platforms.postgresql import PostgreSQL
from tasks.platforms.postgresql_programs import find_programs
from tasks.platforms.protocols import Connection, ProbeAccount

NOBODY = 65534
SCHEMA = """
    CREATE TYPE roletype AS ENUM ('ADMIN', 'VIEWER');
    CREATE TABLE alembic_version (version_num varchar(32) PRIMARY KEY);
    INSERT INTO alembic_version VALUES ('c47d91ab02e5');
    CREATE TABLE users (id uuid PRIMARY KEY, username varchar(100) UNIQUE NOT NULL,
      created_at timestamp NOT NULL, updated_at timestamp NOT NULL,
      version integer NOT NULL DEFAULT 1);
    CREATE TABLE user_roles (id uuid PRIMARY KEY, user_id uuid NOT NULL REFERENCES users,
      role_type roletype NOT NULL, created_at timestamp NOT NULL);
    CREATE TABLE programs (id uuid PRIMARY KEY, name varchar(255) NOT NULL, notes text,
      created_at timestamp NOT NULL, updated_at timestamp NOT NULL);
    CREATE TABLE projects (id uuid PRIMARY KEY, program_id uuid NOT NULL REFERENCES programs,
      name varchar(255) NOT NULL, budget numeric(12, 2), payload jsonb,
      created_at timestamp NOT NULL);
    CREATE INDEX ix_projects_program_id ON projects (program_id);
    CREATE INDEX ix_projects_name ON projects (name);
    CREATE SEQUENCE ticket_numbers;
    CREATE TABLE tickets (id bigint PRIMARY KEY DEFAULT nextval('ticket_numbers'),
      title text NOT NULL);
    CREATE TABLE notes_without_key (line text);
    CREATE VIEW busy_programs AS SELECT program_id, count(*) AS n FROM projects GROUP BY 1;
    CREATE FUNCTION program_count() RETURNS bigint LANGUAGE sql AS 'SELECT count(*) FROM programs';
"""
ROWS = """
    INSERT INTO users SELECT md5('u' || i)::uuid, 'user' || i, now(), now()
      FROM generate_series(1, 200) i;
    INSERT INTO user_roles SELECT md5('r' || i)::uuid, md5('u' || i)::uuid, 'VIEWER', now()
      FROM generate_series(1, 200) i;
    INSERT INTO programs SELECT md5('p' || i)::uuid, 'Program ' || i, repeat('x', i %% 50), now(),
      now() FROM generate_series(1, 500) i;
    INSERT INTO projects SELECT md5('j' || i)::uuid, md5('p' || (1 + i %% 500))::uuid,
      'Project ' || i, i * 1.5, jsonb_build_object('i', i), now()
      FROM generate_series(1, {projects}) i;
    INSERT INTO tickets (title) SELECT 'Ticket ' || i FROM generate_series(1, 100) i;
    INSERT INTO notes_without_key SELECT 'line ' || i FROM generate_series(1, 50) i;
    SELECT lo_from_bytea(0, 'a large object');
"""


@dataclass
class Cluster:
    """A PostgreSQL server on loopback, with a superuser that needs no password."""

    folder: Path
    programs: Path
    port: int

    @property
    def data(self) -> Path:
        """Its data directory."""
        return self.folder / "data"

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers."""
        self._pg_ctl("-w", "-l", str(self.folder / "log"), "-o", " ".join(options), "start")

    def stop(self) -> None:
        """Stop it at once, with everything written to disk."""
        self._pg_ctl("-w", "-m", "fast", "stop")

    def _pg_ctl(self, *arguments: str) -> None:
        as_user = {"user": NOBODY, "group": NOBODY} if os.geteuid() == 0 else {}
        subprocess.run(
            [self.programs / "pg_ctl", "-D", self.data, "-t", "180", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            **as_user,  # type: ignore[call-overload] # keywords of Popen
        )

    def connect(self, database: str = "postgres", user: str = "postgres") -> Connection:
        """Connect, as superuser by default."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.port,
            user=user,
            dbname=database,
            autocommit=True,
            row_factory=dict_row,
        )

    def one(self, query: str, database: str = "postgres", *parameters: object) -> Any:  # noqa: ANN401 - any value
        """Give the one value that a query gives."""
        with self.connect(database) as session:
            row = session.execute(query.encode(), parameters or None).fetchone()
        return next(iter(row.values())) if row else None

    def run(self, statements: str, database: str = "postgres") -> None:
        """Run statements as superuser."""
        with self.connect(database) as session:
            session.execute(statements.encode())

    def dump(self, database: str, *options: str) -> str:
        """Dump a database's schema, without what differs between two dumps."""
        done = subprocess.run(
            [
                self.programs / "pg_dump",
                *("-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-s"),
                *options,
                database,
            ],
            check=True,
            capture_output=True,
            text=True,
        )
        return "\n".join(
            line
            for line in done.stdout.splitlines()
            if not line.startswith(("\\restrict", "\\unre"))
        )

    def program(self, name: str, *arguments: str | Path, stdin: int | None = None) -> str:
        """Run a client program as superuser."""
        done = subprocess.run(
            [
                self.programs / name,
                "-h",
                "127.0.0.1",
                "-p",
                str(self.port),
                "-U",
                "postgres",
                *list(arguments),
            ],
            check=True,
            capture_output=True,
            text=True,
            stdin=stdin,
        )
        return done.stdout

    def checksums(self, database: str) -> dict[str, str]:
        """Give a checksum of all rows of each table."""
        sums = {}
        with self.connect(database) as session:
            tables = session.execute(
                "SELECT schemaname || '.' || tablename AS name FROM pg_tables "
                "WHERE schemaname NOT IN ('pg_catalog', 'information_schema') ORDER BY 1"
            ).fetchall()
            for table in tables:
                row = session.execute(
                    f"SELECT md5(coalesce(string_agg(t::text, '|' ORDER BY t::text), '')) AS sum "
                    f"FROM {table['name']} t".encode()
                ).fetchone()
                sums[table["name"]] = row["sum"] if row else ""
        return sums

    def overwrite_page(self, database: str, relation: str, page: int = 0) -> None:
        """Overwrite a page of a table or index on disk, the server being stopped for it."""
        path = self.one("SELECT pg_relation_filepath(%s::regclass)", database, relation)
        self.stop()
        with (self.data / path).open("r+b") as file:
            file.seek(page * 8192)
            file.write(os.urandom(8192))
        self.start()


@dataclass
class PlannerSystem:
    """A target around a database, for tests: no application, no cache."""

    name: str
    database: PostgreSQL
    backups: LocalBackups
    probe_account: ProbeAccount | None = None
    probe_password: str = ""
    migrations: MigrationSettings | None = field(default_factory=MigrationSettings)

    def with_gaps(self) -> Self:
        """It has no settings that could be missing."""
        return self

    @property
    def application(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there is none."""
        raise PreconditionFailed(expected="an application.", found="none.", todo="None.")

    @property
    def cache(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there is none."""
        raise PreconditionFailed(expected="a cache.", found="none.", todo="None.")

    cache_variables: CacheVariables = field(default_factory=CacheVariables)

    @property
    def cache_server(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there is none."""
        raise PreconditionFailed(expected="a cache.", found="none.", todo="None.")

    @property
    def secrets(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there are none."""
        raise PreconditionFailed(expected="secrets.", found="none.", todo="None.")

    @property
    def server(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there is none."""
        raise PreconditionFailed(expected="a server.", found="none.", todo="None.")

    @property
    def disks(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there are none."""
        raise PreconditionFailed(expected="disks.", found="none.", todo="None.")

    @property
    def engine_store(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there is none."""
        raise PreconditionFailed(expected="an engine.", found="none.", todo="None.")

    @property
    def definition(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there is none."""
        raise PreconditionFailed(expected="a definition.", found="none.", todo="None.")

    @property
    def images(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there are none."""
        raise PreconditionFailed(expected="images.", found="none.", todo="None.")

    @property
    def memory(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there is none."""
        raise PreconditionFailed(expected="limits.", found="none.", todo="None.")

    @property
    def machine(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there is none."""
        raise PreconditionFailed(expected="a machine.", found="none.", todo="None.")

    @property
    def network(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there is none."""
        raise PreconditionFailed(expected="ports.", found="none.", todo="None.")

    @property
    def processes(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there is none."""
        raise PreconditionFailed(expected="processes.", found="none.", todo="None.")

    @property
    def access_log(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there is none."""
        raise PreconditionFailed(expected="a log.", found="none.", todo="None.")

    @property
    def containers(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there are none."""
        raise PreconditionFailed(expected="containers.", found="none.", todo="None.")

    @property
    def scaling(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there is none."""
        raise PreconditionFailed(expected="containers.", found="none.", todo="None.")

    @property
    def trials(self) -> Any:  # noqa: ANN401 - never given
        """Refuse: there are none."""
        raise PreconditionFailed(expected="containers.", found="none.", todo="None.")

    def fingerprint(self) -> str:
        """Give something."""
        return self.name

    def identity(self) -> dict[str, str]:
        """Give something."""
        return {"database": self.database.name}

    def end_older(self, token: int) -> list[str]:
        """End older sessions."""
        return self.database.end_older(token)


@contextmanager
def new_cluster(programs: Path, **settings: str) -> Iterator[Cluster]:
    """Make a server in a folder of its own, up while the block runs.

    Args:
        programs: Folder of its programs.
        settings: Settings in postgresql.conf beyond those of every test server.
    """
    folder = Path(tempfile.mkdtemp(prefix="remedy-postgres-"))
    as_user: dict[str, int] = {}
    if os.geteuid() == 0:
        os.chown(folder, NOBODY, NOBODY)
        as_user = {"user": NOBODY, "group": NOBODY}
    # Nobody takes it while initdb is at work, nor while a test has stopped the server.
    cluster = Cluster(folder, programs, port := choose_port())
    subprocess.run(
        [
            *(programs / "initdb", "-D", cluster.data, "-U", "postgres", "-A", "trust", "-k", "-N"),
            *("-E", "UTF8", "--locale=C.UTF-8"),
        ],
        check=True,
        stdout=subprocess.DEVNULL,
        cwd=folder,
        **as_user,  # type: ignore[call-overload] # keywords of Popen
    )
    given = {
        "port": str(port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(folder),
        "fsync": "off",
        **settings,
    }
    with (cluster.data / "postgresql.conf").open("a") as file:
        file.writelines(f"{name} = '{value}'\n" for name, value in given.items())
    cluster.start()
    try:
        cluster.run("CREATE ROLE planner LOGIN; CREATE ROLE reporter LOGIN")
        yield cluster
    finally:
        with suppress(subprocess.CalledProcessError):
            cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_cluster() -> Iterator[Cluster]:
    """A PostgreSQL server with data checksums, up for the session."""
    with new_cluster(
        find_programs(),
        wal_level="logical",
        max_prepared_transactions="5",
        max_wal_size="4GB",
        shared_buffers="256MB",
    ) as cluster:
        cluster.run(
            "CREATE ROLE planner_admin LOGIN CREATEDB "
            "IN ROLE planner, pg_signal_backend, pg_monitor"
        )
        cluster.run("CREATE DATABASE planner_template OWNER planner TEMPLATE template0")
        fill(cluster, "planner_template", projects=20_000)
        yield cluster


def fill(cluster: Cluster, database: str, projects: int) -> None:
    """Fill an empty database with the application's schema and rows, as its owner."""
    cluster.run(
        "SET ROLE planner;"
        + SCHEMA
        + ROWS.format(projects=projects).replace("%%", "%")
        + "; GRANT SELECT ON users TO reporter",
        database,
    )


@pytest.fixture
def planner(postgres_cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with a fresh database `planner`; all others are dropped afterwards."""
    postgres_cluster.run("CREATE DATABASE planner OWNER planner TEMPLATE planner_template")
    yield postgres_cluster
    with postgres_cluster.connect() as session:
        names = session.execute(
            "SELECT datname AS name FROM pg_database WHERE datname NOT IN "
            "('postgres', 'planner_template') AND NOT datistemplate"
        ).fetchall()
        for row in names:
            session.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots "
                "WHERE database = %s",
                (row["name"],),
            )
            session.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(row["name"]))
            )


@pytest.fixture
def planner_system(planner: Cluster, tmp_path: Path) -> PlannerSystem:
    """The database as a target, with a store of backups of its own."""
    return make_system(planner, tmp_path)


def make_system(cluster: Cluster, folder: Path, user: str = "planner_admin") -> PlannerSystem:
    """Make a target around the database and make it known."""
    store = folder / "backups"
    store.mkdir(exist_ok=True)
    system = PlannerSystem(
        name="planner-test",
        database=PostgreSQL(
            target="planner-test",
            host="127.0.0.1",
            port=cluster.port,
            name="planner",
            user=user,
            password="",
            programs=cluster.programs,
            data_path=cluster.data,
        ),
        backups=LocalBackups(store),
    )
    targets.give(system)
    return system


def take(cluster: Cluster, system: PlannerSystem, name: str, *options: str) -> Path:
    """Take a backup by pg_dump into the target's store."""
    path = system.backups.folder / name
    cluster.program("pg_dump", "-f", path, *options, "planner")
    return path


def carry_out(
    stage: Stage, work: Work, keep: Callable[[str], bool] = lambda _: True
) -> list[Answer]:
    """Carry a stage out as the engine does: observe, apply, observe, then ask the checks.

    Args:
        stage: The stage.
        work: For whom.
        keep: Says of a kind of change whether it is carried out.

    Returns:
        The checks' answers.
    """
    for limit in stage.limits:
        assert not limit.exceeded(limit.measure(work)), limit.title
    for change in stage.changes:
        if not keep(change.kind):
            continue
        seen = change.observe(work)
        assert seen.standing in {Standing.BEFORE, Standing.AFTER}, (change.title, seen)
        if seen.standing is Standing.BEFORE:
            begun = replace(work, begun_at=datetime.now(UTC))
            change.apply(begun)
            seen = change.observe(begun)
        assert seen.standing is Standing.AFTER, (change.title, seen)
    return [check.ask(work) for check in stage.checks]


def undo(stage: Stage, work: Work) -> None:
    """Take a stage back as the engine does: in reverse order, each until it is `before`."""
    for change in reversed(stage.changes):
        if change.reverts == "pointless":
            continue
        begun = replace(work, begun_at=datetime.now(UTC))
        if change.observe(begun).standing is not Standing.BEFORE:
            change.revert(begun)
        assert change.observe(begun).standing is Standing.BEFORE, change.title


# One for each worker of xdist: what a remediation makes on this machine is named after it.
ID = f"k3f9q2{os.environ.get('PYTEST_XDIST_WORKER', 'gw0')}"
WORK = Work(target="planner-test", remediation=ID)


def plan_restore(remediation: str = ID, **parameters: Any) -> Plan:  # noqa: ANN401 - any parameter
    """Plan the first stage of a restore as the engine does."""
    with planning_for(remediation):
        return restore_from_backup.planner("planner-test", **parameters)


def plan_cut_over(plan: Plan, remediation: str = ID, **parameters: Any) -> Stage:  # noqa: ANN401 - any parameter
    """Plan the cut-over as the engine does, once the copy is there."""
    given = {
        "backup": "newest",
        "writes": Writes.ACCEPT,
        "max_rows_lost": 100,
        "keep_days": 7,
        "attached": Attached.BLOCK,
    }
    with planning_for(remediation):
        return cut_over((plan,), "planner-test", **(given | parameters))


def swap_only(stage: Stage) -> Stage:
    """Leave out of a cut-over what needs a cache; there is none here."""
    changes = tuple(change for change in stage.changes if isinstance(change, SwapDatabases))
    return stage.model_copy(update={"changes": changes})


def restore_all(**parameters: Any) -> tuple[Plan, Stage, list[Answer]]:  # noqa: ANN401 - any parameter
    """Restore from the newest backup and swap; gives both stages and the proof's answers."""
    plan = plan_restore(**parameters)
    answers = carry_out(plan, WORK)
    stage = swap_only(plan_cut_over(plan))
    answers += carry_out(stage, WORK)
    return plan, stage, answers
