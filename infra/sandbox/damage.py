"""Break a sandbox's database, each kind as it happens in the field."""

import enum
from collections.abc import Callable
from dataclasses import dataclass

from psycopg import sql

from infra.sandbox.accounts import KNOWN_PROGRAM
from infra.sandbox.migrations import BEFORE_HEAD, migrate
from infra.sandbox.pages import Edit, edit_pages, overwrite, overwrite_leaf, swap_items
from infra.sandbox.planner import Planner

INDEX, TABLE = "ix_actuals_project_id", "projects"


class Damage(enum.StrEnum):
    """Kinds of damage."""

    ROWS_DELETED = "rows_deleted"
    """A DELETE with a wrong WHERE: all projects are gone with what belongs to them."""
    TABLE_DROPPED = "table_dropped"
    """DROP TABLE projects CASCADE: the table and the foreign keys to it are gone."""
    INDEX_PAGE = "index_page"
    """A failing disk wrote over a leaf of an index: scans of it fail by checksum."""
    INDEX_ORDER = "index_order"
    """Entries of an index are out of order and all checksums right: searches miss rows."""
    HEAP_PAGE = "heap_page"
    """A failing disk wrote over a page of projects: reads and dumps fail by checksum."""
    FOREIGN_KEYS_VIOLATED = "foreign_keys_violated"
    """Parents deleted with the triggers off: projects of programs that are not there."""
    PASSWORD_HASHES_SCRAMBLED = "password_hashes_scrambled"  # noqa: S105 - no password
    """An UPDATE wrote over all password hashes: nobody can log in."""
    SCHEMA_HALF_MIGRATED = "schema_half_migrated"
    """Half of the last revision made by hand: reads of programs fail, and so does alembic."""


@dataclass(frozen=True)
class Done:
    """What was broken.

    Args:
        kind: The kind.
        detail: A sentence that says what was done to what.
    """

    kind: Damage
    detail: str


def damage(sandbox: Planner, kind: Damage) -> Done:
    """Break a sandbox's database.

    Args:
        sandbox: A sandbox that is up and seeded. Damage of pages restarts its server.
        kind: How.

    Returns:
        What was done.
    """
    return Done(kind, _DOERS[kind](sandbox))


def _statements(sandbox: Planner, *statements: sql.SQL | sql.Composed) -> None:
    """Run statements in one transaction, as the owner of the tables would."""
    with sandbox.connect() as session, session.transaction():
        for statement in statements:
            session.execute(statement)


def _rows_deleted(sandbox: Planner) -> str:
    children = ("actuals", "documents", "reports", "project_phases")
    _statements(
        sandbox,
        *(sql.SQL("DELETE FROM {}").format(sql.Identifier(child)) for child in children),
        sql.SQL("DELETE FROM scope_assignments WHERE project_id IS NOT NULL"),
        sql.SQL("DELETE FROM projects"),
    )
    return f"all rows deleted from projects, {', '.join(children)}"


def _table_dropped(sandbox: Planner) -> str:
    _statements(sandbox, sql.SQL("DROP TABLE projects CASCADE"))
    return "table projects dropped, with the foreign keys to it"


def _page(relation: str, edit: Edit, what: str) -> Callable[[Planner], str]:
    def do(sandbox: Planner) -> str:
        return f"{what} page {edit_pages(sandbox, relation, edit)} of {relation}"

    return do


def _foreign_keys_violated(sandbox: Planner) -> str:
    _statements(
        sandbox,
        sql.SQL("SET LOCAL session_replication_role = replica"),
        sql.SQL("DELETE FROM programs WHERE id <> {}").format(sql.Literal(KNOWN_PROGRAM)),
    )
    return "all programs but the known one deleted without their projects"


def _password_hashes_scrambled(sandbox: Planner) -> str:
    _statements(sandbox, sql.SQL("UPDATE users SET password_hash = md5(password_hash)"))
    return "all password hashes overwritten"


def _schema_half_migrated(sandbox: Planner) -> str:
    migrate(sandbox, BEFORE_HEAD)
    owner = sql.Identifier(sandbox.settings.application_user)
    _statements(
        sandbox,
        sql.SQL("SET LOCAL ROLE {}").format(owner),
        sql.SQL("ALTER TABLE programs ADD COLUMN sponsor varchar(255)"),
    )
    return f"programs has sponsor and no health, and the revision says {BEFORE_HEAD}"


_DOERS: dict[Damage, Callable[[Planner], str]] = {
    Damage.ROWS_DELETED: _rows_deleted,
    Damage.TABLE_DROPPED: _table_dropped,
    Damage.INDEX_PAGE: _page(INDEX, overwrite_leaf, "overwrote"),
    Damage.INDEX_ORDER: _page(INDEX, swap_items, "swapped entries of"),
    Damage.HEAP_PAGE: _page(TABLE, overwrite, "overwrote"),
    Damage.FOREIGN_KEYS_VIOLATED: _foreign_keys_violated,
    Damage.PASSWORD_HASHES_SCRAMBLED: _password_hashes_scrambled,
    Damage.SCHEMA_HALF_MIGRATED: _schema_half_migrated,
}
