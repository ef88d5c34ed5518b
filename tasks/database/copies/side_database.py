"""A database beside the live one: made like it, found again by its mark, dropped while ours."""

from contextlib import suppress
from typing import ClassVar

from psycopg import sql

from tasks.database.catalogue import (
    DEFAULT_TABLESPACE,
    DatabaseShape,
    elsewhere,
    find_database,
    inspect_database,
    name_of,
)
from tasks.database.copies.migration_role import remove_role, role_exists, role_of
from tasks.database.marks import Mark, read_mark, write_mark
from tasks.database.sessions import end_sessions
from tasks.guardrails.errors import RemediationError, UndoFailed, WorldMoved
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Connection, Database

_ICU_RULES_SINCE = 160000
_LARGEST = 100  # tables: more than that are small
_LOCALE_OF = {"icu": "ICU_LOCALE", "builtin": "BUILTIN_LOCALE"}


def create_database(session: Connection, name: str, shape: DatabaseShape) -> None:
    """Create an empty database of a given shape from template0.

    Args:
        session: A session outside a transaction.
        name: Name of the new database.
        shape: What it has to be like.
    """
    options = [
        sql.SQL("OWNER {}").format(sql.Identifier(shape.owner)),
        sql.SQL("TEMPLATE template0"),
        sql.SQL("ENCODING {}").format(shape.encoding),
        sql.SQL("LC_COLLATE {}").format(shape.collate),
        sql.SQL("LC_CTYPE {}").format(shape.ctype),
        sql.SQL("CONNECTION LIMIT {}").format(shape.connection_limit),
    ]
    if shape.tablespace != DEFAULT_TABLESPACE:
        options.append(sql.SQL("TABLESPACE {}").format(sql.Identifier(shape.tablespace)))
    if shape.provider:
        options.append(sql.SQL("LOCALE_PROVIDER {}").format(sql.Identifier(shape.provider)))
    if word := _LOCALE_OF.get(shape.provider):
        options.append(sql.SQL(f"{word} {{}}").format(shape.locale))
    if shape.rules and session.info.server_version >= _ICU_RULES_SINCE:
        options.append(sql.SQL("ICU_RULES {}").format(shape.rules))
    session.execute(
        sql.SQL("CREATE DATABASE {} WITH {}").format(
            sql.Identifier(name), sql.SQL(" ").join(options)
        )
    )
    # Until it takes the place of live nobody but its owner and us has any business in it.
    session.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))


def drop_database(database: Database, name: str, remediation: str) -> None:
    """Drop a database that a remediation made, with the sessions in it; missing is fine.

    The tables go first: DROP DATABASE wants a checkpoint, and where the disk is full there is
    no room for one, while what is dropped stays half-dropped.

    Args:
        database: The database under care.
        name: Name of the database to drop.
        remediation: Id of the remediation whose it has to be.

    Raises:
        UndoFailed: Its comment says that it is not ours, or not ours any more.
        Transient: The server finds no room for its checkpoint even so.
    """
    with database.connect(elsewhere(database)) as session:
        facts = find_database(session, name)
        if facts is None:
            return
        mark = read_mark(facts.comment)
        # A kill between CREATE DATABASE and COMMENT leaves none; the name carries the id then.
        ours = mark.remediation == remediation if mark else name.endswith(f"_{remediation}")
        if not ours or (facts.comment and mark is None):
            raise UndoFailed(
                expected=f"database {name} to carry the mark of remediation {remediation}.",
                found=f"its comment is {facts.comment!r}.",
                state=f"Database {name} is left as it is.",
                todo=f"Look whose it is; if nobody's: DROP DATABASE {name}.",
            )
        if facts.allows_connections and not facts.half_dropped:
            end_sessions(session, facts.oid)
            with suppress(RemediationError):  # DROP DATABASE counts, and says what is in its way
                _drop_largest_tables(database, name)
        session.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _drop_largest_tables(database: Database, name: str) -> None:
    """Make room on the disk: a dropped table gives it back at once, without a checkpoint."""
    with database.connect(name, lock_timeout="2s") as session:
        tables = session.execute(
            """SELECT nspname AS schema, relname AS name
               FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
               WHERE relkind = 'r' AND nspname NOT IN ('pg_catalog', 'information_schema')
               ORDER BY pg_total_relation_size(c.oid) DESC LIMIT %s""",
            (_LARGEST,),
        ).fetchall()
        for table in tables:
            quoted = sql.Identifier(table["schema"], table["name"])
            with suppress(RemediationError):  # an extension's, another owner's
                session.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(quoted))


