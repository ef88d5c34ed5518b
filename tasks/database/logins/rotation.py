"""What a rotation of the application's database password meets: its role, and who else uses it."""

from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from tasks.database.catalogue import elsewhere, is_superuser
from tasks.database.logins.alternate_login import owner_of
from tasks.database.logins.roles import (
    Role,
    Sessions,
    find_own_settings,
    find_role,
    find_sessions,
    insist_on_power,
    may_log_in,
)
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Answer, Check, Finding, Verdict, Work
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.protocols import Connection

_LONGEST = 63  # bytes of a name, PostgreSQL's NAMEDATALEN - 1
_ENDING, _MOST = "_alternate", 100


class Alternate(BaseModel):
    """The role that the application will log in with, and what it has to be like.

    Args:
        role: Its name.
        owner: The role that it works as.
        existed: Whether it is there, closed.
        attributes: What it is given.
        connection_limit: As the owner's.
        settings: What is set for the owner at log-in: database ('' for all), 'name=value'.
        findings: What was found, for the plan.
    """

    model_config = ConfigDict(frozen=True)

    role: str
    owner: str
    existed: bool
    attributes: tuple[str, ...]
    connection_limit: int
    settings: tuple[tuple[str, str], ...]
    findings: tuple[Finding, ...]


@probe
def find_alternate(target: str, user: str, alternate: str) -> Alternate:
    """Find the role that the application shall log in with instead of its present one.

    Args:
        target: Name of the target.
        user: Role that it logs in with now.
        alternate: Name of the other role; '' for the owner where the present one is an
            alternate of it, else the present one's name with `_alternate` behind it.

    Returns:
        The role, with what it is given.

    Raises:
        PreconditionFailed: The present role is not there, or it is the maintenance user's; the
            other one is there and not closed, or none of ours.
    """
    database = targets.load(target).database
    with database.connect(elsewhere(database)) as session:
        now = _insist(session, user)
        owner = _insist(session, owner_of(now) or user)
        insist_on_power(session, owner)
        # What a closed role has is put back by an undo, and only a superuser sees its verifier.
        reopens = is_superuser(session)
        name = alternate or (owner.name if owner != now and reopens else "")
        name = name or _free_name(session, owner, reopens=reopens)
        other = _insist_on_closed(find_role(session, name), owner, name)
        if other is not None and not reopens:
            raise PreconditionFailed(
                expected=f"a name that is free: {name} is there.",
                found="a maintenance user who cannot see what is kept of its old password.",
                todo="Give another name as `alternate`, or use a superuser.",
            )
        return Alternate(
            role=name,
            owner=owner.name,
            existed=other is not None,
            attributes=owner.attributes if name != owner.name else (),
            connection_limit=owner.connection_limit,
            settings=find_own_settings(session, owner.name),
            findings=(_describe(now, owner), _list(user, find_sessions(session, user))),
        )


def _insist(session: Connection, name: str) -> Role:
    found = find_role(session, name)
    if found is None:
        raise PreconditionFailed(
            expected=f"role {name}, as which the application logs in.",
            found="no such role on the server.",
            todo="Correct the user in the application's settings.",
        )
    row = session.execute("SELECT current_user AS name").fetchone()
    if row and row["name"] == name:
        raise PreconditionFailed(
            expected="an application that logs in as another role than remediations do.",
            found=f"both log in as {name}: its log-ins could not be ended.",
            todo="Give the target a maintenance user of its own, then run again.",
        )
    return found


def _insist_on_closed(found: Role | None, owner: Role, name: str) -> Role | None:
    if found is None:
        return None
    ours = found == owner or owner_of(found) == owner.name
    if not ours or found.logs_in:
        raise PreconditionFailed(
            expected=f"a free name, or an alternate login of {owner.name} that is closed.",
            found=f"role {name} {'can log in' if ours else 'is there, and none of ours'}.",
            todo="Give another name as `alternate`, or let it log in no more (NOLOGIN) where "
            "nobody uses it.",
        )
    return found


def _free_name(session: Connection, owner: Role, *, reopens: bool) -> str:
    """Name an alternate: the usual one, or where that cannot be opened again a new one."""
    for ending in (_ENDING, *(f"{_ENDING}{number}" for number in range(2, _MOST))):
        name = owner.name.encode()[: _LONGEST - len(ending)].decode(errors="ignore") + ending
        if reopens or find_role(session, name) is None:
            break
    return name


def _describe(now: Role, owner: Role) -> Finding:
    what = f"The application logs in as {now.name}"
    what += f", an alternate login of {owner.name}." if now != owner else "."
    if "SUPERUSER" in owner.attributes:
        what += " That is a superuser: whoever takes the application over has the server."
    if now.expires:
        over = "is over since" if now.expired else "ends"
        what += f" Its password's validity {over} {now.expires}; the new one's does not end."
    return Finding(what=what, how="the application's settings, pg_roles")


def _list(user: str, sessions: list[Sessions]) -> Finding:
    many = sum(one.count for one in sessions)
    return Finding(
        what=f"{counted(many, 'session is', 'sessions are')} logged in as {user}. Those that are "
        "not the application's have to be moved before: with one of them left, the rotation is "
        "undone.",
        how="pg_stat_activity",
        columns=("program", "database", "from", "sessions") if sessions else (),
        rows=tuple((one.program, one.database, one.address, str(one.count)) for one in sessions),
    )


class OldPasswordIsRefused(Check):
    """What the application logged in with before opens the database no more.

    Args:
        role: The role.
        secret: Name of the secret that holds the settings of before.
        variable: Name of the setting with the password.
    """

    kind: ClassVar[str] = "database.old_password_is_refused"

    role: str
    secret: str
    variable: str

    @property
    def title(self) -> str:
        """The claim."""
        return f"{self.role} with the old password is refused"

    def ask(self, work: Work) -> Answer:
        """Try to log in with it."""
        system = targets.load(work.target)
        password = (system.secrets.read(self.secret) or {}).get(self.variable)
        if password is None:
            return Answer(Verdict.NOT_ASKED, "there is no old password")
        if why := may_log_in(system.database, self.role, password):
            return Answer(Verdict.HELD, why)
        return Answer(Verdict.NOT_HELD, f"{self.role} still logs in with the old password")
