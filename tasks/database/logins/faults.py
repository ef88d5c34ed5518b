"""Why the application cannot log in to its database: found by trying, as it does itself."""

from pydantic import BaseModel, ConfigDict

from tasks.application.login import LoginVariables, find_variables
from tasks.database.catalogue import elsewhere, inspect_database
from tasks.database.logins.roles import Role, find_role, may_log_in
from tasks.database.logins.tries import (
    Wrong,
    of_address,
    of_password,
    of_replicas,
    of_role,
    of_url,
    same_host,
    works,
)
from tasks.database.logins.verifiers import digest, fits, read_verifier
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.platforms import targets
from tasks.platforms.protocols import Database

# Which of it is mended on which side.
ON_DATABASE = {Wrong.CLOSED, Wrong.EXPIRED, Wrong.NO_CONNECT, Wrong.PASSWORD, Wrong.STALE}
ON_APPLICATION = {
    Wrong.ADDRESS,
    Wrong.DATABASE,
    Wrong.MISSING,
    Wrong.PASSWORD,
    Wrong.UNFIT,
    Wrong.STALE,
}


class LoginFaults(BaseModel):
    """How the application tries to log in, and why it cannot.

    Args:
        variables: Names of its settings.
        settings: Those that are no secrets, as far as they are set.
        right: The same as they should be.
        database: Name of the database.
        maintenance_user: The role that remediations log in as.
        wrong: What is wrong, with a sentence each.
        expires: When the role's password ceased to be valid; '' for never.
        misfit: Why the role in `right` is none for an application; '' where it may be.
        password_fits: Whether the password in the settings is that of the role in `right`, and
            one that the application can use.
        keeps_verifiers: Whether the maintenance user may see what is kept of passwords.
        verifier: The sha256 of what is kept for the role in `right`, '' where that is not seen.
        findings: What was tried and found, for the plan.
    """

    model_config = ConfigDict(frozen=True)

    variables: LoginVariables
    settings: dict[str, str]
    right: dict[str, str]
    database: str
    maintenance_user: str
    wrong: dict[Wrong, str]
    expires: str
    misfit: str
    password_fits: bool
    keeps_verifiers: bool
    verifier: str
    findings: tuple[Finding, ...]

    @property
    def user(self) -> str:
        """The role that it tries."""
        return self.settings[self.variables.user]


@probe
def find_login_faults(target: str) -> LoginFaults:
    """Log in as the application does, and where that fails find out why.

    Args:
        target: Name of the target.

    Returns:
        What is wrong; nothing where it can log in.

    Raises:
        PreconditionFailed: The settings of the application name no user, or cannot be read.
    """
    system = targets.load(target)
    variables, now = find_variables(system), system.application.settings()
    names = (variables.host, variables.port, variables.database, variables.user)
    shown = {name: now[name] for name in names if now.get(name)}
    if variables.user not in shown:
        raise PreconditionFailed(
            expected=f"{variables.user} in the application's settings.",
            found="it is not set.",
            todo="Set it, or correct the target.",
        )
    user, password = now[variables.user], now.get(variables.password, "")
    with system.database.connect(elsewhere(system.database)) as session:
        owner = inspect_database(session, system.database.name).shape.owner
        of_its_role, expires = of_role(session, system.database.name, user)
        owning = find_role(session, owner)
    verifier = read_verifier(system.database, user)
    wrong: dict[Wrong, str] = {}
    if not works(system.database, variables, shown, password):
        wrong = of_address(system.database, variables, shown) | of_its_role
        if Wrong.MISSING not in wrong:
            refused = bool(of_its_role)
            wrong |= of_password(system.database, user, password, verifier, refused=refused)
    else:
        wrong = of_url(target, password)
    wrong |= of_replicas(system, variables, now)
    right = _right(system.database, variables, shown, owner, missing=Wrong.MISSING in wrong)
    kept = read_verifier(system.database, right[variables.user])
    return LoginFaults(
        variables=variables,
        settings=shown,
        right=right,
        database=system.database.name,
        misfit=_misfit(owning) if Wrong.MISSING in wrong else "",
        maintenance_user=system.database.environment()["PGUSER"],
        wrong=wrong,
        expires=expires,
        password_fits=Wrong.UNFIT not in wrong
        and _fits(system.database, right[variables.user], password),
        keeps_verifiers=verifier is not None,
        verifier="" if kept is None else digest(kept),
        findings=(_describe(shown, wrong),),
    )


def _misfit(owner: Role | None) -> str:
    if owner is None or "SUPERUSER" in owner.attributes:
        return f"the database's owner {owner.name if owner else ''} is a superuser"
    return "" if owner.logs_in else f"the database's owner {owner.name} may not log in"


def _fits(database: Database, user: str, password: str) -> bool:
    verifier = read_verifier(database, user)
    if verifier is None:
        return not may_log_in(database, user, password)
    return fits(verifier, user, password)


def _right(
    database: Database,
    variables: LoginVariables,
    shown: dict[str, str],
    owner: str,
    *,
    missing: bool,
) -> dict[str, str]:
    right_host, right_port = database.address
    right = {
        variables.host: right_host,
        variables.port: right_port,
        variables.database: database.name,
        variables.user: owner if missing else shown[variables.user],
    }
    host = shown.get(variables.host, "")
    if host and same_host(host, right_host):
        right[variables.host] = host  # another name of the same machine stays
    return {name: right[name] for name in shown}


def _describe(shown: dict[str, str], wrong: dict[Wrong, str]) -> Finding:
    tried = ", ".join(f"{name}={value}" for name, value in shown.items())
    what = f"The application logs in with {tried}. "
    what += "It cannot:" if wrong else "It can, and each replica was started with that."
    return Finding(
        what=what,
        how="tried with its own settings; pg_roles, pg_authid, the environment of each replica",
        columns=("what is wrong", "mended by side=") if wrong else (),
        rows=tuple((sentence, _sides(kind)) for kind, sentence in wrong.items()),
    )


def _sides(kind: Wrong) -> str:
    sides = [
        name
        for name, mended in (("database", ON_DATABASE), ("application", ON_APPLICATION))
        if kind in mended
    ]
    return " or ".join(sides) or "neither: pg_hba.conf is corrected by hand"