def recreate_database(database: Database, name: str, remediation: str) -> None:
    """Empty a database of ours by making it anew, with the shape it has.

    Args:
        database: The database under care.
        name: Name of the side database.
        remediation: Id of the remediation whose it has to be.
    """
    with database.connect(elsewhere(database)) as session:
        facts = find_database(session, name)
        if facts is None:
            raise WorldMoved(
                expected=f"the side database {name}.",
                found="none of that name.",
                state="The live database is untouched.",
                todo="Undo this remediation and run it again.",
            )
        shape = facts.shape
        if facts.half_dropped:
            most = inspect_database(session, database.name).shape.connection_limit
            shape = shape.model_copy(update={"connection_limit": most})
        drop_database(database, name, remediation)
        create_database(session, name, shape)
        write_mark(session, name, Mark(remediation, "created"), "being restored; drop by an undo")


def _is_like(made: DatabaseShape, wanted: DatabaseShape) -> bool:
    """Compare but for the spelling of an ICU locale: 16 and newer make en-US of an en_US."""
    if wanted.provider == "icu":
        made = made.model_copy(update={"locale": wanted.locale})
    return made == wanted


class CreateSideDatabase(Change):
    """Create an empty database beside the live one.

    Args:
        name: Name of the new database; ends with the remediation's id.
        live: Name of the live database.
        live_oid: OID of the live database, which it is made like.
        shape: Owner, encoding, locale, tablespace and limit.
    """

    kind: ClassVar[str] = "database.create_side_database"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:CREATEDB", "postgresql:MEMBER OF owner")

    name: str
    live: str
    live_oid: int
    shape: DatabaseShape

    @property
    def title(self) -> str:
        """What the change does."""
        return f"create database {self.name} beside {self.live}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"database {self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        shape = self.shape
        most = shape.connection_limit
        limit = "" if most < 0 else f", connection limit {most}"
        return (
            f"no database {self.name}",
            (
                f"empty database {self.name}: owner {shape.owner}, {shape.encoding}, "
                f"{shape.collate}, tablespace {shape.tablespace}{limit}"
            ),
        )

    def observe(self, work: Work) -> Observed:
        """Look the name, its shape and its mark up."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            found = name_of(session, self.live_oid) or "gone"
            facts = find_database(session, self.name)
            role_stays = role_exists(session, role_of(work.remediation))
        if facts is None and found != self.live and work.begun_at is None:
            return Observed(Standing.OTHER, f"the database with OID {self.live_oid} is {found} now")
        if facts is None:
            standing = Standing.HALF if role_stays else Standing.BEFORE
            role = "; the role of it is still there" if role_stays else ""
            return Observed(standing, f"there is no database {self.name}{role}")
        mark = read_mark(facts.comment)
        if facts.half_dropped or (mark is None and not facts.comment):
            return Observed(Standing.HALF, f"{self.name} is there without our mark or half-dropped")
        if mark is None or mark.remediation != work.remediation:
            return Observed(Standing.OTHER, f"{self.name} is another's: {facts.comment!r}")
        if not _is_like(facts.shape, self.shape):
            return Observed(Standing.OTHER, f"{self.name} is {facts.shape}, not {self.shape}")
        return Observed(Standing.AFTER, f"{self.name} is there ({mark.state}), OID {facts.oid}")

    def apply(self, work: Work) -> None:
        """Create it, and mark it as ours."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            drop_database(database, self.name, work.remediation)
            create_database(session, self.name, self.shape)
            write_mark(
                session,
                self.name,
                Mark(work.remediation, "created"),
                f"copy of {self.live} being restored; goes with an undo",
            )

    def revert(self, work: Work) -> None:
        """Drop it while it is ours; after a cut-over its name is gone and it is not touched.

        A role that something in it had named can be dropped only now.
        """
        database = targets.load(work.target).database
        drop_database(database, self.name, work.remediation)
        remove_role(database, self.name, self.shape.owner, role_of(work.remediation))
