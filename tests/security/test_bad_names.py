"""Databases, roles, tables and backups that really have such names: backed up, and restored."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg import sql

from flows.database.back_up_database import back_up_database
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Verdict, digest_of
from tasks.guardrails.remediation import planning_for
from tasks.platforms import targets
from tasks.platforms.postgresql import PostgreSQL
from tests import hostile
from tests.postgres_fixtures import (
    ID,
    WORK,
    Cluster,
    PlannerSystem,
    carry_out,
    make_system,
    plan_restore,
    restore_all,
    take,
)

OWNER = "o'w\"n; DROP ROLE planner; --\t$(id)\nrole"
TABLES = (
    'quo"te',
    "x'; DROP TABLE y; --",
    "line\nbreak",
    "tab\there",
    "ü" * 31,
    "ru\u202eltr",
    " lead",
    "-rf",
    "{}%s%%",
    "select",
    "dot.ted",
    "\\.",
    "\\! id",
    "public",
)
DATABASES = (
    "quo\"te's; DROP DATABASE planner; --",
    "line\nbreak\ttab",
    "ü" * 31 + "x",
    "-Fd",
    "--help",
    "a=b",
    "host=192.0.2.1 dbname=postgres",
    "postgresql://192.0.2.1/x",
    "{}%s %(name)s",
    "../../etc/pass\\wd",
    "ru\u202eltr $(id)",
)
# A small backup, and what live has beyond it.
SOME = ("-t", "users", "-t", "programs")
OTHERS = (
    "DROP TABLE user_roles, projects, tickets, notes_without_key, alembic_version CASCADE; "
    "DROP SEQUENCE IF EXISTS ticket_numbers"
)
FILES = (
    "--help.dump",
    "-rf",
    "a b;c.dump",
    "line\nbreak.dump",
    "{}%s.dump",
    "ru\u202eltr.dump",
    "'\".dump",
    "*?[a]~.dump",
    "ü" * 120,
)


@pytest.fixture(scope="module")
def template(postgres_cluster: Cluster) -> Iterator[Cluster]:
    """A small database whose tables and owner have such names, to make others of."""
    owner = sql.Identifier(OWNER)
    with postgres_cluster.connect() as session:
        session.execute(sql.SQL("CREATE ROLE {} LOGIN").format(owner))
        session.execute(sql.SQL("GRANT {} TO planner_admin").format(owner))
        session.execute("CREATE DATABASE bad_names TEMPLATE template0 IS_TEMPLATE true")
        session.execute(sql.SQL("ALTER DATABASE bad_names OWNER TO {}").format(owner))
    with postgres_cluster.connect("bad_names") as session:
        session.execute(sql.SQL("SET ROLE {}").format(owner))
        session.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier("s.c'h\"e\nma")))
        for schema in ("public", "s.c'h\"e\nma"):
            for name in TABLES:
                where = sql.Identifier(schema, name)
                session.execute(
                    sql.SQL("CREATE TABLE {} ({} int PRIMARY KEY, {} text)").format(
                        where, sql.Identifier(f"i{name}"[:40]), sql.Identifier("te\"x't\n")
                    )
                )
                session.execute(
                    sql.SQL("INSERT INTO {} VALUES (1, '\\.'), (2, {})").format(where, name)
                )
    yield postgres_cluster
    with postgres_cluster.connect() as session:
        session.execute("ALTER DATABASE bad_names IS_TEMPLATE false")
        session.execute("DROP DATABASE bad_names WITH (FORCE)")
        session.execute(sql.SQL("DROP ROLE {}").format(owner))


@pytest.fixture(params=DATABASES)
def system(
    request: pytest.FixtureRequest, template: Cluster, planner: Cluster, tmp_path: Path
) -> PlannerSystem:
    """Give a target around a database of such a name; `planner` drops it afterwards."""
    with planner.connect() as session:
        session.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE bad_names").format(
                sql.Identifier(request.param), sql.Identifier(OWNER)
            )
        )
    assert template is planner
    return rename(make_system(planner, tmp_path), planner, request.param)


def rename(
    system: PlannerSystem, cluster: Cluster, name: str, user: str = "planner_admin"
) -> PlannerSystem:
    """Give the target another database, and make it known."""
    database = PostgreSQL(
        target=system.name,
        host="127.0.0.1",
        port=cluster.port,
        name=name,
        user=user,
        password="",
        programs=cluster.programs,
        data_path=cluster.data,
    )
    made = replace(system, database=database)
    targets.give(made)
    return made


def sums(cluster: Cluster, database: str) -> dict[tuple[str, str], str]:
    """Give a checksum of each table's rows."""
    found = {}
    with cluster.connect(database) as session:
        for row in session.execute(
            "SELECT schemaname AS s, tablename AS t FROM pg_tables WHERE schemaname NOT IN "
            "('pg_catalog', 'information_schema')"
        ).fetchall():
            query = sql.SQL("SELECT string_agg(x::text, '|' ORDER BY x::text) AS a FROM {} x")
            read = session.execute(query.format(sql.Identifier(row["s"], row["t"]))).fetchone()
            found[row["s"], row["t"]] = str((read or {})["a"])
    return found


