"""A service that does not stay up: how it stands, why, and what is planned."""

from dataclasses import dataclass

from tasks.containers.crash_causes import find_causes
from tasks.containers.crash_repair import find_repair, told
from tasks.containers.last_sound import RecordSound, record_name
from tasks.containers.standing import Standing, watch
from tasks.containers.stays_up import MOST_SECONDS
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Finding
from tasks.guardrails.probe import probe
from tasks.platforms import targets
from tasks.platforms.containers import ServiceContainer
from tasks.platforms.protocols import System

_AT_LEAST_SECONDS, _TIMES = 10.0, 2.0


@dataclass(frozen=True)
class CrashLoop:
    """What was found of a service.

    Args:
        title: What is done.
        findings: What was seen.
        changes: What is planned.
        notes: What the approver should know.
        proof_seconds: How long it has to stay up afterwards.
        sound: Whether nothing is wrong with it.
    """

    title: str
    findings: tuple[Finding, ...]
    changes: tuple[Change, ...] = ()
    notes: tuple[str, ...] = ()
    proof_seconds: float = 0.0
    sound: bool = False


@probe
def find_crash_loop(
    target: str, service: str, watch_seconds: float, remediation: str, *, remember: bool
) -> CrashLoop:
    """Find whether a service's containers stay up, why not, and what can be put right.

    Args:
        target: Name of the target.
        service: The service.
        watch_seconds: How long its containers are watched.
        remediation: Id of the remediation.
        remember: Whether a sound one is recorded.

    Returns:
        What was found, and what is planned.

    Raises:
        PreconditionFailed: The files cannot be read, or there is no such service or container.
    """
    system = targets.load(target)
    reading = system.definition.read()
    project = reading.whole()
    reading.service(service)
    standing = watch(system.containers, service, watch_seconds)
    if not standing.containers:
        raise PreconditionFailed(
            expected=f"a container of service {service}.",
            found="none.",
            todo=f"Make it with `compose up -d {service}`, then run again.",
        )
    seen = _as_seen(service, standing, watch_seconds)
    if not standing.broken:
        return _sound(system, service, standing, seen, remediation if remember else "")
    causes = find_causes(system.containers, service, standing, project, target)
    repair = find_repair(system, service, standing, causes, project, remediation)
    notes = list(repair.notes)
    seconds = max(_AT_LEAST_SECONDS, _TIMES * standing.longest_life)
    if seconds > MOST_SECONDS:
        notes.append(
            f"stays unproved: that it stays up beyond {MOST_SECONDS:.0f} s (it ran up to "
            f"{standing.longest_life:.0f} s before it ended)"
        )
    return CrashLoop(
        title=f"Put back what {service} of {target} worked with"
        if repair.changes
        else f"Report why {service} does not stay up",
        findings=(seen, *told(causes, repaired=bool(repair.changes)), *repair.findings),
        changes=repair.changes,
        notes=tuple(notes),
        proof_seconds=min(seconds, MOST_SECONDS),
    )


def _as_seen(service: str, standing: Standing, watched: float) -> Finding:
    broken = standing.broken
    if not broken:
        said = f"{service} stays up: no container of it ended while it was watched."
    elif any(standing.loops(one) for one in broken):
        lives = f", up to {standing.longest_life:.1f} s at a time" if standing.lives else ""
        said = f"{service} is started again and again{lives}."
    elif all(one.runs for one in broken):
        said = f"{service} runs and does not serve: what is started inside of it ends at once."
    else:
        said = f"{service} does not run."
    return Finding(
        what=said,
        how=f"the engine's `inspect` and events, watched for {watched:.0f} s at most",
        columns=("container", "state", "exit status", "started again", "health"),
        rows=tuple(_row(one) for one in standing.containers),
    )


def _row(one: ServiceContainer) -> tuple[str, ...]:
    exit_code = "" if one.runs and not one.restarts else str(one.exit_code)
    return one.name, one.status, exit_code, f"{one.restarts} times", one.health or "no check"


def _sound(
    system: System, service: str, standing: Standing, seen: Finding, remediation: str
) -> CrashLoop:
    unwell = [one.name for one in standing.containers if one.health == "unhealthy"]
    if unwell:
        advice = Finding(
            what=f"{', '.join(unwell)} runs, and its health check fails.",
            how="the engine's `inspect`",
            patch=f"remedy run repair-health-check --target {system.name} --param "
            f"service={service}",
        )
        return CrashLoop(f"Report how {service} stands", (seen, advice))
    known = system.secrets.read(record_name(service)) or {}
    (one, *others) = standing.containers
    same = {it.image for it in others} <= {one.image}
    settled = all(it.health in {"", "healthy"} for it in standing.containers)
    if not (remediation and same and settled) or not _is_application(system, standing):
        return CrashLoop(f"Report how {service} stands", (seen,))
    ran = standing.now - max(it.started for it in standing.containers)
    record = RecordSound(
        service=service,
        image=one.image,
        how=f"it ran for {ran:.0f} s, {one.health or 'without a health check'}",
        by=remediation,
        previous=known.get("by", ""),
        container=one.id,
    )
    return CrashLoop(record.title, (seen,), (record,), sound=True)


def _is_application(system: System, standing: Standing) -> bool:
    replicas = {one.name for one in system.application.replicas()}
    return {one.name for one in standing.containers} <= replicas
