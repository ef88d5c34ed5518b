"""Memory of the application over a time: sampled, judged, and told."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tasks.application.pictures import lines
from tasks.application.slopes import Course, Judged, judge
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.processes import Part, Process, Processes

_MOST_SAMPLES = 240
_MIB = 2**20
_PATCH = (
    "# What grows is found from inside, in a copy that is not production:\n"
    "import tracemalloc\n"
    "tracemalloc.start(25)\n"
    "# and after a while, from a debugging endpoint:\n"
    "for one in tracemalloc.take_snapshot().statistics('lineno')[:20]:\n"
    "    print(one)\n"
    "# Until then a worker that is made anew now and then keeps it bounded:\n"
    "# gunicorn --max-requests 1000 --max-requests-jitter 100 ...\n"
)


@dataclass
class Watched:
    """What was seen of one part or process.

    Args:
        name: Its name.
        limit: The most that it may use, 0 for no limit.
        points: Seconds since the beginning, and bytes.
    """

    name: str
    limit: int
    points: list[tuple[float, float]] = field(default_factory=list)


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
    """
    processes = targets.load(target).processes
    before = {one.name: one for one in processes.parts()}
    if not before:
        raise PreconditionFailed(
            expected="a process or container that serves the application.",
            found="none runs.",
            todo="Start it, then run again.",
        )
    parts, inside, why = _sample(processes, before, seconds, max(interval, seconds / _MOST_SAMPLES))
    after = {one.name: one for one in processes.parts()}
    watched = [one for one in (*parts.values(), *inside.values()) if one.points]
    if not watched:
        raise PreconditionFailed(
            expected="a process or container of the application to look at.",
            found="what was there at the beginning ended before it could be looked at.",
            todo="Look why it ends: remedy run repair-crash-loop.",
        )
    judged = [(one, judge(one.points)) for one in watched]
    return (
        _table(judged, seconds),
        *(_grown(one, course) for one, course in judged if course.course is Course.GROWS),
        *_ends(before, after, seconds),
        *([why] if why else []),
    )


def _sample(
    processes: Processes, before: dict[str, Part], seconds: float, interval: float
) -> tuple[dict[str, Watched], dict[Process, Watched], Finding | None]:
    parts = {name: Watched(name, one.limit) for name, one in before.items()}
    inside: dict[Process, Watched] = {}
    why: Finding | None = None
    began = time.monotonic()
    try:
        for one in processes.here():
            inside[one] = Watched(f"{one.part}: {one.program} {one.pid}", 0)
    except PreconditionFailed as error:
        why = Finding(what=f"Not seen: what each process uses. {error.found}", how=error.todo)
    while True:
        now = time.monotonic() - began
        for name, amount in processes.used().items():
            if name in parts:
                parts[name].points.append((now, amount))
        for process, watched in inside.items():
            if (share := processes.share(process)) is not None:
                watched.points.append((now, share))
        passed = time.monotonic() - began  # a look may take longer than the interval
        if passed >= seconds:
            return parts, inside, why
        time.sleep(min(interval - passed % interval, seconds - passed))


def _table(judged: Sequence[tuple[Watched, Judged]], seconds: float) -> Finding:
    grow = [one.name for one, course in judged if course.course is Course.GROWS]
    said = f"{', '.join(grow)} grow" if grow else "nothing grows that could be told from noise"
    if all(course.course is Course.TOO_SHORT for _, course in judged):
        said = "there were too few looks to tell growth from noise: watch it for longer"
    many = max(len(one.points) for one, _ in judged)
    return Finding(
        what=f"In {_span(seconds)} {said}.",
        how=f"{counted(many, 'look')}: of containers what they use without inactive page cache, of "
        "processes their share (PSS); the slope is Theil's and Sen's, of the second half of the "
        "time, with its interval of 95 %",
        columns=("what", "MiB at first", "MiB at last", "course", "MiB an hour", "interval"),
        rows=tuple(
            (
                one.name,
                f"{one.points[0][1] / _MIB:,.1f}",
                f"{one.points[-1][1] / _MIB:,.1f}",
                str(course.course),
                *_an_hour(course),
            )
            for one, course in judged
        ),
        picture=lines({one.name: one.points for one, _ in judged}, "MiB", 1 / _MIB),
    )


def _an_hour(judged: Judged) -> tuple[str, str]:
    if judged.course is Course.TOO_SHORT:
        return "", "too few looks"
    middle, low, high = (
        amount * 3600 / _MIB for amount in (judged.late.middle, judged.late.low, judged.late.high)
    )
    return f"{middle:,.1f}", f"{low:,.1f} to {high:,.1f}"


def _grown(one: Watched, judged: Judged) -> Finding:
    late, now = judged.late, one.points[-1][1]
    words = (
        f"{one.name} grew by {judged.rise / _MIB:,.1f} MiB and goes on: "
        f"{late.middle * 3600:,.0f} bytes an hour ({late.low * 3600:,.0f} to "
        f"{late.high * 3600:,.0f})."
    )
    if one.limit:
        left = max(one.limit - now, 0)
        words += (
            f" Its limit of {one.limit / _MIB:,.0f} MiB is reached in {_span(left / late.middle)} "
            f"({_span(left / late.high)} to {_span(left / late.low)})."
        )
    return Finding(what=words, how="the slope above", patch=_PATCH)


def _ends(before: dict[str, Part], after: dict[str, Part], seconds: float) -> Iterator[Finding]:
    for name, one in after.items():
        told = []
        if name in before and before[name].started_at != one.started_at:
            told.append(f"it was started anew within these {_span(seconds)}")
        if one.out_of_memory:
            told.append("its last end was for want of memory")
        if one.kills:
            told.append(
                f"{counted(one.kills, 'process', 'processes')} in it were killed for want of it"
            )
        if told:
            yield Finding(what=f"{name}: {'; '.join(told)}.", how="the engine's `inspect`, cgroups")
    for name in before.keys() - after.keys():
        yield Finding(what=f"{name} ended meanwhile.", how="the platform's list of what runs")


def _span(seconds: float) -> str:
    """Write a time as people say it."""
    for size, name in ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}s"
    return f"{seconds:,.0f} s"
