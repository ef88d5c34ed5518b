"""Whether a service's containers stand: by what they are, and by what becomes of them meanwhile."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.containers.crash_logs import complaints
from tasks.platforms.containers import ContainerEvent, Containers, ServiceContainer

# From so many on a container is no one that was started again once.
AGAIN_AND_AGAIN = 2
# One that has run for so much longer than it ever did before is not called a loop any more.
_TIMES = 3
_AT_LEAST_SECONDS = 60.0
_ASK_EACH_SECONDS = 0.5
LINES = 200  # of a log
_FINAL = frozenset({"module", "environment"})
_KNOWN = _FINAL | {"migration", "credentials", "dependency", "disk"}


@dataclass(frozen=True)
class Standing:
    """How a service's containers stand.

    Args:
        containers: As they were seen last.
        events: What the engine knows to have happened to them, in order.
        lives: How long they ran between a start and an end, in seconds; the last ones.
        ended_meanwhile: Ids of those that ended while they were watched.
        inside: Ids of those that run and do not serve, as processes in them end at once.
        now: The time of the engine's machine.
    """

    containers: tuple[ServiceContainer, ...]
    events: tuple[ContainerEvent, ...]
    lives: tuple[float, ...]
    ended_meanwhile: frozenset[str]
    inside: frozenset[str]
    now: float

    @property
    def longest_life(self) -> float:
        """How long it ran at most before it ended, 0 where it never ended."""
        return max(self.lives, default=0.0)

    def loops(self, one: ServiceContainer) -> bool:
        """Say whether a container is started again and again."""
        if one.status == "restarting" or one.id in self.ended_meanwhile:
            return True
        runs_since = self.now - one.started
        quiet = max(_AT_LEAST_SECONDS, _TIMES * self.longest_life)
        return one.runs and one.restarts >= AGAIN_AND_AGAIN and runs_since < quiet

    @property
    def broken(self) -> tuple[ServiceContainer, ...]:
        """The containers that do not run, or not for long."""
        return tuple(
            one
            for one in self.containers
            if (not one.runs or one.id in self.inside or self.loops(one)) and one not in self.older
        )

    @property
    def older(self) -> tuple[ServiceContainer, ...]:
        """Those that had ended before another one was started: it has taken their place."""
        newest = max((one.started for one in self.containers), default=0.0)
        return tuple(
            one for one in self.containers if one.status == "exited" and one.finished < newest
        )


def watch(containers: Containers, service: str, seconds: float) -> Standing:
    """Look at a service's containers for a while; no longer than one needs to end.

    Args:
        containers: The containers of the project.
        service: The service.
        seconds: For how long.
    """
    deadline = time.monotonic() + seconds
    first = {one.id: one for one in containers.of(service)}
    while True:
        seen = containers.of(service)
        ended = frozenset(one.id for one in seen if _ended(one, first))
        inside = frozenset(one.id for one in seen if _ends_inside(containers, one))
        # One that waits to be started again is seen to end, with the events of that.
        idle = not any(one.runs or one.status == "restarting" for one in seen)
        if ended or inside or idle or time.monotonic() >= deadline:
            break
        time.sleep(_ASK_EACH_SECONDS)
    events = containers.events(service)
    return Standing(
        containers=tuple(seen),
        events=tuple(events),
        lives=lives_of(events, seen),
        ended_meanwhile=ended,
        inside=inside,
        now=containers.now(),
    )


def _ends_inside(containers: Containers, one: ServiceContainer) -> bool:
    """Say whether a container runs, and what it starts inside does not: as workers of a server."""
    if not one.runs or one.health not in ("unhealthy", "starting"):
        return False
    said = {it.cause for it in complaints(containers.log(one.id, LINES, one.started))}
    # While it starts it may well wait for others.
    return bool(said & (_FINAL if one.health == "starting" else _KNOWN))


def _ended(one: ServiceContainer, before: dict[str, ServiceContainer]) -> bool:
    was = before.get(one.id)
    return (
        was is not None
        and was.runs
        and (one.started, one.restarts)
        != (
            was.started,
            was.restarts,
        )
    )


def lives_of(
    events: Sequence[ContainerEvent], seen: Sequence[ServiceContainer]
) -> tuple[float, ...]:
    """Measure how long containers ran before they ended by themselves.

    Args:
        events: What the engine knows of.
        seen: The containers that there are: of others nobody asks any more.

    Returns:
        Seconds, in order.
    """
    known, begun, found = {one.id for one in seen}, dict[str, float](), list[float]()
    for event in events:
        if event.container not in known:
            continue
        if event.what == "start":
            begun[event.container] = event.at
        elif event.what == "kill":  # somebody ended it
            begun.pop(event.container, None)
        elif event.what == "die" and event.container in begun:
            found.append(event.at - begun.pop(event.container))
    if not found:
        found = [
            one.finished - one.started
            for one in seen
            if not one.runs and one.finished > one.started > 0
        ]
    return tuple(found)
