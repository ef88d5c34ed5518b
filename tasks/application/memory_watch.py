"""Memory of the application, looked at again and again: each start of a process by itself."""

import time
from collections import defaultdict
from dataclasses import dataclass, field

from tasks.application.memory_told import Watched, tell, tell_ends, tell_failed
from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.platforms import targets
from tasks.platforms.processes import Process, Processes, Start

_MOST_SAMPLES = 240
_Points = list[tuple[float, float]]


@dataclass
class _Seen:
    parts: dict[Start, _Points] = field(default_factory=lambda: defaultdict(list))
    processes: dict[Process, _Points] = field(default_factory=lambda: defaultdict(list))
    looks: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    why_unseen: PreconditionFailed | None = None


@probe
def measure_growth(target: str, seconds: float, interval: float) -> tuple[Finding, ...]:
    """Watch the memory of the application, and say what grows.

    Args:
        target: Name of the target.
        seconds: How long.
        interval: Seconds between two looks; more where there would be very many.

    Returns:
        What was seen.

    Raises:
        PreconditionFailed: Nothing of the application runs.
        Transient: The engine does not answer at all.
    """
    processes = targets.load(target).processes
    before = processes.parts()
    if not before:
        raise PreconditionFailed(
            expected="a process or container that serves the application.",
            found="none runs.",
            todo="Start it, then run again.",
        )
    seen = _watch(processes, seconds, max(interval, seconds / _MOST_SAMPLES))
    after = processes.parts()
    if not seen.parts and not seen.processes:
        raise PreconditionFailed(
            expected="a process or container of the application to look at.",
            found="what was there at the beginning ended before it could be looked at.",
            todo="Look why it ends: remedy run repair-crash-loop.",
        )
    limits = {one.name: one.limit for one in (*before, *after)}
    starts = {*seen.parts, *((one.name, one.started_at) for one in (*before, *after))}
    watched = [
        *(Watched(name, "", limits.get(name, 0), each) for (name, _), each in seen.parts.items()),
        *(
            Watched(f"{one.part}: {one.program} {one.pid}", f"{one.part}: {one.program}", 0, each)
            for one, each in seen.processes.items()
        ),
    ]
    return (
        *tell(watched, seen.looks, seconds),
        *tell_ends(starts, after, seconds),
        *tell_failed(seen.failed, seen.why_unseen),
    )


def _watch(processes: Processes, seconds: float, interval: float) -> _Seen:
    seen, began = _Seen(), time.monotonic()
    while True:
        try:
            _look(processes, seen, time.monotonic() - began)
        except (PreconditionFailed, Transient) as error:
            if not seen.looks:
                raise
            seen.failed.append(error.found)  # hours of looks are not lost to a restart
        passed = time.monotonic() - began  # a look may take longer than the interval
        if passed >= seconds:
            return seen
        time.sleep(min(interval - passed % interval, seconds - passed))


def _look(processes: Processes, seen: _Seen, now: float) -> None:
    used = processes.used()
    here: list[Process] = []
    try:
        here = [] if seen.why_unseen else processes.here()
    except PreconditionFailed as error:
        if seen.looks:
            raise
        seen.why_unseen = error
    for start, amount in used.items():
        seen.parts[start].append((now, amount))
    for one in here:
        if (share := processes.share(one)) is not None:
            seen.processes[one].append((now, share))
    seen.looks.append(now)
