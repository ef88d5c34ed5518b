"""What was seen of the application's memory, as findings."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tasks.application.pictures import lines
from tasks.application.slopes import Course, Judged, judge
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.words import counted
from tasks.platforms.processes import Part, Start

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


@dataclass(frozen=True)
class Watched:
    """What was seen of one start of a part or process.

    Args:
        name: Its name; the same for another start of it.
        program: Part and program of a process, '' for a part.
        limit: The most that it may use, 0 for no limit.
        points: Seconds since the beginning, and bytes.
    """

    name: str
    program: str
    limit: int
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True)
class _Row:
    label: str
    one: Watched
    judged: Judged
    looks: Sequence[float]

    @property
    def came_later(self) -> bool:
        return self.one.points[0][0] > self.looks[0]

    @property
    def went(self) -> bool:
        return self.one.points[-1][0] < self.looks[-1]

    @property
    def is_brief(self) -> bool:
        """Say whether it was seen too few times, as what a health check starts."""
        once = self.one.program != "" and len(self.one.points) == 1
        return (self.came_later or once) and self.judged.course is Course.TOO_SHORT


def tell(watched: Sequence[Watched], looks: Sequence[float], seconds: float) -> Iterator[Finding]:
    """Say what grows, and what came and went meanwhile.

    Args:
        watched: Each start that was seen.
        looks: When it was looked, in seconds since the beginning.
        seconds: How long.
    """
    rows = [
        _Row(label, one, judge(one.points), looks)
        for label, one in zip(_labels(watched), watched, strict=True)
        if one.points
    ]
    told = [row for row in rows if not row.is_brief]
    yield _table(told, len(looks), seconds)
    yield from (_grown(row) for row in told if row.judged.course is Course.GROWS)
    yield from _came_and_went(rows)


def _labels(watched: Sequence[Watched]) -> Iterator[str]:
    many, so_far = Counter(one.name for one in watched), Counter[str]()
    for one in watched:
        so_far[one.name] += 1
        start = f", start {so_far[one.name]} of {many[one.name]}"
        yield one.name + (start if many[one.name] > 1 else "")


def _table(rows: Sequence[_Row], looks: int, seconds: float) -> Finding:
    grow = [row.label for row in rows if row.judged.course is Course.GROWS]
    said = f"{', '.join(grow)} grow" if grow else "nothing grows that could be told from noise"
    seen_from = [row.judged.seen_from for row in rows if row.judged.course is not Course.TOO_SHORT]
    if seen_from:
        said += f"; less than {_rate(max(seen_from))} MiB an hour might not have been seen"
    else:
        said = "there were too few looks to tell growth from noise: watch it for longer"
    return Finding(
        what=f"In {_span(seconds)} {said}.",
        how=f"{counted(looks, 'look')}: of containers what they use without inactive page cache, "
        "of processes their share (PSS), of each start by itself; the slope is Theil's and Sen's, "
        "of the second half of its time, with its interval of 95 %; 'seen from' is the slope that "
        "the same noise would not have hidden",
        columns=(
            *("what", "MiB at first", "MiB at last", "course", "MiB an hour", "interval"),
            *("seen from", "watched"),
        ),
        rows=tuple(
            (
                row.label,
                f"{row.one.points[0][1] / _MIB:,.1f}",
                f"{row.one.points[-1][1] / _MIB:,.1f}",
                str(row.judged.course),
                *_an_hour(row.judged),
                f"{row.one.points[0][0]:,.0f} to {row.one.points[-1][0]:,.0f} s",
            )
            for row in rows
        ),
        picture=lines({row.label: row.one.points for row in rows}, "MiB", 1 / _MIB),
    )


def _an_hour(judged: Judged) -> tuple[str, str, str]:
    if judged.course is Course.TOO_SHORT:
        return "", "too few looks", ""
    late = judged.late
    middle, low, high = (amount * 3600 / _MIB for amount in (late.middle, late.low, late.high))
    return f"{middle:,.1f}", f"{low:,.1f} to {high:,.1f}", _rate(judged.seen_from)


def _rate(bytes_a_second: float) -> str:
    """Write a slope in MiB an hour; a small one with two digits, as rounded it would be none."""
    amount = bytes_a_second * 3600 / _MIB
    return f"{amount:,.1f}" if amount >= 1 else f"{amount:.2g}"


def _grown(row: _Row) -> Finding:
    late, now = row.judged.late, row.one.points[-1][1]
    words = (
        f"{row.label} grew by {row.judged.rise / _MIB:,.1f} MiB and goes on: "
        f"{late.middle * 3600:,.0f} bytes an hour ({late.low * 3600:,.0f} to "
        f"{late.high * 3600:,.0f})."
    )
    if row.one.limit:
        left = max(row.one.limit - now, 0)
        words += (
            f" Its limit of {row.one.limit / _MIB:,.0f} MiB is reached in "
            f"{_span(left / late.middle)} ({_span(left / late.high)} to {_span(left / late.low)})."
        )
    return Finding(what=words, how="the slope above", patch=_PATCH)


def _came_and_went(rows: Sequence[_Row]) -> Iterator[Finding]:
    brief = Counter(row.one.program for row in rows if row.is_brief)
    began = Counter(row.one.program for row in rows if row.came_later and not row.is_brief)
    ended = Counter(row.one.program for row in rows if row.went and not row.is_brief)
    programs = sorted({*began, *ended, *brief} - {""})
    if programs:
        yield Finding(
            what="Processes came and went: growth of one that is made anew is seen in its "
            "container, and as far as each of them lived.",
            how="number and start of each process; brief ones were seen too few times to be judged",
            columns=("program", "ended", "began", "brief"),
            rows=tuple(
                (one, str(ended[one]), str(began[one]), str(brief[one])) for one in programs
            ),
        )


def tell_ends(starts: Iterable[Start], after: Sequence[Part], seconds: float) -> Iterator[Finding]:
    """Say what was restarted, ended, or was killed for want of memory.

    Args:
        starts: Each start that was seen of the parts, once.
        after: The parts at the end.
        seconds: How long it was looked.
    """
    many = Counter(name for name, _ in starts)
    for one in after:
        told = []
        if many[one.name] > 1:
            times = counted(many[one.name] - 1, "time")
            told.append(f"it was restarted {times} within these {_span(seconds)}, as far as seen")
        if one.out_of_memory:
            told.append("its last end was for want of memory")
        if one.kills:
            told.append(
                f"{counted(one.kills, 'process', 'processes')} in it were killed for want of it"
            )
        if told:
            what = f"{one.name}: {'; '.join(told)}."
            yield Finding(what=what, how="the engine's `inspect`, cgroups, starts of processes")
    for name in sorted(many.keys() - {one.name for one in after}):
        yield Finding(what=f"{name} ended meanwhile.", how="the platform's list of what runs")


def tell_failed(failed: Sequence[str], unseen: PreconditionFailed | None) -> Iterator[Finding]:
    """Say what could not be looked at.

    Args:
        failed: Why a look failed, for each that did.
        unseen: Why no process was looked at, None where they were.
    """
    if failed:
        what = f"{counted(len(failed), 'look')} failed, and the others went on: {failed[-1]}"
        yield Finding(what=what, how="the last failure's reason")
    if unseen:
        yield Finding(what=f"Not seen: what each process uses. {unseen.found}", how=unseen.todo)


def _span(seconds: float) -> str:
    """Write a time as people say it."""
    for size, name in ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {name}s"
    return f"{seconds:,.0f} s"
