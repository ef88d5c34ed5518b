"""Installing an extension into a database, and taking it out again.

Source: PostgreSQL manual, CREATE EXTENSION.
"""

from typing import ClassVar

from psycopg import sql

from tasks.database.marks import Mark, mark_text, read_mark
from tasks.guardrails.errors import UndoFailed
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.postgresql_errors import sqlstate
from tasks.platforms.protocols import Connection

_DEPENDED_UPON = "2BP01"
_LOCK, _WHOLE = "2s", "30s"


class CreateExtension(Change):
    """Install an extension that the server has the files of.

    Args:
        name: Its name.
        database: Name of the database, for people.
    """

    kind: ClassVar[str] = "database.create_extension"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:SUPERUSER",)

    name: str
    database: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"create extension {self.name} in {self.database}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"extension {self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"{self.name} is not installed", f"{self.name} is installed, marked as ours"

    def observe(self, work: Work) -> Observed:
        """Look it up, with its comment: by that it is ours."""
        with targets.load(work.target).database.connect() as session:
            comment = self._comment(session)
        if comment is None:
            return Observed(Standing.BEFORE, f"{self.name} is not installed")
        mark = read_mark(comment)
        if mark is None or mark.remediation != work.remediation:
            return Observed(Standing.OTHER, f"{self.name} was installed by somebody else")
        return Observed(Standing.AFTER, f"{self.name} is installed")

    def apply(self, work: Work) -> None:
        """Install it with the mark in its comment, both or neither."""
        name = sql.Identifier(self.name)
        mark = mark_text(Mark(work.remediation, "created"), "goes with the undo of that")
        with (
            targets.load(work.target).database.connect(
                lock_timeout=_LOCK, statement_timeout=_WHOLE
            ) as session,
            session.transaction(),
        ):
            session.execute(sql.SQL("CREATE EXTENSION {}").format(name))
            session.execute(
                sql.SQL("COMMENT ON EXTENSION {} IS {}").format(name, sql.Literal(mark))
            )

    def revert(self, work: Work) -> None:
        """Drop it where it is ours; what was built on it since is not dropped with it.

        Raises:
            UndoFailed: Something was built on it.
        """
        with targets.load(work.target).database.connect(
            lock_timeout=_LOCK, statement_timeout=_WHOLE
        ) as session:
            mark = read_mark(self._comment(session))
            if mark is None or mark.remediation != work.remediation:
                return
            try:
                session.execute(
                    sql.SQL("DROP EXTENSION IF EXISTS {}").format(sql.Identifier(self.name))
                )
            except Exception as error:
                if sqlstate(error) != _DEPENDED_UPON:
                    raise
                raise UndoFailed(
                    expected=f"nothing to be built on the extension {self.name}.",
                    found=f"{error}",
                    state="It stays installed.",
                    todo=f"Drop what depends on it, then DROP EXTENSION {self.name}.",
                ) from error

    def _comment(self, session: Connection) -> str | None:
        row = session.execute(
            """SELECT coalesce(obj_description(oid, 'pg_extension'), '') AS comment
               FROM pg_extension WHERE extname = %s""",
            (self.name,),
        ).fetchone()
        return str(row["comment"]) if row else None
