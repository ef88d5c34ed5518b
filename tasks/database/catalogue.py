"""What the server's catalogue says of a database: its identity, and how to make its like."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.protocols import Connection, Database

DEFAULT_TABLESPACE = "pg_default"
_HALF_DROPPED = -2  # as datconnlimit
_PROVIDER_SINCE = 150000
_BUILTIN_SINCE = 170000
_TRANSACTION_TIMEOUT_SINCE = 170000
# For sessions that read whole tables: live or the maintenance user may have others set.
NO_TIMEOUTS = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}


class DatabaseShape(BaseModel):
    """What CREATE DATABASE has to be told to make a database like another.

    Args:
        owner: Name of the owner.
        encoding: Name of the encoding.
        collate: LC_COLLATE.
        ctype: LC_CTYPE.
        provider: 'libc', 'icu' or 'builtin'; '' where the server has no choice.
        locale: Locale of the provider, '' where there is none.
        rules: ICU rules, '' where there are none.
        tablespace: Name of the tablespace.
        connection_limit: -1 for none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: str
    encoding: str
    collate: str
    ctype: str
    provider: str = ""
    locale: str = ""
    rules: str = ""
    tablespace: str
    connection_limit: int


class DatabaseFacts(BaseModel):
    """A database as the catalogue has it now."""

    model_config = ConfigDict(frozen=True)

    oid: int
    name: str
    shape: DatabaseShape
    comment: str
    allows_connections: bool
    size: int

    @property
    def half_dropped(self) -> bool:
        """Whether a DROP DATABASE began and did not end: nothing but another one is possible."""
        return self.shape.connection_limit == _HALF_DROPPED


def elsewhere(database: Database) -> str:
    """Name the database in which commands run that name the one under care."""
    return database.maintenance_database


def connect_with(database: Database, name: str, settings: Mapping[str, str]) -> Connection:
    """Connect to a database of the server with settings of the session from a mapping.

    Args:
        database: The database under care.
        name: Name of the database to connect to.
        settings: Settings; where statements may take as long as they like, so may transactions.

    Returns:
        A session that commits each statement.
    """
    session = database.connect(name)
    for setting, value in complete_timeouts(settings, session.info.server_version).items():
        session.execute("SELECT set_config(%s, %s, false)", (setting, value))
    return session


def complete_timeouts(settings: Mapping[str, str], version: int) -> dict[str, str]:
    """Lift transaction_timeout (PostgreSQL 17 and newer) where statement_timeout is lifted.

    Args:
        settings: Settings of a session.
        version: The server's version number.

    Returns:
        The settings, as that server knows them.
    """
    lifted = version >= _TRANSACTION_TIMEOUT_SINCE and settings.get("statement_timeout") == "0"
    return {**settings, **({"transaction_timeout": "0"} if lifted else {})}


def find_unknown(session: Connection, settings: Iterable[str]) -> tuple[str, ...]:
    """Find the settings that a server does not know.

    Args:
        session: A session in any database of the server.
        settings: Their names.

    Returns:
        The names of those that it lacks, in order.
    """
    rows = session.execute("SELECT name FROM pg_settings").fetchall()
    known = {row["name"].lower() for row in rows}
    return tuple(sorted(set(settings) - known))


def is_superuser(session: Connection) -> bool:
    """Say whether a session is a superuser's."""
    row = session.execute("SELECT current_setting('is_superuser') = 'on' AS is").fetchone()
    return bool(row and row["is"])


def find_database(session: Connection, name: str) -> DatabaseFacts | None:
    """Look a database up by name.

    Args:
        session: A session in any database of the server.
        name: Name of the database.

    Returns:
        Its facts, or None where there is none of that name.
    """
    version = session.info.server_version
    provider, locale, rules = "''", "NULL", "NULL"
    if version >= _PROVIDER_SINCE:
        provider = (
            "CASE d.datlocprovider WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'libc' END"
        )
        locale = "d.datlocale" if version >= _BUILTIN_SINCE else "d.daticulocale"
        rules = "d.daticurules" if version >= _PROVIDER_SINCE + 10000 else "NULL"
    row = session.execute(
        f"""SELECT d.oid::bigint AS oid, d.datname AS name, pg_get_userbyid(d.datdba) AS owner,
               pg_encoding_to_char(d.encoding) AS encoding, d.datcollate AS collate,
               d.datctype AS ctype, {provider} AS provider, coalesce({locale}, '') AS locale,
               coalesce({rules}, '') AS rules, t.spcname AS tablespace,
               d.datconnlimit AS connection_limit, d.datallowconn AS allows_connections,
               coalesce(shobj_description(d.oid, 'pg_database'), '') AS comment,
               CASE WHEN pg_has_role(d.datdba, 'USAGE')
                         OR has_database_privilege(d.oid, 'CONNECT')
                    THEN pg_database_size(d.oid) ELSE 0 END AS size
            FROM pg_database d JOIN pg_tablespace t ON t.oid = d.dattablespace
            WHERE d.datname = %s""",  # noqa: S608 - pieces above, by server version
        (name,),
    ).fetchone()
    if row is None:
        return None
    parts = {field: row.pop(field) for field in DatabaseShape.model_fields}
    return DatabaseFacts(shape=DatabaseShape(**parts), **row)


def inspect_database(session: Connection, name: str) -> DatabaseFacts:
    """Look a database up that has to be there.

    Args:
        session: A session in any database of the server.
        name: Name of the database.

    Returns:
        Its facts.

    Raises:
        PreconditionFailed: There is none of that name.
    """
    found = find_database(session, name)
    if found is None:
        raise PreconditionFailed(
            expected=f"a database named {name!r}.",
            found="none of that name on the server.",
            todo="Correct the name in the target; `\\l` in psql lists those that there are.",
        )
    return found


def name_of(session: Connection, oid: int) -> str:
    """Give the present name of the database with an OID, '' where it is gone."""
    row = session.execute("SELECT datname AS name FROM pg_database WHERE oid = %s", (oid,))
    found: dict[str, Any] | None = row.fetchone()
    return str(found["name"]) if found else ""


def find_tables(session: Connection, kind: str = "r") -> list[tuple[str, str]]:
    """List the ordinary tables of a database, without partitioned parents and system tables.

    Args:
        session: A session in that database.
        kind: Their pg_class.relkind; 'm' for materialised views that hold rows.

    Returns:
        Schema and name of each, in order.
    """
    rows = session.execute(
        """SELECT n.nspname AS schema, c.relname AS name
           FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
           WHERE c.relkind = %s AND c.relpersistence <> 't' AND c.relispopulated
             AND n.nspname NOT IN ('pg_catalog', 'information_schema')
             AND n.nspname !~ '^pg_(toast|temp)'
           ORDER BY 1, 2""",
        [kind],
    ).fetchall()
    return [(row["schema"], row["name"]) for row in rows]
