"""Why a service's container ends: from how it ended, its log, events, and what it depends on."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tasks.containers.crash_logs import Complaint, complaints
from tasks.containers.standing import LINES, Standing
from tasks.guardrails.words import counted
from tasks.platforms.containers import Containers, ServiceContainer

_NOT_EXECUTABLE, _NOT_FOUND, _KILLED, _SEGFAULT, _TERMINATED = 126, 127, 137, 139, 143
# What only another image mends, what other settings may, and what may be either.
OF_IMAGE_ALONE = frozenset({"module", "command", "crash"})
OF_SETTINGS = frozenset({"environment", "dependency"})
UNSURE = frozenset({"error", "unknown"})


@dataclass(frozen=True)
class Cause:
    """A reason for which a container does not stay up.

    Args:
        kind: 'memory', 'module', 'environment', 'credentials', 'migration', 'port', 'dependency',
            'health', 'command', 'disk', 'crash', 'ends', 'stopped', 'error' or 'unknown'.
        what: It as a sentence.
        how: What it was seen by.
        todo: What to run or to do where it is not repaired here.
        names: The variables that it names.
    """

    kind: str
    what: str
    how: str
    todo: str
    names: tuple[str, ...] = ()


def find_causes(
    containers: Containers,
    service: str,
    standing: Standing,
    project: Mapping[str, Any],
    target: str,
) -> tuple[Cause, ...]:
    """Find why a service's containers do not run, or not for long.

    Args:
        containers: The containers of the project.
        service: The service.
        standing: How its containers stand.
        project: What compose makes of its files.
        target: Name of the target, for what to run.

    Returns:
        The causes, the most certain first; each once.
    """
    found: dict[str, Cause] = {}
    for one in standing.broken:
        log = containers.log(one.id, LINES, one.started)
        said = complaints(log)
        for cause in (
            *_not_started(containers, one, target),
            *_out_of_memory(one, standing, service, target),
            *(_said(complaint, one, service, target) for complaint in said),
            *_needs(containers, service, project, one, said, target),
            *_ended(one, standing),
        ):
            found.setdefault(cause.what, cause)
        if not found:
            found[""] = _unknown(one, log)
    return tuple(found.values())


def _not_started(containers: Containers, one: ServiceContainer, target: str) -> Iterator[Cause]:
    how = f"`docker inspect {one.name}`: State.Error"
    error = one.error
    if "already allocated" in error or "address already in use" in error:
        holders = {port: containers.holders(port) for port in one.ports}
        held = {port: who for port, who in holders.items() if who}
        who = "; ".join(f"port {port}: {', '.join(names)}" for port, names in held.items())
        yield Cause(
            "port",
            f"A port of the machine that {one.name} is to be reached at is taken: "
            f"{who or 'by whom, cannot be seen from here'}.",
            f"{how}; the engine's containers, and the processes that listen",
            "End what has it, or publish another port in the compose file; then "
            f"`docker start {one.name}`.",
        )
    elif "no space left" in error:
        yield Cause("disk", "The engine has no space left.", how, _disk(target))
    elif error:
        word = one.command[0].rpartition("/")[2] if one.command else "its command"
        shown = word if word.replace("-", "").replace("_", "").replace(".", "").isalnum() else ""
        why = next(
            (
                words
                for part, words in (
                    ("not found", "there is no such program in its image"),
                    ("no such file", "there is no such program in its image"),
                    ("permission denied", "it may not be executed"),
                    ("exec format error", "it is made for another kind of processor"),
                )
                if part in error.lower()
            ),
            "the engine cannot start it",
        )
        yield Cause("command", f"Its command {shown}: {why}.", how, _by_hand(one))


def _out_of_memory(
    one: ServiceContainer, standing: Standing, service: str, target: str
) -> Iterator[Cause]:
    events = sum(1 for event in standing.events if event.what == "oom")
    if not one.out_of_memory and not events:
        return
    who = one.name if one.out_of_memory else f"a process in {one.name}"
    yield Cause(
        "memory",
        f"The kernel ended {who} for want of memory; the engine knows of "
        f"{counted(events, 'such event')}.",
        "State.OOMKilled, the engine's events `oom` (of a child's end nothing else is told)",
        _more_memory(service, target),
    )


def _said(said: Complaint, one: ServiceContainer, service: str, target: str) -> Cause:
    todo = {
        "memory": _more_memory(service, target),
        "disk": _disk(target),
        "module": "Build the image anew with what is missing in its requirements, and bring it up: "
        f"`compose build {service} && compose up -d {service}`.",
        "credentials": f"remedy run repair-database-credentials --target {target}",
        "migration": f"remedy run apply-migrations --target {target}; where the image is older "
        "than the database, bring up the image that fits it.",
        "environment": f"Set it in `.env`, then `compose up -d {service}`.",
    }.get(said.cause, _by_hand(one))
    return Cause(said.cause, said.what, f"the log of {one.name}", todo, said.names)


def _needs(
    containers: Containers,
    service: str,
    project: Mapping[str, Any],
    one: ServiceContainer,
    said: tuple[Complaint, ...],
    target: str,
) -> Iterator[Cause]:
    """Look at the services that it depends on, where it was not started or misses something."""
    if one.status != "created" and not any(it.cause in {"dependency", "error"} for it in said):
        return
    needed = project["services"][service].get("depends_on") or {}
    for name in needed:
        those = containers.of(name)
        well = [it for it in those if it.runs and it.health in {"", "healthy"}]
        if not well:
            state = ", ".join(f"{it.name} is {it.status} {it.health}".strip() for it in those)
            yield Cause(
                "needed",
                f"It depends on {name}, which is not well: {state or 'it has no container'}.",
                "`depends_on` of the compose files, the engine's `inspect`",
                f"remedy run repair-crash-loop --target {target} --param service={name} (the "
                "database: start-database)",
            )


def _ended(one: ServiceContainer, standing: Standing) -> Iterator[Cause]:
    how = f"`docker inspect {one.name}`, the engine's events"
    mine = [event for event in standing.events if event.container == one.id]
    unwell = any(event.what == "health_status: unhealthy" for event in mine)
    sent = [event for event in mine if event.what == "kill"]
    if unwell and sent:
        yield Cause(
            "health",
            f"It was called unhealthy, and somebody ended it {counted(len(sent), 'time')}.",
            how,
            f"Start it (`docker start {one.name}`), then at once remedy run repair-health-check.",
        )
    elif not one.restarts_itself and one.exit_code in (0, _TERMINATED) and one.status == "exited":
        yield Cause("stopped", f"{one.name} was stopped.", how, f"`docker start {one.name}`.")
    elif one.status == "exited" and sent and not one.restarts:
        todo = f"Ask who stopped it, then `docker start {one.name}`."
        yield Cause("stopped", f"Somebody stopped {one.name}.", how, todo)
    elif one.exit_code == 0 and not one.runs and one.status != "created":
        what = "Its command ends by itself, without an error: nothing goes on in the foreground."
        yield Cause("ends", what, how, _by_hand(one))
    elif one.exit_code in (_NOT_EXECUTABLE, _NOT_FOUND):
        what = "may not be executed" if one.exit_code == _NOT_EXECUTABLE else "is not in its image"
        what = f"A program of its command {what} (exit status {one.exit_code})."
        yield Cause("command", what, how, _by_hand(one))
    elif one.exit_code == _SEGFAULT:
        what = "It crashes in machine code (signal 11): a library that does not fit."
        yield Cause("crash", what, how, _by_hand(one))
    elif one.exit_code == _KILLED and not one.out_of_memory and not sent:
        what = "It was killed by signal 9, and not by way of its engine."
        yield Cause("unknown", what, how, "Look at the machine's kernel log: `dmesg -T`.")


def _unknown(one: ServiceContainer, log: str) -> Cause:
    lines = counted(len(log.splitlines()), "line")
    return Cause(
        "unknown",
        f"{one.name} ended with status {one.exit_code}; the {lines} of its last run say nothing "
        "that is known.",
        "inspect, events, log",
        f"Read it: `docker logs --tail 100 {one.name}` (not shown here: it may repeat values).",
    )


def _more_memory(service: str, target: str) -> str:
    return f"remedy run raise-memory-limit --target {target} --param service={service}"


def _disk(target: str) -> str:
    return f"remedy run measure-disk --target {target}, then clean-up-docker"


def _by_hand(one: ServiceContainer) -> str:
    return f"Read `docker logs --tail 100 {one.name}`, and correct what it names."
