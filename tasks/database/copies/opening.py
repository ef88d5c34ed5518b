"""A kept database is opened for our own sessions only, and closed again.

CONNECT is taken from everybody in the transaction that lets connections in, and given back in
the one that shuts them out: whatever is killed in between, it is the one or the other. A
superuser needs no CONNECT and comes in as well.
"""

import re
from typing import ClassVar

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from tasks.database.catalogue import DatabaseFacts, elsewhere, find_database, is_superuser, name_of
from tasks.database.copies.left_behind import allowing
from tasks.database.marks import comment_on, read_mark
from tasks.database.sessions import end_sessions
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Connection, Database

_OPEN_FOR = re.compile(r"; open for remedy (\S+)$")
_GRANTS = """
    SELECT CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee)::text END AS role,
      bool_or(a.is_grantable) AS grantable
    FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
    WHERE d.oid = %s AND a.privilege_type = 'CONNECT' GROUP BY 1 ORDER BY 1"""


class ConnectGrant(BaseModel):
    """Who may connect to a database.

    Args:
        role: Name of the role, '' for everybody.
        grantable: Whether it may let others connect.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: str
    grantable: bool = False


def read_connect_grants(session: Connection, oid: int) -> tuple[ConnectGrant, ...]:
    """Read who may connect to a database.

    Args:
        session: A session in any database of the server.
        oid: OID of the database.

    Returns:
        The grants; those that hold by default, too.
    """
    return tuple(ConnectGrant(**row) for row in session.execute(_GRANTS, (oid,)).fetchall())


def open_for(comment: str) -> str:
    """Give the id of the remediation for which a kept database is open, '' where for none."""
    found = _OPEN_FOR.search(comment)
    return found[1] if found else ""


def _open(
    session: Connection, facts: DatabaseFacts, grants: tuple[ConnectGrant, ...], to: str
) -> None:
    name = sql.Identifier(facts.name)
    with session.transaction():
        for one in grants:
            session.execute(
                sql.SQL("REVOKE CONNECT ON DATABASE {} FROM {} CASCADE").format(name, _role(one))
            )
        if not is_superuser(session):
            session.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO CURRENT_USER").format(name))
        session.execute(comment_on(facts.name, f"{facts.comment}; open for remedy {to}"))
        session.execute(allowing(facts.name, allow=True))


def _close(session: Connection, facts: DatabaseFacts, grants: tuple[ConnectGrant, ...]) -> None:
    name = sql.Identifier(facts.name)
    with session.transaction():
        session.execute(allowing(facts.name, allow=False))
        session.execute(comment_on(facts.name, _OPEN_FOR.sub("", facts.comment)))
        session.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM CURRENT_USER").format(name))
        for one in grants:
            session.execute(
                sql.SQL("GRANT CONNECT ON DATABASE {} TO {}{}").format(
                    name,
                    _role(one),
                    sql.SQL(" WITH GRANT OPTION" if one.grantable else ""),
                )
            )
    end_sessions(session, facts.oid)


def _role(one: ConnectGrant) -> sql.Composable:
    return sql.Identifier(one.role) if one.role else sql.SQL("PUBLIC")


class _Door(Change):
    """What opening and closing have in common.

    Args:
        kept: Name of the kept database.
        kept_oid: Its OID.
        kept_by: Id of the restore that keeps it.
        grants: Who may connect to it when it is not open for us.
    """

    permissions: ClassVar[tuple[str, ...]] = ("postgresql:MEMBER OF owner",)
    leaves_open: ClassVar[bool]

    kept: str
    kept_oid: int
    kept_by: str
    grants: tuple[ConnectGrant, ...]

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"database {self.kept}",)

    @property
    def _granted(self) -> str:
        return ", ".join(one.role or "PUBLIC" for one in self.grants) or "nobody's"

    def _facts(self, session: Connection) -> DatabaseFacts | None:
        name = name_of(session, self.kept_oid)
        return find_database(session, name) if name else None

    def _is_open(self, work: Work) -> bool | str:
        """Say whether it is open for this remediation; a sentence where it is neither."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            facts = self._facts(session)
            grants = read_connect_grants(session, self.kept_oid)
        if facts is None:
            return f"{self.kept} is gone"
        mark = read_mark(facts.comment)
        if facts.name != self.kept or mark is None or mark.remediation != self.kept_by:
            return f"OID {self.kept_oid} is {facts.name}: {facts.comment!r}"
        by = open_for(facts.comment)
        if facts.allows_connections != bool(by) or by not in {"", work.remediation}:
            return f"{self.kept} is {'open' if facts.allows_connections else 'closed'}: " + (
                f"for remediation {by}" if by else "not by a remediation"
            )
        if not by and grants != self.grants:
            return f"who may connect to {self.kept} was changed"
        return bool(by)

    def observe(self, work: Work) -> Observed:
        """Read whether it lets sessions in, and for whom."""
        found = self._is_open(work)
        if isinstance(found, str):
            return Observed(Standing.OTHER, found)
        standing = Standing.AFTER if found is self.leaves_open else Standing.BEFORE
        return Observed(standing, f"{self.kept} is {'open for us' if found else 'closed'}")

    def _let_in(self, work: Work) -> None:
        if self._is_open(work) is False:
            with self._beside(targets.load(work.target).database) as session:
                facts = self._facts(session)
                if facts is not None:
                    _open(session, facts, self.grants, work.remediation)

    def _shut_out(self, work: Work) -> None:
        if self._is_open(work) is True:
            with self._beside(targets.load(work.target).database) as session:
                facts = self._facts(session)
                if facts is not None:
                    _close(session, facts, self.grants)

    @staticmethod
    def _beside(database: Database) -> Connection:
        return database.connect(elsewhere(database), lock_timeout="5s")


class OpenKeptDatabase(_Door):
    """Let our own sessions, and nobody else's, into a database that is kept closed."""

    kind: ClassVar[str] = "database.open_kept_database"
    leaves_open: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """What the change does."""
        return f"open {self.kept} for remediations only"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return (
            f"{self.kept} is closed; who may connect: {self._granted}",
            f"{self.kept} is open; who may connect: the maintenance user",
        )

    def apply(self, work: Work) -> None:
        """Take CONNECT from everybody, and let sessions in."""
        self._let_in(work)

    def revert(self, work: Work) -> None:
        """Close it, and give CONNECT back."""
        self._shut_out(work)


class CloseKeptDatabase(_Door):
    """Close a kept database again that was opened for us."""

    kind: ClassVar[str] = "database.close_kept_database"
    leaves_open: ClassVar[bool] = False

    @property
    def title(self) -> str:
        """What the change does."""
        return f"close {self.kept} again"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return (
            f"{self.kept} is open; who may connect: the maintenance user",
            f"{self.kept} is closed; who may connect: {self._granted}",
        )

    def apply(self, work: Work) -> None:
        """Close it, and give CONNECT back."""
        self._shut_out(work)

    def revert(self, work: Work) -> None:
        """Open it again, for what is taken back next."""
        self._let_in(work)
