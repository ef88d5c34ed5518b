"""What gives each remediation something to do; one without a scenario meets a sound system."""

import re
import shutil
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from psycopg import sql

from flows.database.back_up_database import back_up_database
from flows.database.restore_from_backup import restore_from_backup
from flows.docker.repair_crash_loop import repair_crash_loop
from infra.sandbox.damage import Damage, damage
from infra.sandbox.migrations import BEFORE_HEAD, migrate
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from infra.testbed.compose.system import ComposeSystem
from tests.cache_states import cache_as, configuration, protect, set_password
from tests.crashing import Crashing

if TYPE_CHECKING:
    from tests.faults.scene import Scene

# Breaks the system, and gives the parameters beside the target.
Scenario = Callable[["Scene"], dict[str, Any]]


def nothing(scene: "Scene") -> dict[str, Any]:
    """Leave the system as it is."""
    assert scene
    return {}


def rows_deleted(scene: "Scene") -> dict[str, Any]:
    """Delete what was backed up."""
    if not scene.backups():
        scene.carry_out(back_up_database)
        scene.keep_backups()
    damage(scene.planner, Damage.ROWS_DELETED)
    return {}


def restored(scene: "Scene") -> dict[str, Any]:
    """Delete what was backed up, and restore it: that is taken back."""
    return {"remediation": scene.carry_out(restore_from_backup, **rows_deleted(scene))}


def index_out_of_order(scene: "Scene") -> dict[str, Any]:
    """Put the entries of an index out of order."""
    damage(scene.planner, Damage.INDEX_ORDER)
    return {}


def kept(scene: "Scene") -> dict[str, Any]:
    """Restore, and let the time of what is kept be over."""
    scene.carry_out(restore_from_backup, **rows_deleted(scene))
    with scene.planner.connect("postgres") as session:
        rows = session.execute(
            "SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database "
            "WHERE shobj_description(oid, 'pg_database') LIKE 'remedy % kept: %'"
        ).fetchall()
        for name, comment in rows:
            past = re.sub(r"kept until \d{4}", "kept until 2020", comment)
            session.execute(
                sql.SQL("COMMENT ON DATABASE {} IS {}").format(
                    sql.Identifier(name), sql.Literal(past)
                )
            )
    return {}


def restored_and_written(scene: "Scene") -> dict[str, Any]:
    """Write and change rows after a backup, and restore it: they are in the kept database only."""
    if not scene.backups():
        scene.carry_out(back_up_database)
        scene.keep_backups()
    write_later(scene.planner)
    return {"remediation": scene.carry_out(restore_from_backup)}


def write_later(sandbox: Planner) -> None:
    """Write what a user writes after a backup: a program with a project, and another name.

    At a fixed time, later than all that was seeded: each run is compared with another one.
    """
    with sandbox.connect() as session:
        session.execute(
            "INSERT INTO programs (id, name, created_at, updated_at)"
            " SELECT md5('later' || n)::uuid, 'Later ' || n, timestamp '2025-01-01',"
            " timestamp '2025-01-01' FROM generate_series(1, 5) n"
        )
        session.execute(
            "INSERT INTO projects (id, program_id, name, budget, created_at, updated_at)"
            " SELECT md5('later' || n)::uuid, md5('later' || n)::uuid, 'Later ' || n, n,"
            " timestamp '2025-01-01', timestamp '2025-01-01' FROM generate_series(1, 5) n"
        )
        session.execute(
            "UPDATE workers SET name = 'Later', version = version + 1,"
            " updated_at = timestamp '2025-01-01' WHERE external_id = 'W1'"
        )


def dead_rows(scene: "Scene") -> dict[str, Any]:
    """Write every row of a table anew, and have nobody tidy up behind it."""
    with scene.planner.connect() as session:
        session.execute("ALTER TABLE actuals SET (autovacuum_enabled = false)")
        session.execute("UPDATE actuals SET updated_at = updated_at")
    return {}


def loose_table(scene: "Scene") -> dict[str, Any]:
    """Let a table's file be as large again as its rows, which a lock is taken for."""
    return {**dead_rows(scene), "way": "vacuum_full", "tables": ["public.actuals"]}


