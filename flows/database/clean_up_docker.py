"""Remove from a Docker engine's disk what nobody uses, object by object, and never data."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.disk.clean_up import Found, find_unused
from tasks.disk.freed import find_freed
from tasks.disk.logs import find_logs
from tasks.disk.sizes import megabytes
from tasks.disk.unused import Rule
from tasks.guardrails.plan import Effects, Plan, Risk, Stage, StageOutline
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.guardrails.words import counted
from tasks.platforms.targets import TargetName

_REPORT = StageOutline(name="report", title="Report what came free", risk=Risk.HARMLESS)


@remediation(guide="Database Issues / Out of Disk Space / Clean Up Docker Resources")
def clean_up_docker(
    target: TargetName,
    older_than_days: Annotated[int, Field(ge=0, le=3650)] = 14,
    built_here: bool = False,
    save_to: Annotated[str, Field(max_length=1000)] = "",
    stopped_containers: bool = False,
    only_label: Annotated[str, Field(max_length=300)] = "",
) -> Plan:
    """Remove images, build cache, empty volumes and networks that nobody uses from an engine.

    The guide's `docker system prune -a --volumes` takes whatever no container has at this moment:
    the volumes and images of a project that is down for maintenance, the version of yesterday, to
    which one would go back, and images that nobody can build again. Here each object is listed
    with its size and why it may go. What a container has, also one that is stopped, or a compose
    file names, of this project or of another one with containers on the engine, is in use, in
    every profile. A volume goes only if it has no name and a look into it finds nothing; a
    volume with data never does.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        older_than_days: What was made, pulled, tagged or used within so many days stays, and
            so does what it cannot be told of; 0 for any age.
        built_here: Images go, too, that were built here or that no registry gives back.
        save_to: Folder of this machine into which such images are saved before, for the undo.
        stopped_containers: Containers go, too, that have ended, belong to no compose project and
            are not to be restarted; what they wrote beside their volumes is lost.
        only_label: Only what has this label, as `stage=ci`; the build cache has none, and stays.

    Changes:
        Objects that nobody uses are removed, never by force: dangling images and build cache
        first, last what cannot be had back.

    Undo:
        Images are pulled again by their digest, or loaded from their files; volumes and networks
        are made anew. Images and containers that go for good say so, and need more approvers.
    """
    rule = Rule(
        older_than=timedelta(days=older_than_days),
        built_here=built_here,
        save_to=save_to,
        stopped_containers=stopped_containers,
        only_label=only_label,
    )
    found = find_unused(target, rule, remediation_id())
    logs, _ = find_logs(target)
    findings = (*found.findings, *logs)
    if not found.changes:
        return Plan(name="clean_up", title="Say what stays, and why", findings=findings)
    return Plan(
        name="clean_up",
        title=f"Remove {counted(len(found.changes), 'object')} that nobody uses, "
        f"{megabytes(found.size)} MB",
        risk=Risk.DESTRUCTIVE if found.lost else Risk.DISRUPTIVE,
        findings=findings,
        changes=found.changes,
        checks=(ApplicationAnswers(), *found.checks),
        limits=found.limits,
        watches=(ApplicationServes(),),
        effects=_effects(found),
        notes=find_unproved(target),
        later=(_REPORT,),
    )


def _effects(found: Found) -> Effects:
    return Effects(
        lost=found.lost or "nothing",
        duration="seconds, minutes where many large images go or are saved",
        disk_needed=found.saved,
    )


@clean_up_docker.stage("report")
def report(earlier: tuple[Stage, ...], target: TargetName, **_: object) -> Stage:
    """Report what came free."""
    del earlier
    return Stage(
        name=_REPORT.name,
        title=_REPORT.title,
        risk=Risk.HARMLESS,
        findings=find_freed(target, remediation_id()),
    )
