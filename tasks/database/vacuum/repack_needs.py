"""What pg_repack needs: an extension and a program of one version, and a user who may use them.

Source: pg_repack's manual, "Installation" and "Usage"; its release notes of 1.5.0 to 1.5.3.
"""

import re
from dataclasses import dataclass

from tasks.database.catalogue import is_superuser
from tasks.database.programs import run
from tasks.database.vacuum.rewritable import Rewritable
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.protocols import Connection, Database

PROGRAM = "pg_repack"
# Before it, its functions on the server ask for a superuser whatever the program is told.
_OWNERS_SINCE = (1, 5, 2)
# Before it, names of key columns go into the text of its trigger as they are.
_QUOTES_SINCE = (1, 5, 0)


@dataclass(frozen=True)
class Repack:
    """pg_repack as it may be used here.

    Args:
        version: Version of the extension and the program, as '1.4.8'.
        as_owner: Whether the maintenance user is no superuser, and need not be one.
    """

    version: str
    as_owner: bool

    def refuses(self, table: Rewritable) -> str:
        """Say why it cannot write a table anew, '' where it can."""
        odd = table.odd_key and numbers(self.version) < _QUOTES_SINCE
        invalid = ", ".join(table.invalid)
        reasons = (
            (
                table.kind == "m",
                "it is a materialised view: REFRESH MATERIALIZED VIEW writes it anew too",
            ),
            (table.persistence != "p", "it is unlogged"),
            (
                not table.has_key,
                "it has no primary key, and no unique index whose columns are all NOT NULL",
            ),
            (
                invalid,
                f"what is invalid would stay with the old file ({invalid}): run rebuild_indexes",
            ),
            (not table.owned, "the maintenance user is no member of its owner"),
            (odd, f"a key column has an apostrophe in its name, which {self.version} would run"),
        )
        return next((why for holds, why in reasons if holds), "")


def numbers(version: str) -> tuple[int, ...]:
    """Read a version, to compare it."""
    return tuple(int(one) for one in re.findall(r"\d+", version)[:3])


def inspect_repack(database: Database, otherwise: str) -> Repack:
    """Make sure that pg_repack can be used.

    Args:
        database: The database under care.
        otherwise: What the other way would cost, as a sentence.

    Returns:
        What there is of it.

    Raises:
        PreconditionFailed: Something is missing: says what, how to get it, and the other way.
    """
    with database.connect() as session:
        version = _find_extension(session, database.name, otherwise)
        _insist_on_program(database, version, otherwise)
        if is_superuser(session):
            return Repack(version, as_owner=False)
        if numbers(version) < _OWNERS_SINCE:
            raise PreconditionFailed(
                expected=f"a maintenance user who is a superuser, as pg_repack {version} asks for "
                "one on the server; from 1.5.2 on the owner of the table suffices.",
                found="one that is none.",
                todo="Install pg_repack 1.5.2 or newer and create its extension anew, or give the "
                f"target a superuser. {otherwise}",
            )
        _insist_on_rights(session, otherwise)
    return Repack(version, as_owner=True)


def _find_extension(session: Connection, name: str, otherwise: str) -> str:
    row = session.execute(
        """SELECT (SELECT extversion FROM pg_extension WHERE extname = 'pg_repack') AS version,
             EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_repack') AS available,
             current_setting('server_version_num')::int / 10000 AS major"""
    ).fetchone() or {"version": None, "available": False, "major": 0}
    if row["version"]:
        return str(row["version"])
    install = (
        ""
        if row["available"]
        else f"Install it on the server (Debian: apt-get install postgresql-{row['major']}-repack)."
        " "
    )
    raise PreconditionFailed(
        expected=f"the extension pg_repack in the database {name}.",
        found=f"none; the server {'has it' if row['available'] else 'does not have it'} to create.",
        todo=f"{install}As a superuser in {name}: CREATE EXTENSION pg_repack. {otherwise}",
    )


def _insist_on_program(database: Database, version: str, otherwise: str) -> None:
    try:
        said = run(database, PROGRAM, ["--version"]).strip()
    except PreconditionFailed as error:
        raise PreconditionFailed(
            expected=f"the program pg_repack {version} on this host, where remediations run.",
            found=error.found,
            todo="Install it beside PostgreSQL's client programs (Debian: apt-get install "
            f"postgresql-15-repack for a server of 15), or in PATH. {otherwise}",
        ) from error
    if numbers(said) != numbers(version):
        raise PreconditionFailed(
            expected=f"the program pg_repack of the extension's version, {version}.",
            found=f"{said}.",
            todo="Install the program of that version; or, as a superuser, DROP EXTENSION "
            f"pg_repack and CREATE EXTENSION pg_repack. {otherwise}",
        )


def _insist_on_rights(session: Connection, otherwise: str) -> None:
    row = session.execute(
        """SELECT has_schema_privilege('repack', 'USAGE') AND has_schema_privilege('repack',
             'CREATE') AND has_table_privilege('repack.tables', 'SELECT') AS may,
             quote_ident(current_user) AS me"""
    ).fetchone()
    if not row or not row["may"]:
        me = row["me"] if row else "the maintenance user"
        raise PreconditionFailed(
            expected="a maintenance user who may make tables in pg_repack's schema.",
            found=f"{me} may not.",
            todo=f"As a superuser: GRANT USAGE, CREATE ON SCHEMA repack TO {me}; GRANT SELECT ON "
            f"ALL TABLES IN SCHEMA repack TO {me}. {otherwise}",
        )
