"""What keeps the application from another number of containers, and what they would share."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import unified_diff

from tasks.application.scale_changes import SetReplicas, SetReplicasInFiles
from tasks.application.scale_checks import measure_sessions
from tasks.application.scale_room import insist_on_room
from tasks.application.scale_seen import as_seen, of_database, of_machine
from tasks.application.scale_texts import find_conflicts, with_replicas
from tasks.containers.file_edits import edited_files
from tasks.containers.meaning import differences, meaning
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding, Limit
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.definitions import Reading
from tasks.platforms.protocols import System
from tasks.platforms.scaling import Busy, Processors, Serving, replicas_said

# With less of the processors than that free, more containers do no more work.
_SATURATED_REST = 0.1
_OURS = ("container_name", "ports", "scale", "deploy.replicas")


@dataclass(frozen=True)
class Scale:
    """What is to be done for another number of containers.

    Args:
        service: The application's service.
        before: How many there are.
        findings: What was seen.
        changes: What does it; none where nothing is to do, or something is in the way.
        limits: What has to be there right before.
        notes: What the approver should know.
    """

    service: str
    before: int
    findings: tuple[Finding, ...]
    changes: tuple[SetReplicasInFiles | SetReplicas, ...] = ()
    limits: tuple[Limit, ...] = ()
    notes: tuple[str, ...] = ()


@probe
def find_scale(
    target: str, count: int, *, freed: bool, shared: Sequence[str], pool: int, keep: str
) -> Scale:
    """Find what another number of containers of the application takes, and what is in its way.

    Args:
        target: Name of the target.
        count: How many there shall be.
        freed: Whether conflicts in the compose files may be taken out of them.
        shared: Settings that all containers have to share.
        pool: Connections to the database that one worker opens at most.
        keep: Name of the secret under which an edit keeps the files' texts.

    Returns:
        What was seen, and the changes.

    Raises:
        PreconditionFailed: The containers could not share the requests, the sessions or the
            database, or the machine has no room for them.
    """
    system = targets.load(target)
    scaling, reading = system.scaling, system.definition.read()
    described, found = (
        reading.service(scaling.service, "Correct `application_service` of the target."),
        scaling.seen(),
    )
    _insist_on_serving(scaling.service, found)
    ours, theirs = find_conflicts(described, count)
    said, now = replicas_said(described), len(found)
    seen = as_seen(scaling.service, found, said)
    if said == now == count and not ours:
        return Scale(scaling.service, now, (seen,))
    _insist_on_sharing(system, count, theirs, shared)
    files = _files(system, reading, count, keep, freed=bool(ours))
    if ours and not freed:
        return Scale(scaling.service, now, (seen, _in_the_way(system, ours, count)))
    busy, sessions, processors = scaling.busy(), measure_sessions(system), scaling.processors()
    findings = (seen, *of_machine(system.memory, processors, busy), of_database(sessions, pool))
    changes: list[SetReplicasInFiles | SetReplicas] = [files] if files.files else []
    if now != count:
        changes.append(SetReplicas(service=scaling.service, before=now, after=count))
    limits = insist_on_room(system, busy, sessions, count - now, pool) if count > now else ()
    notes = tuple(_notes(system, processors, busy, ours, more=count > now))
    return Scale(scaling.service, now, findings, tuple(changes), limits, notes)


def _insist_on_serving(service: str, found: Sequence[Serving]) -> None:
    away = [one.name for one in found if not one.led]
    if away or not found:
        raise PreconditionFailed(
            expected=f"containers of {service} that all run and get requests.",
            found=f"{', '.join(away)} do not." if away else "none.",
            todo=f"Start them with `compose up -d {service}`, or find why they end; an unfinished "
            "remediation is taken up by recover_remediation.",
        )


def _insist_on_sharing(
    system: System, count: int, theirs: Sequence[str], shared: Sequence[str]
) -> None:
    """Refuse where several containers would not be as good as one."""
    scaling, problems = system.scaling, list(theirs)
    problems += scaling.obstacles()
    if count > 1:
        given = system.application.settings()
        problems += [
            f"{name} is not set: each process would make its own, and refuse the others' sessions"
            for name in shared
            if not given.get(name)
        ]
        if not scaling.reached_by_address:
            problems.append(
                "the engine is elsewhere: without a port of its host no container can "
                "be proved from here"
            )
    if problems:
        raise PreconditionFailed(
            expected=f"containers of {scaling.service} that can share the users' requests.",
            found=f"{'; '.join(problems)}.",
            state="Nothing was touched.",
            todo="Correct what is named, then run again.",
        )


def _files(
    system: System, reading: Reading, count: int, keep: str, *, freed: bool
) -> SetReplicasInFiles:
    definition, service = system.definition, system.scaling.service
    texts = definition.texts()
    new = with_replicas(texts, service, count, freed=freed)
    after = definition.read(new) if new else reading
    _insist_on_nothing_else(reading, after, service, count)
    return SetReplicasInFiles(
        files=edited_files(texts, new),
        keep=keep,
        service=service,
        before=replicas_said(reading.service(service)),
        after=count,
        freed=freed,
    )


def _insist_on_nothing_else(before: Reading, after: Reading, service: str, count: int) -> None:
    described = after.service(service)
    left, _ = find_conflicts(described, count)
    told = differences(meaning([before.whole()]), meaning([after.whole()]))
    may = tuple(f"services.{service}.{key}" for key in _OURS)
    others = [key for key in told if key not in may]
    if left or others or replicas_said(described) != count:
        raise PreconditionFailed(
            expected=f"an edit by which {service} has {counted(count, 'container')}, and no more.",
            found=f"{'; '.join(left) or ', '.join(others) or 'the number stays another'}: another "
            "file or a shared part of these says it.",
            state="Nothing was touched.",
            todo=f"Take container_name and fixed ports of {service} out by hand, and write "
            f"`deploy: {{replicas: {count}}}`; then run again.",
        )


def _in_the_way(system: System, ours: Sequence[str], count: int) -> Finding:
    service, texts = system.scaling.service, system.definition.texts()
    new = with_replicas(texts, service, count, freed=True)
    patch = [
        line
        for name, text in new.items()
        for line in unified_diff(
            texts[name].splitlines(), text.splitlines(), name, name, lineterm="", n=0
        )
    ]
    return Finding(
        what=f"`up --scale {service}={count}` fails: {'; '.join(ours)}. With resolve=nginx they "
        "are taken out of the files; users come in through nginx as before.",
        how="what compose makes of the files",
        patch="\n".join(patch),
    )


def _notes(
    system: System, processors: Processors, busy: Sequence[Busy], ours: Sequence[str], *, more: bool
) -> Iterator[str]:
    used = sum(one.cpus for one in busy)
    if more and processors.busy is not None:
        rest = processors.count - processors.busy
        if rest < _SATURATED_REST * processors.count:
            yield (
                f"the machine's processors are busy ({processors.busy:.1f} of {processors.count}, "
                f"{used:.1f} by the application): more containers share the same ones, and only a "
                "bigger machine or less work helps"
            )
    if ours:
        yield (
            "the container that there is stays as it is, with its name and its port of the host; "
            "the next `up -d` makes it anew without them, and nginx has to be reloaded then"
        )
    if not system.memory.honours_deploy:
        yield (
            "docker-compose before 1.27 heeds deploy.replicas only with `--compatibility`: the "
            "next `up` would remove containers"
        )
