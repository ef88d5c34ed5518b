"""Find out why the application cannot log in to its database, and mend the side asked for."""

import enum

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.application.settings_change import ChangeSettings, TakeSettingsUp
from tasks.database.logins.faults import (
    ON_APPLICATION,
    ON_DATABASE,
    LoginFaults,
    find_login_faults,
)
from tasks.database.logins.repair_login import RepairLogin
from tasks.database.logins.tries import Wrong
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Effects, Finding, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.platforms.targets import TargetName
from tasks.secrets.generated import GeneratePassword


class Side(enum.StrEnum):
    """Which side is mended."""

    FIND = "find"
    DATABASE = "database"
    APPLICATION = "application"


@remediation(guide="Database Issues / Cannot Connect to Database / Wrong Credentials")
def repair_database_credentials(target: TargetName, side: Side = Side.FIND) -> Plan:
    """Find out by trying why the application cannot log in to its database, and mend it.

    A wrong password reaches users as 401, and /health answers 200 all the while. No value of a
    secret is shown.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        side: "find": say what is wrong and which side mends it; "database": the role is changed
            to fit the application's settings; "application": its settings are changed to fit the
            server, with a new password where the present one does not fit.

    Changes:
        side "database": LOGIN, validity, CONNECT or password of the role. Side "application":
        address, database, user or password in its settings. Replicas that were started with
        other settings are restarted one after the other.

    Undo:
        The role and the settings are as before; replicas run with what the settings say.
    """
    found = find_login_faults(target)
    changes = _plan(found, side)
    return Plan(
        name="repair",
        title=f"Let the application log in again, by changing the {side}"
        if changes
        else "Say why the application cannot log in",
        risk=Risk.DISRUPTIVE,
        findings=(*found.findings, *(_advice(found) if side is Side.FIND else ())),
        changes=changes,
        checks=(ApplicationAnswers(),),
        watches=(ApplicationServes(),),
        effects=Effects(
            outage="none beyond the present one",
            lost="nothing; who else logs in with the role's old password is shut out"
            if any(isinstance(one, RepairLogin) and Wrong.PASSWORD in one.wrong for one in changes)
            else "nothing",
        ),
        notes=find_unproved(target),
    )


def _advice(found: LoginFaults) -> tuple[Finding, ...]:
    if not found.wrong:
        return ()
    sides = [
        name
        for name, mended in ((Side.DATABASE, ON_DATABASE), (Side.APPLICATION, ON_APPLICATION))
        if set(found.wrong) <= mended
    ]
    if not sides:
        return (
            Finding(
                what="No one side mends all of it.",
                how="the table above",
                patch="Mend what is named there by hand, then run this again.",
            ),
        )
    return (
        Finding(
            what=f"All of it is mended by side={' or side='.join(sides)}.",
            how="the table above",
            patch="\n".join(f"repair_database_credentials side={name}" for name in sides),
        ),
    )


def _plan(found: LoginFaults, side: Side) -> tuple[Change, ...]:
    if side is Side.FIND or not found.wrong:
        return ()
    mended = ON_DATABASE if side is Side.DATABASE else ON_APPLICATION
    if left := [found.wrong[one] for one in found.wrong if one not in mended]:
        raise PreconditionFailed(
            expected=f"faults that are mended by changing the {side}.",
            found=f"{'; '.join(left)}.",
            todo="Run it with side=find for what mends which; pg_hba.conf is corrected by hand.",
        )
    if set(found.wrong) - {Wrong.STALE, Wrong.ADDRESS, Wrong.DATABASE} and (
        not found.keeps_verifiers
    ):
        raise PreconditionFailed(
            expected="a maintenance user who may see what the server keeps of passwords, so that "
            "an undo can put it back.",
            found="one that is no superuser.",
            todo="Give the target a superuser for this, or use rotate_database_password.",
        )
    keep = f"credentials-{remediation_id()}"
    if side is Side.DATABASE:
        return (*_on_role(found, keep, ""), *_on_settings(found, keep, ""))
    if found.misfit:
        raise PreconditionFailed(
            expected="a role that the application may log in as, in place of one that is missing.",
            found=f"{found.misfit}.",
            todo="Put the right user into the application's settings, then run again.",
        )
    secret = "" if found.password_fits else keep
    if secret and found.right[found.variables.user] == found.maintenance_user:
        raise PreconditionFailed(
            expected="an application that logs in as another role than remediations do.",
            found=f"{found.maintenance_user} for both: a new password would shut them out.",
            todo="Put the right user and password into the application's settings.",
        )
    return (*_on_role(found, keep, secret), *_on_settings(found, keep, secret))


def _on_role(found: LoginFaults, keep: str, secret: str) -> tuple[Change, ...]:
    """Plan what changes on the server."""
    role = found.right[found.variables.user]
    wrong = tuple(one for one in found.wrong if one in ON_DATABASE - {Wrong.STALE})
    if secret:
        wrong = (Wrong.PASSWORD,)
    elif role != found.user:
        wrong = ()
    if not wrong:
        return ()
    repair = RepairLogin(
        needs=(GeneratePassword.kind,) if secret else (),
        role=role,
        database=found.database,
        wrong=wrong,
        expires=found.expires,
        variables=found.variables,
        secret=secret,
        keep=keep,
        before=found.verifier,
    )
    made = GeneratePassword(name=secret, purpose=f"a password for role {role}") if secret else None
    return (made, repair) if made else (repair,)


def _on_settings(found: LoginFaults, keep: str, secret: str) -> tuple[Change, ...]:
    """Plan what changes in the application's settings, or that they are taken up."""
    if found.right == found.settings and not secret:
        names = (*found.settings, found.variables.password)
        return (TakeSettingsUp(names=names),) if Wrong.STALE in found.wrong else ()
    return (
        ChangeSettings(
            needs=(RepairLogin.kind,) if secret else (),
            before=found.settings,
            after=found.right,
            passwords={found.variables.password: secret} if secret else {},
            also=() if secret else (found.variables.password,),
            keep=keep,
            served=False,
        ),
    )
