"""The setting by which a server logs slow statements: where it is written, what is in force.

Source: PostgreSQL manual, ALTER SYSTEM; 54.8 (pg_file_settings); 20.8 (error reporting and
logging).
"""

import re

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.protocols import Connection

SETTING = "log_min_duration_statement"
_AUTO = "/postgresql.auto.conf"
_PARAMETER_RIGHTS_SINCE = 150000
_UNITS = {"": 1.0, "us": 0.001, "ms": 1.0, "s": 1e3, "min": 6e4, "h": 3.6e6, "d": 8.64e7}
_VALUE = re.compile(r"\s*([+-]?\d+(?:\.\d+)?)\s*([a-z]*)\s*")
_NEVER = -1.0
# With ddl only statements that nobody looks for here lack their texts.
_BEFORE_THEY_RUN = {"all", "mod"}
_NO_LOG = {"fatal", "panic"}
_IN_ENGLISH = "Sets the minimum execution time"  # as pg_settings describes the setting
# Where what is written in files decides what is in force.
_FROM_FILES = ("configuration file", "default")


class LogSetting(BaseModel):
    """How the setting stands.

    Args:
        written: Its value in postgresql.auto.conf, where ALTER SYSTEM writes; None for none.
        by_files: Milliseconds that the files as they are now lead to.
        in_force: Milliseconds in force for a new session; -1 for no logging.
        source: What decides that, as pg_settings names it.
    """

    model_config = ConfigDict(frozen=True)

    written: str | None
    by_files: float
    in_force: float
    source: str

    @property
    def is_loaded(self) -> bool:
        """Whether what the files say is in force."""
        return round(self.by_files) == round(self.in_force)

    def logs(self, slower_than_ms: int) -> bool:
        """Say whether statements that take longer than that are logged already."""
        return 0 <= self.in_force <= slower_than_ms


def inspect_log_setting(session: Connection) -> LogSetting:
    """Read how the setting stands; the session has to be a new one.

    Args:
        session: A session in the database.

    Raises:
        PreconditionFailed: The maintenance user may not read it, or it cannot be understood.
    """
    rows = session.execute(
        "SELECT sourcefile AS file, setting FROM pg_file_settings WHERE lower(name) = %s "
        "ORDER BY seqno",
        (SETTING,),
    ).fetchall()
    row = session.execute(
        "SELECT setting, source FROM pg_settings WHERE name = %s", (SETTING,)
    ).fetchone() or {"setting": "-1", "source": ""}
    written = [one["setting"] for one in rows if one["file"].endswith(_AUTO)]
    return LogSetting(
        written=written[-1] if written else None,
        by_files=milliseconds(rows[-1]["setting"]) if rows else _NEVER,
        in_force=float(row["setting"]),
        source=row["source"],
    )


def milliseconds(value: str) -> float:
    """Read a value of the setting, as '1s' or '250'.

    Args:
        value: The value as a file has it.

    Raises:
        PreconditionFailed: It is none that PostgreSQL takes.
    """
    found = _VALUE.fullmatch(value)
    if found is None or found[2] not in _UNITS:
        raise PreconditionFailed(
            expected=f"a duration as the value of {SETTING} in the server's files.",
            found=f"{value!r}.",
            todo="Correct it; `SELECT * FROM pg_file_settings` shows where it is.",
        )
    return max(_NEVER, float(found[1]) * _UNITS[found[2]])


def find_obstacles(session: Connection) -> list[str]:
    """Say why the setting cannot be changed by a reload, apart from rights.

    Args:
        session: A session in the database.

    Returns:
        Sentences; none where it can.
    """
    setting = inspect_log_setting(session)
    errors = session.execute(
        # What only waits for a restart keeps nothing else from being loaded (guc-file.l).
        """SELECT name, sourcefile AS file, sourceline AS line, error FROM pg_file_settings
           WHERE error IS NOT NULL AND (lower(name) = %s OR error <> 'setting could not be applied')
           ORDER BY seqno""",
        (SETTING,),
    ).fetchall()
    found = [
        f"{one['file']} line {one['line']} ({one['name']}): {one['error']}, so a reload would "
        "load nothing"
        for one in errors
    ]
    if setting.source not in _FROM_FILES:
        found.append(f"{SETTING} is set by {setting.source}, which goes before what files say")
    return found


def find_unreadable(session: Connection) -> list[str]:
    """Say why a log does not have statements beside their durations in words that are known.

    Args:
        session: A session in the database.

    Returns:
        Sentences; none where it has.
    """
    row = session.execute(
        """SELECT current_setting('log_statement') AS log_statement,
             current_setting('log_min_messages') AS log_min_messages,
             current_setting('lc_messages') AS lc_messages,
             (SELECT short_desc FROM pg_settings WHERE name = %s) AS described""",
        (SETTING,),
    ).fetchone()
    found: list[str] = []
    if row is None:
        return found
    if row["log_statement"] in _BEFORE_THEY_RUN:
        found.append(
            f"log_statement is {row['log_statement']}: such statements are logged before they run, "
            "and their durations without their texts; it has to be none or ddl"
        )
    if row["log_min_messages"] in _NO_LOG:
        found.append(
            f"log_min_messages is {row['log_min_messages']}: no durations are logged at all; it "
            "has to be log, error or lower"
        )
    # By lc_messages alone nobody knows whether the server has it translated.
    if not str(row["described"]).startswith(_IN_ENGLISH):
        found.append(
            f"the server logs in another language (lc_messages is {row['lc_messages']!r}), and "
            "only English is read; it has to be C"
        )
    return found


def find_missing_rights(session: Connection) -> list[str]:
    """Find the rights that the maintenance user lacks to change the setting and see it done.

    Args:
        session: A session in the database.

    Returns:
        The statements that give them, for a superuser; none where it has all.
    """
    row = session.execute(
        """SELECT current_user AS name, rolsuper AS superuser,
             has_function_privilege('pg_reload_conf()', 'EXECUTE') AS reload,
             has_table_privilege('pg_file_settings', 'SELECT') AS view,
             has_function_privilege('pg_show_all_file_settings()', 'EXECUTE') AS files
           FROM pg_roles WHERE rolname = current_user"""
    ).fetchone() or {"superuser": False}
    if row["superuser"]:
        return []
    user = sql.Identifier(row["name"]).as_string(session)
    if session.info.server_version < _PARAMETER_RIGHTS_SINCE:
        return [f"ALTER ROLE {user} SUPERUSER"]  # before PostgreSQL 15 nobody else may
    may = session.execute(
        "SELECT has_parameter_privilege(%s, 'ALTER SYSTEM') AS may", (SETTING,)
    ).fetchone()
    wanted = (
        (bool(may and may["may"]), f"GRANT ALTER SYSTEM ON PARAMETER {SETTING} TO {user}"),
        (row["reload"], f"GRANT EXECUTE ON FUNCTION pg_reload_conf() TO {user}"),
        (row["view"], f"GRANT SELECT ON pg_file_settings TO {user}"),
        (row["files"], f"GRANT EXECUTE ON FUNCTION pg_show_all_file_settings() TO {user}"),
    )
    return [statement for has, statement in wanted if not has]
