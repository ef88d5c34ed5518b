"""Say which queries take the most time, why, and what to do about each."""

from typing import Annotated

from pydantic import Field

from tasks.application.answers import ApplicationAnswers
from tasks.application.serves import ApplicationServes
from tasks.database.extensions import CreateExtension
from tasks.database.slow_statistics import describe_missing, inspect_counting, measure_queries
from tasks.database.statements import EXTENSION
from tasks.guardrails.plan import Effects, Plan, Risk, Stage, StageOutline
from tasks.guardrails.remediation import remediation
from tasks.platforms import targets
from tasks.platforms.targets import TargetName

_REPORT = StageOutline(
    name="report", title="Report the queries that take the most time", risk=Risk.HARMLESS
)


@remediation(guide="Performance Issues / Slow Database Queries / Diagnosis")
def find_slow_queries(
    target: TargetName, watch_seconds: Annotated[int, Field(ge=0, le=3600)] = 0
) -> Plan:
    """Rank the queries by the time that they take, and say of each what is wrong with it.

    The guide restarts the database to have slow statements logged, and looks at each by itself.
    Here pg_stat_statements is asked, which has counted all of them: a query of 2 ms that is run a
    million times is above one of 5 s that was run once. Of each it is said what its plan does
    (nothing is executed for that), whether it is run once for each row of another, gives
    everything, or sorts on disk. No literal of a statement is shown.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        watch_seconds: Seconds for which it is watched what comes; 0 for all since it counts.

    Changes:
        None where pg_stat_statements is there. Where the server runs with it and the maintenance
        user may, the extension is created in the database.

    Undo:
        The extension is dropped.
    """
    statistics = inspect_counting(target)
    if statistics.usable:
        findings = measure_queries(target, watch_seconds)
        return Plan(name="report", title=_REPORT.title, risk=_REPORT.risk, findings=findings)
    database = targets.load(target).database.name
    missing = describe_missing(statistics, database)
    if not (statistics.preloaded and statistics.may_create and not statistics.schema_name):
        return Plan(name="report", title="Say what is missing", risk=_REPORT.risk, findings=missing)
    return Plan(
        name="install",
        title=f"Install {EXTENSION}, then report",
        risk=Risk.HARMLESS,
        findings=missing,
        changes=(CreateExtension(name=EXTENSION, database=database),),
        checks=(ApplicationAnswers(),),
        watches=(ApplicationServes(),),
        effects=Effects(locks="none that anybody meets: the extension's own views are made"),
        later=(_REPORT,),
    )


@find_slow_queries.stage("report")
def report(earlier: tuple[Stage, ...], target: TargetName, watch_seconds: int) -> Stage:
    """Report what was counted."""
    del earlier
    return Stage(
        name=_REPORT.name,
        title=_REPORT.title,
        risk=_REPORT.risk,
        findings=measure_queries(target, watch_seconds),
    )
