"""Say whether the application's memory grows, how fast, and which answers need much of it."""

from typing import Annotated

from pydantic import Field

from tasks.application.memory_watch import measure_growth
from tasks.application.response_sizes import find_large_answers
from tasks.guardrails.plan import Plan, Risk
from tasks.guardrails.remediation import remediation
from tasks.platforms.targets import TargetName


@remediation(guide="Performance Issues / High Memory Usage / Optimize Application")
def find_memory_growth(
    target: TargetName,
    watch_minutes: Annotated[float, Field(gt=0, le=1440)] = 30,
    interval_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 15,
    large_kilobytes: Annotated[int, Field(ge=1, le=1_000_000)] = 1000,
) -> Plan:
    """Watch the application's memory, and say what grows, how fast, and until when it has room.

    The guide's `docker stats --no-stream` is one look, and its grep for "memory" finds what the
    application thought of logging. Here each container, and each process in it where it is on this
    machine, is looked at again and again; growth is told from a start that is over by the second
    half of the time, with an interval for its slope, and with the smallest growth that could have
    been seen. Each start is followed by itself, those that come meanwhile too: a worker that is
    made anew hides nothing. Then the access log is read for answers that are large and asked for
    without a limit: lists that nobody cuts into pages.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        watch_minutes: Minutes for which it is watched; slow growth needs hours.
        interval_seconds: Seconds between two looks; at most 240 looks are taken, and an engine
            takes a second for each container.
        large_kilobytes: From what size on an answer is large, in kilobytes.

    Changes:
        None: it reports.

    Undo:
        Nothing to take back.
    """
    return Plan(
        name="report",
        title="Report what the application's memory does",
        risk=Risk.HARMLESS,
        findings=(
            *measure_growth(target, watch_minutes * 60, interval_seconds),
            *find_large_answers(target, large_kilobytes),
        ),
    )
