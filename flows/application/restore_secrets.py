"""Give the application the secrets back that its settings lack."""

from typing import Annotated

from pydantic import Field

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.platforms.targets import TargetName
from tasks.secrets.missing import find_missing
from tasks.secrets.restoring import SettingsAreThere

_Setting = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]


@remediation(guide="Application Issues / Application Won't Start / Missing Environment Variables")
def restore_secrets(
    target: TargetName,
    names: Annotated[list[_Setting], Field(max_length=50)] = [],  # noqa: B006 - pydantic copies it
    generate: Annotated[list[_Setting], Field(max_length=10)] = [],  # noqa: B006 - the same
) -> Plan:
    """Give the application the secrets back that its settings lack, from who still knows them.

    The guide writes all of them anew by hand, values in the shell's history; a password that is
    only new on this side lets nobody in, and a new SECRET_KEY logs everybody out. Here what is
    missing is found: SECRET_KEY, the database's password, the cache's where it asks for one,
    whatever was set when the application was last recorded as sound, what the compose files insist
    on (`${NAME:?}`; compose does nothing at all without it), and what the log of a container that
    does not come up complains of. A value comes from a replica that was started with it, or from
    that record; a password is tried on its server before. No value is shown.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        names: Names of settings that it needs besides.
        generate: Names of settings that are made anew where nobody knows their values, as
            SECRET_KEY; never a password that a server has to know.

    Changes:
        What is missing in the application's settings; its replicas are restarted with it one
        after the other.

    Undo:
        The settings are byte for byte as before. A replica goes on with what it runs with, until
        somebody starts it anew.
    """
    found = find_missing(target, names, generate, remediation_id())
    change = found.change
    if change is None:
        return Plan(
            name="restore",
            title="Report which secrets the application lacks",
            risk=Risk.HARMLESS,
            findings=found.findings,
        )
    lost = found.lost
    return Plan(
        name="restore",
        title=f"Give the application of {target} {', '.join(change.sources)}",
        risk=Risk.DISRUPTIVE if lost == "nothing" else Risk.DESTRUCTIVE,
        findings=found.findings,
        changes=(change,),
        checks=(SettingsAreThere(names=tuple(change.sources)), ApplicationAnswers()),
        watches=(ApplicationServes(),) if change.served else (),
        effects=Effects(
            outage="none: one replica after the other" if change.served else "the present one",
            lost=lost,
        ),
        notes=find_unproved(target),
    )
