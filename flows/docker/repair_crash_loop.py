"""Find why a service's container keeps restarting, and put back what it worked with."""

from typing import Annotated

from pydantic import Field

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.containers.crash_loop import find_crash_loop
from tasks.containers.stays_up import StaysUp
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.platforms.targets import TargetName


@remediation(guide="Docker Issues / Container Keeps Restarting / Application Crash Loop")
def repair_crash_loop(
    target: TargetName,
    service: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,62}$")] = "app",
    watch_seconds: Annotated[float, Field(ge=1, le=600)] = 10,
    remember: bool = False,
) -> Plan:
    """Find why a service's container keeps restarting, and put back what it worked with.

    Its containers are watched; what the engine says of how they ended, its events, the log of the
    last run, and the services that they depend on say why: killed for want of memory, a module or
    a program that its image lacks, settings that are missing or refused, a migration, a port that
    another one has, a full disk, a server that is away. Of logs and settings only names are
    shown. Where it is known with what the application worked, by a record of ours, by another
    container, or by the engine's events, its settings or its image are put back; else what to run
    is said. Nothing is guessed.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        service: Name of the service in the compose files.
        watch_seconds: How long its containers are watched, in seconds; longer for one that ends
            seldom.
        remember: Where the service is sound, keep its image and settings among the target's
            secrets: by that it is known later with what it worked.

    Changes:
        Settings in `.env`, or the image in the compose file, each only where that it worked is
        known; the application's container is made anew. With `remember`, a record alone.

    Undo:
        Files are as before, byte for byte, and the container is made anew from them: as it did
        before, it will not stay up.
    """
    found = find_crash_loop(target, service, watch_seconds, remediation_id(), remember=remember)
    if not found.changes or found.sound:
        return Plan(
            name="repair",
            title=found.title,
            risk=Risk.HARMLESS,
            findings=found.findings,
            changes=found.changes,
        )
    return Plan(
        name="repair",
        title=found.title,
        risk=Risk.DISRUPTIVE,
        findings=found.findings,
        changes=found.changes,
        checks=(StaysUp(service=service, seconds=found.proof_seconds), ApplicationAnswers()),
        effects=Effects(outage="none beyond the present one: its container does not stay up"),
        notes=(*found.notes, *find_unproved(target)),
    )
