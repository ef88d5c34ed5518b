"""The live database as a restore finds it: rows, rights, settings, and what stands in the way."""

from dataclasses import dataclass

from psycopg import sql

from tasks.database import catalogue
from tasks.database.catalogue import DatabaseFacts, connect_with, elsewhere, find_tables
from tasks.database.copies.differences import SETTINGS
from tasks.database.copies.settings import DatabaseSettings, inspect_settings
from tasks.database.restore.blockers import (
    find_attached,
    require_no_blockers,
    require_nothing_attached,
)
from tasks.database.rights import (
    Rights,
    inspect_rights,
    require_no_other_restore,
    require_rights,
)
from tasks.database.schema.revision import read_revision
from tasks.guardrails.errors import RemediationError
from tasks.guardrails.probe import probe
from tasks.platforms import targets
from tasks.platforms.protocols import Connection


@dataclass(frozen=True)
class Live:
    """The live database as it was found.

    Args:
        facts: Its identity and shape.
        rows: Rows by 'schema.table'.
        unread: Why a table cannot be read, by 'schema.table'.
        revision: Revision of the application's schema, '' where it cannot be read.
        settings: Rights, settings and labels.
        rights: What the maintenance user may do.
        attached: What is attached to it.
        server_major: Major version of the server.
    """

    facts: DatabaseFacts
    rows: dict[str, int]
    unread: dict[str, str]
    revision: str
    settings: DatabaseSettings
    rights: Rights
    attached: tuple[str, ...]
    server_major: int


@probe
def inspect_live(target: str, remediation: str, *, leave_attached: bool) -> Live:
    """Look at the live database and at what would keep a restore from going through.

    Args:
        target: Name of the target.
        remediation: Id of the remediation that asks.
        leave_attached: Whether what is attached may stay behind.

    Returns:
        What was found.

    Raises:
        PreconditionFailed: A right is missing, something stands in the way, or is attached.
        TargetBusy: Another restore is under way.
    """
    system = targets.load(target)
    database = system.database
    table = system.migrations.version_table if system.migrations else "alembic_version"
    with database.connect(elsewhere(database)) as session:
        facts = catalogue.inspect_database(session, database.name)
        rights = inspect_rights(session, facts)
        require_rights(rights)
        require_no_other_restore(session, database.name, remediation)
        require_no_blockers(session, facts)
        settings = inspect_settings(session, database.name)
        major = session.info.server_version // 10000
    attached = find_attached(database, facts)
    if not leave_attached:
        require_nothing_attached(attached)
    with connect_with(database, database.name, SETTINGS) as session:
        rows, unread = _count_readable(session)
        revision = read_revision(session, table)
    return Live(facts, rows, unread, revision, settings, rights, tuple(attached), major)


def _count_readable(session: Connection) -> tuple[dict[str, int], dict[str, str]]:
    rows: dict[str, int] = {}
    unread: dict[str, str] = {}
    for schema, name in find_tables(session):
        try:
            # The rows' bytes are read too: a damaged page of toasted values hides from count(*).
            row = session.execute(
                sql.SQL("SELECT count(*) AS n FROM ONLY {}").format(sql.Identifier(schema, name))
            ).fetchone()
        except RemediationError as error:
            unread[f"{schema}.{name}"] = error.found
        else:
            rows[f"{schema}.{name}"] = int(row["n"]) if row else 0
    return rows, unread