def back_up() -> None:
    """Take a backup, proved by loading it."""
    with planning_for("b3f9q2wxyz"):
        plan = back_up_database.planner("planner-test")
    digest_of(plan.model_dump(mode="json"))
    carry_out(plan, replace(WORK, remediation="b3f9q2wxyz"))


def test_a_superuser_loads_as_such_an_owner(
    template: Cluster, planner: Cluster, tmp_path: Path
) -> None:
    """The role goes into the session's options, and ends none of them."""
    assert template is planner
    with planner.connect() as session:
        owner = sql.Identifier(OWNER)
        session.execute(sql.SQL("CREATE DATABASE x OWNER {} TEMPLATE bad_names").format(owner))
    system = rename(make_system(planner, tmp_path), planner, "x", "postgres")
    back_up()
    assert len(system.backups.list()) == 3


def test_a_database_is_backed_up_and_restored(system: PlannerSystem, planner: Cluster) -> None:
    """Whatever it, its tables and its owner are called, the rows come back, and no others go."""
    name = system.database.name
    others = sums(planner, "planner")
    before = sums(planner, name)
    assert len(before) == 2 * len(TABLES)
    back_up()
    with planner.connect(name) as session:
        for table in TABLES:
            session.execute(sql.SQL("DELETE FROM {} WHERE true").format(sql.Identifier(table)))
    assert sums(planner, name) != before
    _, _, answers = restore_all(max_rows_lost=1000)
    assert [one for one in answers if one.verdict is Verdict.NOT_HELD] == []
    assert sums(planner, name) == before
    assert sums(planner, "planner") == others


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("option", ["-Fc", "-Fp"])
def test_a_backup_of_such_a_name_is_restored(
    name: str, option: str, planner: Cluster, planner_system: PlannerSystem, tmp_path: Path
) -> None:
    """By its name and as the newest; the file is data, whatever it is called."""
    take(planner, planner_system, name, option, *SOME)
    planner.run(OTHERS, "planner")
    for chosen in ("newest", name):
        plan = plan_restore(backup=chosen)
        digest_of(plan.model_dump(mode="json"))
    carry_out(plan, WORK)
    assert planner.one("SELECT count(*) FROM users", f"planner_restore_{ID}") == 200
    assert [one.name for one in (tmp_path / "backups").iterdir()] == [name]


@pytest.mark.parametrize("name", hostile.programs(Path("canary")))
def test_a_backup_called_like_a_command_runs_nothing(
    name: str,
    planner: Cluster,
    planner_system: PlannerSystem,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither when it is read nor when it is loaded."""
    monkeypatch.chdir(tmp_path)
    name = name.replace("/", "")
    take(planner, planner_system, name, "-Fc", *SOME)
    planner.run(OTHERS, "planner")
    carry_out(plan_restore(), WORK)
    assert not list(tmp_path.rglob("canary"))


def test_a_backup_whose_name_is_no_text_is_no_backup(
    planner: Cluster, planner_system: PlannerSystem
) -> None:
    """Bytes that are no UTF-8 can be in no plan: such a file hides none of the others."""
    os.rename(  # noqa: PTH104 - a path of bytes
        take(planner, planner_system, "backup-20991124-100000.dump", "-Fc"),
        os.fsencode(planner_system.backups.folder) + b"/backup-20991124-\xff.dump",
    )
    sound = take(planner, planner_system, "backup-20261124-100000.dump", "-Fc")
    digest_of(plan_restore().model_dump(mode="json"))
    sound.unlink()
    with pytest.raises(PreconditionFailed, match="the store is empty"):
        plan_restore()


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../planner.dump", "/etc/passwd", ".hidden", "a/b"]
)
def test_a_backup_outside_the_store_is_not_read(name: str, planner_system: PlannerSystem) -> None:
    """No name leads out of the folder, nor to what is just being written."""
    (planner_system.backups.folder / ".hidden").write_text("-- x")
    (planner_system.backups.folder / "backup-20261124-100000.sql").write_text("-- x")
    with pytest.raises(PreconditionFailed, match="none; there are backup-20261124-100000"):
        plan_restore(backup=name)
