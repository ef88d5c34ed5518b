"""What belongs to a database as a whole and is in no dump: rights, settings, labels."""

from typing import ClassVar

from psycopg import sql
from pydantic import BaseModel, ConfigDict

from tasks.database.catalogue import elsewhere, is_superuser
from tasks.database.rights import Rights, find_foreign, grant_of
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Connection

READ_ONLY = "default_transaction_read_only"
_PARAMETER_RIGHTS_SINCE = 150000


class DatabaseSettings(BaseModel):
    """Rights, settings and labels of a database.

    Args:
        rights: Grantee ('' for PUBLIC), privilege, 'grantable' or ''.
        settings: Role ('' for all), name and value.
        labels: Provider and label.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rights: tuple[tuple[str, str, str], ...] = ()
    settings: tuple[tuple[str, str, str], ...] = ()
    labels: tuple[tuple[str, str], ...] = ()


def inspect_settings(session: Connection, name: str) -> DatabaseSettings:
    """Read a database's rights, settings and labels.

    Args:
        session: A session in any database of the server.
        name: Name of the database.

    Returns:
        All of them, sorted. That the owner has all rights is left out.
    """
    rights = session.execute(
        """SELECT CASE a.grantee WHEN 0 THEN '' ELSE pg_get_userbyid(a.grantee) END AS grantee,
             a.privilege_type AS privilege,
             CASE WHEN a.is_grantable THEN 'grantable' ELSE '' END AS grantable
           FROM pg_database d, aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a
           WHERE d.datname = %s AND a.grantee <> d.datdba ORDER BY 1, 2""",
        (name,),
    ).fetchall()
    settings = session.execute(
        """SELECT coalesce(r.rolname, '') AS role, split_part(c, '=', 1) AS name,
             substr(c, strpos(c, '=') + 1) AS value
           FROM pg_db_role_setting s JOIN pg_database d ON d.oid = s.setdatabase
           LEFT JOIN pg_roles r ON r.oid = s.setrole, unnest(s.setconfig) c
           WHERE d.datname = %s ORDER BY 1, 2""",
        (name,),
    ).fetchall()
    labels = session.execute(
        """SELECT l.provider, l.label FROM pg_shseclabel l JOIN pg_database d ON d.oid = l.objoid
           WHERE l.classoid = 'pg_database'::regclass AND d.datname = %s ORDER BY 1""",
        (name,),
    ).fetchall()
    return DatabaseSettings(
        rights=tuple((r["grantee"], r["privilege"], r["grantable"]) for r in rights),
        settings=tuple((r["role"], r["name"], r["value"]) for r in settings),
        labels=tuple((r["provider"], r["label"]) for r in labels),
    )


def require_settable(session: Connection, settings: DatabaseSettings, rights: Rights) -> None:
    """Refuse where a setting of live could not be given to a copy of it.

    Args:
        session: A session in any database of the server.
        settings: What live has.
        rights: What the maintenance user may do.

    Raises:
        PreconditionFailed: Names the rights, and the statements that give them.
    """
    if rights.superuser:
        return
    user, version = rights.user, session.info.server_version
    foreign = find_foreign(session, {role for role, _, _ in settings.settings if role}, user)
    missing = [grant_of(role, user, version) for role in foreign]
    for role, name, _ in settings.settings:
        missing += [
            f"GRANT SET ON PARAMETER {name} TO {who}"
            for who in (user, role)
            if who and not _may_set(session, who, name)
        ]
    if missing:
        raise PreconditionFailed(
            expected=f"the maintenance user {user} to be able to give a copy live's settings.",
            found=f"it may not set some of them: {'; '.join(missing)} is missing.",
            todo="Run the statements as a superuser, or give the target one as maintenance user.",
        )


def _may_set(session: Connection, user: str, name: str) -> bool:
    """Say whether a user may set a parameter; those of nobody (app.tenant) are superusers'."""
    known = session.execute(
        "SELECT 1 AS one FROM pg_settings WHERE name = %s AND context = 'user'", (name,)
    ).fetchone()
    if known or session.info.server_version < _PARAMETER_RIGHTS_SINCE:
        return known is not None
    row = session.execute(
        "SELECT has_parameter_privilege(%s, %s, 'SET') AS may", (user, name)
    ).fetchone()
    return bool(row and row["may"])


