"""The stages that apply revisions to live, planned from what their rehearsal measured."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from tasks.database.migrations.applying import ApplyRevision
from tasks.database.migrations.locks import LOCK_TIMEOUT
from tasks.database.migrations.measured import Measured, from_text
from tasks.database.migrations.pending import Pending
from tasks.database.migrations.rehearsing import RehearseRevision
from tasks.database.migrations.scripts import Script
from tasks.database.schema.revision import read_revisions
from tasks.database.schema.settings import settings_of
from tasks.guardrails.errors import WorldMoved
from tasks.guardrails.plan import Answer, Check, Effects, Finding, Stage, Verdict, Work
from tasks.guardrails.remediation import seen_so_far
from tasks.guardrails.words import counted
from tasks.platforms import targets

# Rehearsed revisions in order, each with what it took.
Revisions = tuple[tuple[RehearseRevision, Measured], ...]
_TIMES = 3.0  # what the rehearsal measured had the server for itself
_LEAST_CUT_SECONDS, _LEAST_STATEMENT_SECONDS = 0.8, 60.0
_ENDING_SECONDS = 0.2  # until it is seen that others wait, and they go on


class SchemaIsAt(Check):
    """The live database says that it is at a revision.

    Args:
        revision: The revision.
    """

    kind: ClassVar[str] = "database.schema_is_at"

    revision: str

    @property
    def title(self) -> str:
        """The claim."""
        return f"the schema is at revision {self.revision}"

    def ask(self, work: Work) -> Answer:
        """Read the version table."""
        system = targets.load(work.target)
        with system.database.connect() as session:
            found = read_revisions(session, settings_of(system).version_table) or ()
        held = Verdict.HELD if found == (self.revision,) else Verdict.NOT_HELD
        return Answer(held, f"it is at {', '.join(found) or 'no revision'}")


@dataclass(frozen=True)
class Rehearsed:
    """The rehearsed revisions, those that stall nobody for long before the first that does.

    Args:
        plain: What can be applied with hardly a stall.
        slow: From the first on that stalls users for longer, or was not measured, or whose
            copy had another schema than live.
    """

    plain: Revisions
    slow: Revisions


def read_rehearsal(target: str, rehearsed: Stage) -> Rehearsed:
    """Read from the ledger what the rehearsal measured.

    Args:
        target: Name of the target, which says how long users may wait for a revision.
        rehearsed: The first stage as it was carried out.

    Returns:
        The revisions with what each took.
    """
    found = {
        one.revision: one for seen in seen_so_far(RehearseRevision.kind) for one in from_text(seen)
    }
    every = [
        (one, found.get(one.after, Measured(revision=one.after)))
        for one in rehearsed.changes
        if isinstance(one, RehearseRevision)
    ]
    longest = settings_of(targets.load(target)).longest_stall_seconds
    first = next(
        (at for at, (_, one) in enumerate(every) if _is_slow(one, longest)),
        len(every),
    )
    return Rehearsed(tuple(every[:first]), tuple(every[first:]))


def _is_slow(measured: Measured, longest: float) -> bool:
    stall = measured.stall
    return stall is None or stall > longest or bool(measured.differs)


def insist_on(pending: Pending, scripts: Mapping[str, Script], revisions: Revisions) -> None:
    """Make sure that what was rehearsed is still what is pending.

    Args:
        pending: What is pending now.
        scripts: The revisions as SQL, as they are now.
        revisions: What was rehearsed.

    Raises:
        WorldMoved: Somebody has migrated since, or the application is another version.
    """
    wanted = tuple(one.after for one, _ in revisions)
    now = tuple(one.name for one in pending.revisions)
    if wanted and now[: len(wanted)] != wanted:
        raise WorldMoved(
            expected=f"revisions {', '.join(wanted)} to be pending, as they were rehearsed.",
            found=f"{pending.live} is at {', '.join(pending.current or ()) or 'no revision'}; "
            f"pending: {', '.join(now) or 'none'}.",
            state="Nothing more was applied.",
            todo="Find out who migrated, then run again.",
        )
    others = [
        one.after for one, _ in revisions if one.script not in {"", scripts[one.after].digest}
    ]
    if others:
        raise WorldMoved(
            expected="revisions that do what they did in their rehearsal.",
            found=f"{', '.join(others)}: not as rehearsed any more.",
            state="Nothing more was applied.",
            todo="Find out who deployed another version of the application, then run again.",
        )


def plan_applying(target: str, revisions: Revisions) -> tuple[ApplyRevision, ...]:
    """Plan the revisions one after the other, each with the bounds that its rehearsal gives."""
    longest = settings_of(targets.load(target)).longest_stall_seconds
    changes = []
    for index, (one, measured) in enumerate(revisions):
        cut_after, statement_seconds = bounds(measured, longest)
        changes.append(
            ApplyRevision(
                needs=(ApplyRevision.kind,) if index else (),
                live=one.live,
                before=one.before,
                after=one.after,
                in_transaction=one.in_transaction,
                script=one.script,
                cut_after=cut_after,
                statement_seconds=statement_seconds,
            )
        )
    return tuple(changes)


def bounds(measured: Measured, longest_stall_seconds: float) -> tuple[float, float]:
    """Give the bounds that a rehearsal sets for the same in live.

    Args:
        measured: What it took there.
        longest_stall_seconds: How long others may wait for it in any case.

    Returns:
        Seconds that others may wait for it, and seconds that one of its statements may take.
    """
    stall, seconds = measured.stall or 0.0, measured.seconds or 0.0
    return (
        max(_LEAST_CUT_SECONDS, longest_stall_seconds - _ENDING_SECONDS, _TIMES * stall),
        max(_LEAST_STATEMENT_SECONDS, _TIMES * seconds),
    )


def describe_rehearsal(
    revisions: Revisions,
) -> tuple[Finding, ...]:
    """Say what each revision took on the copy, and which locks it held there."""
    measured = [one for _, one in revisions]
    found = [
        Finding(
            what="As rehearsed on a copy, which nobody else used; in live it takes at least that.",
            how="pg_locks of its session, 100 times a second, until its transaction ended",
            columns=("revision", "at work", "users wait", "locks"),
            rows=tuple(
                (
                    one.revision,
                    "not measured" if one.seconds is None else f"{one.seconds:.2f} s",
                    "unknown" if one.stall is None else f"{one.stall:.2f} s",
                    "; ".join(held.sentence for held in one.held) or "none on a table of before",
                )
                for one in measured
            ),
        )
    ]
    if differing := [one for one in measured if one.differs]:
        first = differing[0]
        found.append(
            Finding(
                what=f"The schema of live is not the one that {first.revision} was rehearsed on: "
                f"{first.differs}. Part of a revision may have been made by hand.",
                how="both schemas compared, object by object, at the same revision",
            )
        )
    return tuple(found)


def forecast(revisions: Revisions) -> Effects:
    """Say what users notice, from what was measured."""
    stalls = [held for _, one in revisions for held in one.held if held.stalls]
    unknown = [one.revision for _, one in revisions if one.stall is None]
    longest = max((one.seconds for one in stalls), default=0.0)
    outage = f"up to {longest:.2f} s on a table, as measured, and 0.3 s for each attempt at a lock"
    if unknown:
        outage += f"; unknown for {', '.join(unknown)}, which was not measured"
    return Effects(
        outage=outage,
        locks="; ".join(one.sentence for one in stalls[:10]) or "none that users wait for",
        duration=f"about {sum(one.seconds or 0 for _, one in revisions):.1f} s at work",
        lost="what a revision drops or rewrites; it is not brought back by an undo",
    )


def notes() -> tuple[str, ...]:
    """Say what holds for every revision that is applied."""
    return (
        f"each revision is a run of Alembic by itself; lock_timeout {LOCK_TIMEOUT}, proved before",
        "a revision that gets no lock is rolled back, and tried again for 5 minutes",
        "the application runs on: a revision that drops or renames what it uses breaks it",
        "what is applied stays, also where a later one fails; there is no automatic downgrade",
    )


def title_of(revisions: Revisions, live: str) -> str:
    """Name a stage."""
    if not revisions:
        return "No revision of this sort is pending"
    return f"Apply {counted(len(revisions), 'revision')} to {live}, one at a time"
