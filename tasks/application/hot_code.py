"""What keeps the application's processes busy: which functions, and on which lines."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tasks.application.flames import flame_graph
from tasks.application.library_use import library_use
from tasks.application.stacks import Frame, Use, read, uses
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.processes import Profile
from tasks.platforms.py_spy import ENDED

_SHOWN = 15
_FEWEST = 20  # looks; with fewer a part of them says nothing
_BUSY_CORES = 0.05
_HOT = 0.15
_WHOLE_CORE = 0.85


@probe
def find_hot_code(target: str, seconds: float, rate: int, most: int) -> tuple[Finding, ...]:
    """Look at what the busiest of the application's processes do.

    Args:
        target: Name of the target.
        seconds: For how long.
        rate: How many looks are taken in a second.
        most: How many processes are looked at.

    Returns:
        The processes, and which functions took their time.

    Raises:
        PreconditionFailed: They are on another machine, there are none, or all are closed to us.
        Transient: The platform does not answer.
    """
    processes = targets.load(target).processes
    found = processes.here()
    if not found:
        raise PreconditionFailed(
            expected=f"processes of the application of {target}.",
            found="none runs, or none can be seen from here.",
            todo="Start it (repair_crash_loop), or run the worker where it sees them.",
        )
    profiles = processes.record(found, seconds, rate, most)
    closed = [one for one in profiles if one.unread and one.unread != ENDED]
    if closed and all(one.unread for one in profiles):
        raise PreconditionFailed(
            expected=f"Python processes of {target} that can be looked at from outside.",
            found=f"{closed[0].process.program} {closed[0].process.pid}: {closed[0].unread}.",
            todo="Give the worker that right, if you want that; nothing was changed.",
        )
    return (
        _table(profiles, len(found), seconds, rate),
        *_hot(profiles),
        *limits(profiles),
    )


def _table(profiles: Sequence[Profile], found: int, seconds: float, rate: int) -> Finding:
    cores = sum(one.cores for one in profiles)
    idle = ""
    if _are_idle(profiles):
        idle = (
            f": too little to say what keeps it busy in {seconds:.0f} s. Where users waited then, "
            "it was not for its code (find_slow_queries looks at its database)"
        )
    return Finding(
        what=f"The {counted(len(profiles), 'busiest process', 'busiest processes')} of {found} of "
        f"the application used {cores:.2f} of a core{idle}.",
        how=f"py-spy, {rate} looks a second for {seconds:.0f} s, none of them stopped; names and "
        "lines only, no values",
        columns=("of", "process", "cores", "looks that saw it at work", "seen"),
        rows=tuple(
            (
                one.process.part,
                f"{one.process.program} {one.process.pid}",
                "unknown" if one.ended else f"{one.cores:.2f}",
                f"{sum(read(one.stacks, one.folder).values()):,}",
                _seen(one),
            )
            for one in profiles
        ),
    )


def _are_idle(profiles: Sequence[Profile]) -> bool:
    """Say whether they did next to nothing; what one used that ended is not known."""
    used = sum(one.cores for one in profiles)
    return used < _BUSY_CORES and not any(one.ended for one in profiles)


def _seen(one: Profile) -> str:
    if one.unread or one.ended:
        return one.unread or "until it ended meanwhile"
    return f"{one.errors} looks failed" if one.errors else "whole"


def _hot(profiles: Sequence[Profile]) -> Iterator[Finding]:
    stacks: Counter[tuple[Frame, ...]] = Counter()
    for one in profiles:
        stacks += read(one.stacks, one.folder)
    looks = sum(stacks.values())
    if looks < _FEWEST or _are_idle(profiles):
        return
    found = uses(stacks)
    yield Finding(
        what=f"In {looks:,} looks in which it was at work it was most often in "
        f"{_where(found[0])}: {found[0].own:.0%}.",
        how="own: at work in the function itself, or in C code that it called; with what it "
        "called: also while it waited for that",
        columns=("function", "where", "of", "own", "with what it called"),
        rows=tuple(
            (
                one.function,
                f"{one.file}:{one.line}",
                one.library or "the application",
                f"{one.own:.0%}",
                f"{one.total:.0%}",
            )
            for one in found[:_SHOWN]
        ),
        picture=flame_graph(stacks),
    )
    yield from _of_the_application(found)
    yield from library_use(stacks)


def _where(one: Use) -> str:
    return f"{one.function} ({one.file}:{one.line})"


def _of_the_application(found: Sequence[Use]) -> Iterator[Finding]:
    for one in found:
        if not one.library and one.own >= _HOT:
            yield Finding(
                what=f"{_where(one)} of the application itself took {one.own:.0%} of the time.",
                how="the table above",
                patch=f"{one.file}, line {one.line}: do it less often (keep what it gives), for "
                "less, or outside of the request; where C code that it calls takes the time, as "
                "the hash of a password, that may be what is wanted",
            )


def limits(profiles: Sequence[Profile]) -> Iterator[Finding]:
    """Say what no function of the application can be blamed for.

    Args:
        profiles: What was seen of processes.

    Yields:
        A finding for each that used a whole core.
    """
    for one in profiles:
        name = f"{one.process.part}: {one.process.program} {one.process.pid}"
        if one.cores >= _WHOLE_CORE:
            yield Finding(
                what=f"{name} used {one.cores:.2f} of a core.",
                how="its CPU time in /proc",
                patch="The Python code of a process uses one core at most, however many threads "
                "it has (but for a free-threaded Python): more processes serve more at the same "
                "time (scale_application), beside what is said above.",
            )
