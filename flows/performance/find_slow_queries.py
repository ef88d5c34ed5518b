"""Say which queries take the most time, why, and what to do about each."""

import enum
from typing import Annotated

from pydantic import Field

from tasks.application.answers import ApplicationAnswers
from tasks.application.serves import ApplicationServes
from tasks.database.queries.extensions import CreateExtension
from tasks.database.queries.query_log import LogSlowStatements
from tasks.database.queries.slow_log import find_log, measure_log
from tasks.database.queries.slow_statistics import (
    describe_missing,
    inspect_counting,
    measure_queries,
)
from tasks.database.queries.statements import EXTENSION
from tasks.guardrails.plan import Effects, Finding, Plan, Risk, Stage, StageOutline
from tasks.guardrails.remediation import remediation
from tasks.platforms import targets
from tasks.platforms.targets import TargetName

_REPORT = StageOutline(
    name="report", title="Report the queries that take the most time", risk=Risk.HARMLESS
)


class Source(enum.StrEnum):
    """Where it is looked up what is slow."""

    BEST = "best"
    STATISTICS = "statistics"
    LOG = "log"


@remediation(guide="Performance Issues / Slow Database Queries / Optimize Queries")
def find_slow_queries(
    target: TargetName,
    watch_seconds: Annotated[int, Field(ge=0, le=3600)] = 0,
    slower_than_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 1000,
    source: Source = Source.BEST,
) -> Plan:
    """Rank the queries by the time that they take, and say of each what is wrong with it.

    The guide restarts the database to have slow statements logged, and leaves that on. Here
    pg_stat_statements is asked, which counts all of them: a query of 2 ms that is run a million
    times is above one of 5 s that was run once. Where it is missing, slow statements are logged
    for a while, by a reload. Of each query it is said what its plan does (nothing is executed for
    that), whether it is run once for each row of another, gives everything, or sorts on disk. No
    literal of a statement is shown.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        watch_seconds: Seconds for which it is watched what comes; 0 for all that was counted
            before. Nothing else is done on the target meanwhile where the log is used.
        slower_than_ms: Milliseconds; with the log, statements that take less are not seen. Where
            the server's disk cannot be measured, less than 100 is taken for 300 s at most.
        source: "statistics": pg_stat_statements; "log": the server's log; "best": statistics,
            and the log where these cannot be had and watch_seconds is given.

    Changes:
        None where pg_stat_statements is there. Where the server runs with it and the maintenance
        user may, the extension is created in the database. With the log,
        log_min_duration_statement is set by ALTER SYSTEM, and put back after watch_seconds; what
        was logged stays in the server's log, with its literals. Both wait for an approval.

    Undo:
        The extension is dropped. The setting is put back before the remediation ends, also where
        it is stopped in between.
    """
    statistics = inspect_counting(target)
    if statistics.usable and source is not Source.LOG:
        found = measure_queries(target, watch_seconds)
        return Plan(name="report", title=_REPORT.title, risk=Risk.HARMLESS, findings=found)
    name = targets.load(target).database.name
    missing = describe_missing(statistics, name)
    if statistics.may_install and source is not Source.LOG:
        return Plan(
            name="install",
            title=f"Install {EXTENSION}, then report",
            risk=Risk.DISRUPTIVE,
            findings=missing,
            changes=(CreateExtension(name=EXTENSION, database=name),),
            checks=(ApplicationAnswers(),),
            watches=(ApplicationServes(),),
            effects=Effects(locks="none that anybody meets: views and functions are added"),
            notes=(
                f"Who may read all statistics sees statements of every role in {EXTENSION}.",
                "Before PostgreSQL 16 utility statements are there with their literals.",
            ),
            later=(_REPORT,),
        )
    if source is Source.STATISTICS or (source is Source.BEST and not watch_seconds):
        hint = _hint() if source is Source.BEST else ()
        return _say((*missing, *hint))
    return _plan_log(target, watch_seconds, slower_than_ms, missing)


def _say(findings: tuple[Finding, ...]) -> Plan:
    return Plan(name="report", title="Say what is missing", risk=Risk.HARMLESS, findings=findings)


def _hint() -> tuple[Finding, ...]:
    return (
        Finding(
            what="Meanwhile the server can log its slow statements.",
            how="log_min_duration_statement",
            patch="find_slow_queries source=log watch_seconds=300 slower_than_ms=250",
        ),
    )


def _plan_log(
    target: str, watch_seconds: int, slower_than_ms: int, missing: tuple[Finding, ...]
) -> Plan:
    log = find_log(target, watch_seconds, slower_than_ms)
    if log.place is None:
        return _say((*missing, *log.findings))
    if not log.changes:  # logged already
        start = log.place if watch_seconds else log.place.model_copy(update={"offset": 0})
        found = measure_log(target, start, slower_than_ms, watch_seconds)
        return Plan(
            name="report",
            title=_REPORT.title,
            risk=Risk.HARMLESS,
            findings=(*found, *missing),
        )
    return Plan(
        name="log",
        title=f"Log statements of more than {slower_than_ms:,} ms for {watch_seconds:,} s",
        risk=Risk.DISRUPTIVE,
        findings=(*missing, *log.findings),
        changes=log.changes,
        checks=(ApplicationAnswers(),),
        watches=(ApplicationServes(),),
        effects=Effects(
            duration=f"{watch_seconds:,} s",
            lost="nothing; the log gets the text of each slow statement with its literals, "
            "personal data among them, and keeps it for whoever may read the log",
        ),
        notes=(
            "The reload loads whatever else was changed in the server's configuration files.",
            "It stops early where the server's disk fills up."
            if log.measured
            else "How much room the server's disk has cannot be measured from here: look at it "
            "while statements are logged.",
        ),
        later=(_REPORT,),
    )


@find_slow_queries.stage("report")
def report(
    earlier: tuple[Stage, ...],
    target: TargetName,
    watch_seconds: int,
    slower_than_ms: int,
    source: Source,
) -> Stage:
    """Report what was counted, or logged."""
    del source
    logged = [one for one in earlier[0].changes if isinstance(one, LogSlowStatements)]
    return Stage(
        name=_REPORT.name,
        title=_REPORT.title,
        risk=Risk.HARMLESS,
        findings=measure_log(target, logged[0].place, slower_than_ms)
        if logged
        else measure_queries(target, watch_seconds),
    )
