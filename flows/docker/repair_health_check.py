"""Find why a health check fails, and correct it where the application is well."""

from typing import Annotated

from pydantic import Field

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.containers.health_need import find_health_need
from tasks.containers.health_proof import HealthCheckCanFail, HealthCheckHolds
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.platforms.targets import TargetName


@remediation(guide="Docker Issues / Container Keeps Restarting / Health Check Failing")
def repair_health_check(
    target: TargetName,
    service: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$")] = "app",
    path: Annotated[str, Field(pattern=r"^(/[A-Za-z0-9._~/-]*)?$")] = "",
    watch_seconds: Annotated[float, Field(ge=0, le=600)] = 60,
    slow_seconds: Annotated[float, Field(gt=0, le=30)] = 5,
) -> Plan:
    """Find why a health check fails, and correct it where the application is well.

    The check's own command is run by hand inside, and what it asks is asked from outside. Where
    the application is not well, the check is right to fail, and is not loosened. Else it is told
    apart what is wrong with it: its path, port, address or scheme, a program that its image
    lacks, a timeout or a start period that is shorter than what was measured. What shall be
    there instead has passed inside before it is planned, and has failed where nothing listens.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        service: Name of the service in the compose files. Of another one than the application
            the check is looked at, and what to edit is said.
        path: Path at which it answers while it is well; empty for `health_path` of the target.
        watch_seconds: How long one that is on its way up is waited for, in seconds.
        slow_seconds: An application that takes longer to answer is not well, in seconds.

    Changes:
        The `healthcheck` in the compose file, and the application's container made anew from it:
        behind nginx a second one serves meanwhile.

    Undo:
        The file is as before, byte for byte, and the container made anew once more.
    """
    need = find_health_need(target, service, path, watch_seconds, slow_seconds, remediation_id())
    if need.change is None:
        return Plan(name="report", title=need.title, risk=Risk.HARMLESS, findings=need.findings)
    wording = need.change.wording
    holds = HealthCheckHolds(
        service=service, timeout=wording.timeout, start_period=wording.start_period
    )
    return Plan(
        name="repair",
        title=need.title,
        risk=Risk.DISRUPTIVE,
        findings=need.findings,
        changes=(need.change,),
        checks=(holds, HealthCheckCanFail(service=service), ApplicationAnswers()),
        watches=(ApplicationServes(),),
        effects=Effects(outage="none: another one serves while its container is made anew"),
        notes=find_unproved(target),
    )