class CopyDatabaseSettings(Change):
    """Give the copy the rights, settings and labels of live.

    Args:
        side: Name of the copy.
        live: Name of the live database.
        wanted: What the live database has.
    """

    kind: ClassVar[str] = "database.copy_database_settings"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:MEMBER OF owner",)
    reverts: ClassVar[Reverts] = "pointless"

    needs: tuple[str, ...] = ("database.create_side_database",)
    side: str
    live: str
    wanted: DatabaseSettings

    @property
    def title(self) -> str:
        """What the change does."""
        return f"copy rights and settings of {self.live} to {self.side}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"database {self.side}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        rights = ", ".join(f"{who or 'PUBLIC'} {what}" for who, what, _ in self.wanted.rights)
        settings = ", ".join(
            f"{name} = {value}{f' for {role}' if role else ''}"
            for role, name, value in self.wanted.settings
        )
        labels = ", ".join(f"{provider} {label}" for provider, label in self.wanted.labels)
        after = "; ".join(part for part in (rights, settings, labels) if part)
        return "rights of the owner only, no settings", after or "none"

    def observe(self, work: Work) -> Observed:
        """Compare what the copy has with what live had when the plan was made."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            now = inspect_settings(session, self.side)
        if now == self.wanted:
            return Observed(Standing.AFTER, f"{self.side} has what {self.live} had")
        return Observed(Standing.BEFORE, f"{self.side} has {now}")

    def apply(self, work: Work) -> None:
        """Bring each to what is wanted; what is there too much is taken away."""
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            now = inspect_settings(session, self.side)
            self._copy_rights(session, now)
            self._copy_settings(session, now)
            for provider, label in set(self.wanted.labels) - set(now.labels):
                session.execute(
                    sql.SQL("SECURITY LABEL FOR {} ON DATABASE {} IS {}").format(
                        sql.Identifier(provider), sql.Identifier(self.side), label
                    )
                )

    def _copy_rights(self, session: Connection, now: DatabaseSettings) -> None:
        side = sql.Identifier(self.side)
        for who, what, _ in set(now.rights) - set(self.wanted.rights):
            session.execute(
                sql.SQL("REVOKE {} ON DATABASE {} FROM {} CASCADE").format(
                    sql.SQL(what), side, _role(who)
                )
            )
        for who, what, grantable in sorted(set(self.wanted.rights) - set(now.rights)):
            option = sql.SQL("WITH GRANT OPTION" if grantable else "")
            session.execute(
                sql.SQL("GRANT {} ON DATABASE {} TO {} {}").format(
                    sql.SQL(what), side, _role(who), option
                )
            )

    def _copy_settings(self, session: Connection, now: DatabaseSettings) -> None:
        for role, name, _ in set(now.settings) - set(self.wanted.settings):
            self._alter(session, role, sql.SQL("RESET {}").format(sql.Identifier(name)))
        for role, name, value in sorted(set(self.wanted.settings) - set(now.settings)):
            # FROM CURRENT takes a list like search_path as it stands; a literal would be one name.
            with session.transaction():
                session.execute("SELECT set_config(%s, %s, true)", (name, value))
                self._alter(
                    session, role, sql.SQL("SET {} FROM CURRENT").format(sql.Identifier(name))
                )

    def _alter(self, session: Connection, role: str, what: sql.Composed) -> None:
        side, who = sql.Identifier(self.side), sql.Identifier(role)
        if not role:
            session.execute(sql.SQL("ALTER DATABASE {} {}").format(side, what))
            return
        with session.transaction():
            # A role may set its own; for another's CREATEROLE would be needed.
            if not is_superuser(session):
                session.execute(sql.SQL("SET LOCAL ROLE {}").format(who))
            session.execute(sql.SQL("ALTER ROLE {} IN DATABASE {} {}").format(who, side, what))
            session.execute("RESET ROLE")


def _role(name: str) -> sql.Composable:
    return sql.Identifier(name) if name else sql.SQL("PUBLIC")
