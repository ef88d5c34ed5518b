"""What keeps the application's processes busy: which functions, and on which lines."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tasks.application.flames import flame_graph
from tasks.application.stacks import PYTHON, Frame, Use, read, uses
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
_HOT, _IN_LIBRARY = 0.15, 0.3
_ADVICE = {
    "sqlalchemy": "it makes objects of rows: fetch fewer rows or columns (find_slow_queries names "
    "the queries)",
    "pydantic": "it checks and copies data: smaller answers (find_memory_growth names large ones)",
    "fastapi": "it turns answers into JSON: smaller answers (find_memory_growth names large ones)",
    "jinja2": "it renders templates: keep what they give, or compile them once",
    "logging": "it writes its log: a higher level, or fewer lines for a request",
}


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
    closed = [one.unread for one in profiles if one.unread and one.unread != ENDED]
    if closed and all(one.unread for one in profiles):
        raise PreconditionFailed(
            expected=f"Python processes of {target} that can be looked at from outside.",
            found=f"{profiles[0].process.program}: {closed[0]}.",
            todo="Give the worker that right, if you want that; nothing was changed.",
        )
    return (_table(profiles, len(found), seconds, rate), *_hot(profiles))


def _table(profiles: Sequence[Profile], found: int, seconds: float, rate: int) -> Finding:
    cores = sum(one.cores for one in profiles)
    idle = f": too little to say what keeps it busy in {seconds:.0f} s" * (cores < _BUSY_CORES)
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
                f"{one.cores:.2f}",
                f"{sum(read(one.stacks, one.folder).values()):,}",
                one.unread or (f"{one.errors} looks failed" if one.errors else "whole"),
            )
            for one in profiles
        ),
    )


def _hot(profiles: Sequence[Profile]) -> Iterator[Finding]:
    stacks: Counter[tuple[Frame, ...]] = Counter()
    for one in profiles:
        stacks += read(one.stacks, one.folder)
    looks = sum(stacks.values())
    if looks < _FEWEST or sum(one.cores for one in profiles) < _BUSY_CORES:
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
    yield from _of_libraries(stacks)


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


def _of_libraries(stacks: Counter[tuple[Frame, ...]]) -> Iterator[Finding]:
    """Name the libraries in which most of it was at work, with who of the application called."""
    looks, parts = sum(stacks.values()), Counter[str]()
    callers: dict[str, Counter[Frame]] = {}
    for frames, count in stacks.items():
        for library in {one.library for one in frames} & _ADVICE.keys():
            parts[library] += count
            place = next(n for n, one in enumerate(frames) if one.library == library)
            mine = [one for one in frames[:place] if not one.library]
            if mine:
                callers.setdefault(library, Counter())[mine[-1]] += count
    for library, count in parts.most_common():
        caller = callers.get(library)
        if count < looks * _IN_LIBRARY or library == PYTHON or caller is None:
            continue
        by = caller.most_common(1)[0][0]
        yield Finding(
            what=f"{count / looks:.0%} of the time went into {library}, most of it called by "
            f"{by.function} ({by.file}:{by.line}).",
            how="the stacks of the flame graph",
            patch=_ADVICE[library],
        )
