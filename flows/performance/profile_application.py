"""Say which functions keep the application busy, while it runs on."""

from typing import Annotated

from pydantic import Field

from tasks.application.hot_code import find_hot_code
from tasks.guardrails.plan import Plan, Risk
from tasks.guardrails.remediation import remediation
from tasks.platforms.targets import TargetName


@remediation(guide="Performance Issues / High CPU Usage / Optimize Code")
def profile_application(
    target: TargetName,
    seconds: Annotated[float, Field(ge=1, le=600)] = 30,
    rate: Annotated[int, Field(ge=1, le=200)] = 50,
    processes: Annotated[int, Field(ge=1, le=16)] = 4,
) -> Plan:
    """Say which functions and lines keep the application busy, with a flame graph.

    The guide says to profile it, and not how: its `docker stats` and `top` name a process and no
    function, and a profiler in the code, as cProfile, takes a new image and a restart, by which
    what was to be seen is over. Here the processes that run are looked at from
    outside, some times a second for a bounded time, without stopping them: which calls were at
    work, in the application's own code and in libraries. Names of functions, files and lines are
    read, no values.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        seconds: Seconds for which it is looked at; while users find it slow.
        rate: Looks in a second at each process; more costs more of a core.
        processes: How many processes are looked at, the busiest first.

    Changes:
        None: it reports.

    Undo:
        Nothing to take back.
    """
    return Plan(
        name="report",
        title="Report what keeps the application busy",
        risk=Risk.HARMLESS,
        findings=find_hot_code(target, seconds, rate, processes),
    )