def old_backups(scene: "Scene") -> dict[str, Any]:
    """Have two backups of long ago beside one that is proved."""
    if not scene.backups():
        scene.carry_out(back_up_database)
        scene.keep_backups()
    (proved,) = [path for path in scene.backups() if path.suffix == ".dump"]
    for month in ("01", "02"):
        shutil.copy2(proved, proved.with_name(f"backup-2024{month}01-020000.dump"))
    return {"keep_weekly": 0, "keep_monthly": 0, "keep_sound": 1}


def another_password(scene: "Scene") -> dict[str, Any]:
    """Have the application's role get another password, and its sessions end."""
    with scene.planner.connect() as session:
        session.execute("ALTER ROLE planner PASSWORD 'somebody-changed-it'")
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'planner'"
        )
    return {"side": "application"}


def server_killed(scene: "Scene") -> dict[str, Any]:
    """Kill the database's server, as the kernel does where memory is out."""
    scene.planner.cluster.kill()
    return {}


def database_gone(scene: "Scene") -> dict[str, Any]:
    """Have the server without the application's database."""
    with scene.planner.connect("postgres") as session:
        session.execute(
            sql.SQL("DROP DATABASE {} WITH (FORCE)").format(
                sql.Identifier(scene.planner.settings.database)
            )
        )
    return {}


def index_lost(scene: "Scene") -> dict[str, Any]:
    """Let a table grow, and drop the index of one of its foreign keys."""
    columns = "project_id, worker_id, actual_date, hours, cost, created_at, updated_at"
    with scene.planner.connect() as session:
        session.execute(
            f"INSERT INTO actuals (id, {columns}) SELECT md5(id::text || n)::uuid, {columns} "
            "FROM actuals, generate_series(1, 6) n"
        )
        session.execute("DROP INDEX ix_actuals_worker_id")
        session.execute("ANALYZE actuals")
    return {"tables": ["actuals"]}


def query_to_explain(scene: "Scene") -> dict[str, Any]:
    """Have a query that deletes, which is planned only."""
    assert scene
    return {"query": "DELETE FROM actuals WHERE hours = $1"}


def slow_statements(scene: "Scene") -> dict[str, Any]:
    """Have slow statements logged for a moment."""
    assert scene
    return {"source": "log", "watch_seconds": 1, "slower_than_ms": 50}


def schema_behind(scene: "Scene") -> dict[str, Any]:
    """Bring the schema back to the revision before the application's, and back that up."""
    migrate(scene.planner, BEFORE_HEAD)
    if not scene.backups():
        scene.carry_out(back_up_database)
        scene.keep_backups()
    return {}


def schema_to_take_back(scene: "Scene") -> dict[str, Any]:
    """Be one revision behind already: the application answers neither before nor after."""
    schema_behind(scene)
    return {"revision": "8b2e64f09c13"}


def secrets_lost(scene: "Scene") -> dict[str, Any]:
    """Have secrets be gone from the settings; who runs was started with them."""
    file = scene.planner.dotenv
    gone = ("SECRET_KEY=", "POSTGRES_PASSWORD=")
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(one for one in lines if not one.startswith(gone)))
    return {}


def cache_protected(scene: "Scene") -> dict[str, Any]:
    """Give the cache a password, as an operator does."""
    assert isinstance(scene.planner, Sandbox)
    protect(scene.planner)
    return {}


def cache_lost(scene: "Scene") -> dict[str, Any]:
    """Have the cache killed, and on a sandbox the application look for it elsewhere besides."""
    if isinstance(scene.planner, ComposeSystem):
        scene.planner.project.container("redis").kill()
        return {"side": "server"}
    assert isinstance(scene.planner, Sandbox)
    set_password(scene.planner, "REDIS_PORT", "1")
    for name in scene.planner.upstreams:
        scene.planner.restart(name)
    scene.planner.kill("valkey")
    return {"side": "both"}


def cache_user_lacks(scene: "Scene") -> dict[str, Any]:
    """Have the cache refuse SET to the application, live and when it starts."""
    assert isinstance(scene.planner, Sandbox)
    scene.planner.valkey.configure()  # its file, whatever an earlier run has left there
    rules = "on nopass ~* &* +@all -set"
    with closing(cache_as(scene.planner, "")) as client:
        client.execute_command("ACL", "SETUSER", "default", "reset", *rules.split())  # type: ignore[no-untyped-call] # redis-py has none
    file = configuration(scene.planner)
    file.write_text(file.read_text().replace('requirepass ""', f"user default {rules}"))
    return {"side": "server"}


