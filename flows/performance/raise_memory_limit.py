"""Let a service use more memory, while it runs."""

from typing import Annotated

from pydantic import Field

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.containers.memory_changes import MemoryLimitHolds
from tasks.containers.memory_need import find_memory_need
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.platforms.targets import TargetName


@remediation(guide="Performance Issues / High Memory Usage / Increase Container Memory Limits")
def raise_memory_limit(
    target: TargetName,
    service: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$")] = "app",
    memory: Annotated[str, Field(pattern=r"^(\d{1,12}(\.\d{1,3})?[kKmMgG]?[bB]?)?$")] = "",
    margin_percent: Annotated[int, Field(ge=5, le=400)] = 50,
) -> Plan:
    """Raise the memory limit of a service, in the engine and in the compose files.

    What it uses, its peak, and how often processes were killed for want of memory come first,
    with what the machine has: more than that is refused. The limit is raised while the containers
    run, that of swap with it, and the compose file that says it last is kept in step. The guide's
    edit of the file alone would have no effect until the containers are made anew, and with
    docker-compose before 1.27 none at all without `--compatibility`.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        service: Name of the service in the compose files.
        memory: The limit, as 768M or 3G; empty to propose one from the peak, or from the present
            limit where processes were killed for it.
        margin_percent: What a proposal adds, in percent.

    Changes:
        The limit in the compose files; the limit of the containers. Nothing is restarted.

    Undo:
        Limit and files are as before. Where the service uses more than the old limit by then, it
        is said that it has to be restarted first, and a person decides.
    """
    need = find_memory_need(target, service, memory, margin_percent, f"compose-{remediation_id()}")
    if not need.changes:
        return Plan(
            name="raise",
            title=f"Report the memory of {service}",
            risk=Risk.HARMLESS,
            findings=need.findings,
        )
    return Plan(
        name="raise",
        title=f"Let {service} of {target} use {need.limit / 2**20:,.0f} MiB of memory",
        risk=Risk.DISRUPTIVE,
        findings=need.findings,
        changes=need.changes,
        checks=(MemoryLimitHolds(service=service, limit=need.limit), ApplicationAnswers()),
        limits=need.room,
        watches=(ApplicationServes(),),
        effects=Effects(outage="none: nothing is restarted"),
        notes=(*need.notes, *find_unproved(target)),
    )
