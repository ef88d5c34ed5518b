"""What gives each remediation something to do; one without a scenario meets a sound sandbox."""

import re
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from psycopg import sql

from flows.database.back_up_database import back_up_database
from flows.database.restore_from_backup import restore_from_backup
from infra.sandbox.damage import Damage, damage
from infra.sandbox.migrations import BEFORE_HEAD, migrate

if TYPE_CHECKING:
    from tests.faults.scene import Scene

# Breaks the sandbox, and gives the parameters beside the target.
Scenario = Callable[["Scene"], dict[str, Any]]


def nothing(scene: "Scene") -> dict[str, Any]:
    """Leave the sandbox as it is."""
    assert scene
    return {}


def rows_deleted(scene: "Scene") -> dict[str, Any]:
    """Delete what was backed up."""
    if not scene.backups():
        scene.carry_out(back_up_database)
        scene.keep_backups()
    damage(scene.sandbox, Damage.ROWS_DELETED)
    return {}


def restored(scene: "Scene") -> dict[str, Any]:
    """Delete what was backed up, and restore it: that is taken back."""
    return {"remediation": scene.carry_out(restore_from_backup, **rows_deleted(scene))}


def index_out_of_order(scene: "Scene") -> dict[str, Any]:
    """Put the entries of an index out of order."""
    damage(scene.sandbox, Damage.INDEX_ORDER)
    return {}


def kept(scene: "Scene") -> dict[str, Any]:
    """Restore, and let the time of what is kept be over."""
    scene.carry_out(restore_from_backup, **rows_deleted(scene))
    with scene.sandbox.connect("postgres") as session:
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


def dead_rows(scene: "Scene") -> dict[str, Any]:
    """Write every row of a table anew, and have nobody tidy up behind it."""
    with scene.sandbox.connect() as session:
        session.execute("ALTER TABLE actuals SET (autovacuum_enabled = false)")
        session.execute("UPDATE actuals SET updated_at = updated_at")
    return {}


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
    with scene.sandbox.connect() as session:
        session.execute("ALTER ROLE planner PASSWORD 'somebody-changed-it'")
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'planner'"
        )
    return {"side": "application"}


def schema_behind(scene: "Scene") -> dict[str, Any]:
    """Bring the schema back to the revision before the application's, and back that up."""
    migrate(scene.sandbox, BEFORE_HEAD)
    if not scene.backups():
        scene.carry_out(back_up_database)
        scene.keep_backups()
    return {}


# Their scenarios keep users out: the load has to be in before.
NOBODY_LOGS_IN = {"repair_database_credentials"}
# What they did stays when they are undone, and nothing that stood before it comes back.
STAYS = {"apply_migrations"}
SCENARIOS: dict[str, Scenario] = {
    "apply_migrations": schema_behind,
    "clean_up_backups": old_backups,
    "drop_kept_databases": kept,
    "rebuild_indexes": index_out_of_order,
    "repair_database_credentials": another_password,
    "restore_from_backup": rows_deleted,
    "vacuum_database": dead_rows,
    "undo_remediation": restored,
}