def cache_evicting_jobs(scene: "Scene") -> dict[str, Any]:
    """Have the cache as it is shipped: it may evict jobs that wait."""
    if isinstance(scene.planner, Sandbox):
        scene.planner.valkey.configure()  # its file, whatever an earlier run has left there
    with closing(cache_as(scene.planner, "")) as client:
        client.config_set("maxmemory", "256mb")
        client.config_set("maxmemory-policy", "allkeys-lru")
    return {"watch_seconds": 0, "policy": "volatile-lru"}


def settings_refused(scene: "Scene") -> dict[str, Any]:
    """Have the application refuse a setting, once it is known with which ones it worked."""
    assert isinstance(scene.planner, ComposeSystem)
    scene.carry_out(repair_crash_loop, watch_seconds=1, remember=True)
    with closing(scene.planner.project.engine.client()) as client:
        project = Crashing(scene.planner, client)
        project.set("POSTGRES_PORT", "no-port-at-all")
        project.up("app")
        project.until(lambda one: b"validation error" in one.logs())
    return {}


def health_check_mistaken(scene: "Scene") -> dict[str, Any]:
    """Have the application checked at a path at which it does not answer."""
    assert isinstance(scene.planner, ComposeSystem)
    with closing(scene.planner.project.engine.client()) as client:
        project = Crashing(scene.planner, client)
        project.edit("docker-compose.yml", ":8000/health", ":8000/healthz")
        project.up("app")
        project.until(lambda one: one.status == "running")
    return {}


def more_memory(scene: "Scene") -> dict[str, Any]:
    """Ask for more memory than the application has."""
    assert scene
    return {"memory": "2304M"}


def too_few(scene: "Scene") -> dict[str, Any]:
    """Have a project whose application is to be served by two containers."""
    assert scene
    return {"replicas": 2, "resolve": "nginx"}


# Their scenarios keep users out: the load has to be in before.
NOBODY_LOGS_IN = {
    *("initialise_database", "repair_crash_loop", "repair_database_credentials", "start_database")
}
# What they did stays when they are undone, or a backup that they took first.
STAYS = {"apply_migrations", "downgrade_migrations", "start_database"}
# What is killed in a test of its own (test_add_swap, test_clean_up_killed, test_publish_port,
# test_open_firewall_port, test_compose_images, test_compose_rebuild, test_update_docker_compose),
# and what a platform lacks.
_OF_THEIR_OWN = {
    *("add_swap", "clean_up_docker", "open_firewall_port", "publish_port", "rebuild_image"),
    *("shrink_build_context", "update_docker_compose"),
}
LEFT_OUT = {
    "sandbox": {
        *_OF_THEIR_OWN,
        *("modernise_compose_file", "raise_memory_limit", "repair_crash_loop", "rotate_logs"),
        *("repair_health_check", "scale_application"),
    },
    "compose": {
        *(*_OF_THEIR_OWN, "find_slow_queries", "rotate_cache_password"),
        "repair_cache_connection:user",  # its cache has no file that its users could be written to
    },
}
# By remediation, and by `remediation:what` where one alone does not have it do all that it can.
SCENARIOS: dict[str, Scenario] = {
    "add_indexes": index_lost,
    "apply_migrations": schema_behind,
    "carry_over_rows": restored_and_written,
    "clean_up_backups": old_backups,
    "downgrade_migrations": schema_to_take_back,
    "drop_kept_databases": kept,
    "explain_queries": query_to_explain,
    "find_slow_queries": slow_statements,
    "initialise_database": database_gone,
    "raise_memory_limit": more_memory,
    "rebuild_indexes": index_out_of_order,
    "repair_cache_connection": cache_lost,
    "repair_cache_connection:user": cache_user_lacks,
    "repair_cache_efficiency": cache_evicting_jobs,
    "repair_crash_loop": settings_refused,
    "repair_database_credentials": another_password,
    "repair_health_check": health_check_mistaken,
    "restore_from_backup": rows_deleted,
    "restore_secrets": secrets_lost,
    "rotate_cache_password": cache_protected,
    "rewrite_tables": loose_table,
    "scale_application": too_few,
    "start_database": server_killed,
    "undo_remediation": restored,
    "vacuum_database": dead_rows,
}
