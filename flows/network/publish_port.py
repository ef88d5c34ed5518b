"""Publish the port of a service that nobody reaches, once it is known where the way stops."""

from typing import Annotated

from pydantic import Field

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.network.publishing_need import find_unpublished
from tasks.network.reached import PortAnswers
from tasks.platforms.targets import TargetName


@remediation(guide="Network Issues / Cannot Access Application / Port Not Exposed")
def publish_port(
    target: TargetName,
    service: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$")] = "app",
    port: Annotated[int, Field(ge=0, le=65535)] = 0,
    host_port: Annotated[int, Field(ge=0, le=65535)] = 0,
    address: Annotated[str, Field(pattern=r"^([0-9.]{7,15}|[0-9a-fA-F:]{2,39})?$")] = "",
) -> Plan:
    """Find where the way to a service stops, and publish its port where that is missing.

    It walks outward: does the container run, what does a process in it listen at, is the port
    published and at which address, who else has the machine's port, has the engine bound it, do
    the packet filter's rules lead there, does it answer, does nginx name it. A process that
    listens at 127.0.0.1 in its container, rules that a firewall has flushed, or a port that is
    kept to the machine on purpose are said with what to run. With `dry_run` it only looks.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        service: Name of the service in the compose files.
        port: The port in the container; 0 for the one that the target names, or the only one.
        host_port: The machine's port; 0 for the one that is published now, else the same number.
        address: The machine's address; empty for all of them where users are served (application
            and nginx), and for 127.0.0.1 else. All of them are refused for a database or cache;
            one of a network needs the approvers of the next higher risk there.

    Changes:
        An entry of `ports` in a compose file, and the container made anew from it: behind nginx
        a second one serves meanwhile.

    Undo:
        The file is as before, byte for byte, and the container made anew once more.
    """
    need = find_unpublished(
        target, service, port, host_port, address, f"compose-{remediation_id()}"
    )
    if need.change is None:
        return Plan(
            name="publish",
            title=f"Report the way to {service}",
            risk=Risk.HARMLESS,
            findings=need.findings,
        )
    wanted = need.change.wanted
    answers = PortAnswers(service=service, address=wanted.address, outside=wanted.outside)
    return Plan(
        name="publish",
        title=f"Publish {wanted.binding} of {service} of {target}",
        risk=need.risk,
        findings=need.findings,
        changes=(need.change,),
        checks=(answers, ApplicationAnswers()),
        watches=(ApplicationServes(),),
        effects=Effects(outage=need.outage),
        notes=(*need.notes, *find_unproved(target)),
    )
