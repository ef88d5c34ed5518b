"""Give the application a new database password, with no request failing."""

from typing import Annotated

from pydantic import Field

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.login import inspect_login
from tasks.application.serves import ApplicationServes
from tasks.application.settings_change import ChangeSettings, kept_as
from tasks.database.logins.alternate_login import CreateAlternateLogin
from tasks.database.logins.end_logins import EndLogins
from tasks.database.logins.rotation import OldPasswordIsRefused, find_alternate
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.platforms.targets import TargetName
from tasks.secrets.generated import GeneratePassword


@remediation(guide="Database Issues / Cannot Connect to Database / Wrong Credentials")
def rotate_database_password(
    target: TargetName,
    alternate: Annotated[str, Field(pattern=r"^([a-z_][a-z0-9_]{0,62})?$")] = "",
) -> Plan:
    """Give the application a new database password while it serves, and close the old login.

    A second role that works as the first one gets a new password, the application's replicas
    change over one after the other, and only then the first role is closed. The next rotation
    goes the other way. Changing the password in place, as the guide does, breaks every log-in
    until the application has been restarted.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        alternate: Name of the second role; empty for the usual one.

    Changes:
        A password is generated into the target's store of secrets; the second role is made, a
        member of the first, and logs in with it; user and password change in the application's
        settings, and each replica is drained, restarted, proved and let in again; the first role
        is set NOLOGIN.

    Undo:
        The first role logs in again with its old password, the settings are as before, the
        replicas are rolled back, and the second role is gone.
    """
    login = inspect_login(target)
    other = find_alternate(target, login.user, alternate)
    secret = f"database-{remediation_id()}"
    return Plan(
        name="rotate",
        title=f"Have the application log in as {other.role} with a new password, and close "
        f"{login.user}",
        risk=Risk.DISRUPTIVE,
        findings=(*login.findings, *other.findings),
        changes=(
            GeneratePassword(name=secret, purpose=f"a password for role {other.role}"),
            CreateAlternateLogin(
                role=other.role,
                owner=other.owner,
                secret=secret,
                existed=other.existed,
                attributes=other.attributes,
                connection_limit=other.connection_limit,
                settings=other.settings,
            ),
            # Without needs: where somebody else has changed them, nothing is begun.
            ChangeSettings(
                before={login.variables.user: login.user},
                after={login.variables.user: other.role},
                passwords={login.variables.password: secret},
                keep=secret,
            ),
            EndLogins(role=login.user, before=kept_as(secret), variable=login.variables.password),
        ),
        checks=(
            OldPasswordIsRefused(
                role=login.user, secret=kept_as(secret), variable=login.variables.password
            ),
            ApplicationAnswers(),
        ),
        watches=(ApplicationServes(),),
        effects=Effects(
            outage="none: a replica serves while another is restarted",
            duration=f"about {10 * len(login.replicas)} s",
        ),
        notes=find_unproved(target),
    )
