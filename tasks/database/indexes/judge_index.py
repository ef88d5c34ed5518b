"""Keeping an index only where the planner's estimates say that it helps."""

from typing import ClassVar

from tasks.database.indexes.changes import drop_concurrently, insist_that_nobody_builds
from tasks.database.indexes.costs import Measured, plan_or_none, read_unjudged
from tasks.database.indexes.create_index import CreateIndex
from tasks.database.indexes.made import Made, find_made, write_comment
from tasks.database.marks import Mark, mark_text, read_mark
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Database

# Less than a fifth saved does not pay for what each write to the table costs from then on.
MOST_COST_LEFT = 0.8
_KEPT, _USELESS = "kept", "useless"


class JudgeIndex(Change):
    """Plan the queries again that an index was made for: keep it if it helps, else drop it.

    They are compared with what they cost right before it was built, as its comment says; where
    nobody knows that any more, with what they cost when it was planned. What was decided is written
    into the index's comment before it is carried out.

    Args:
        schema_name: Schema of the index.
        name: Its name.
        table: Its table's name.
        on: Table and columns, as people write them.
        queries: The queries that it was made for, with what they cost when it was planned.
    """

    kind: ClassVar[str] = "database.judge_index"
    permissions: ClassVar[tuple[str, ...]] = ("postgresql:MEMBER OF owner",)
    reverts: ClassVar[Reverts] = "pointless"

    schema_name: str
    name: str
    table: str
    on: str
    queries: tuple[Measured, ...]
    needs: tuple[str, ...] = (CreateIndex.kind,)

    @property
    def title(self) -> str:
        """What the change does."""
        return f"keep index {self.name} if it helps, else drop it"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"index {self.schema_name}.{self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return (
            f"nobody has seen whether {self.name} helps",
            f"the planner uses it and a query costs {1 - MOST_COST_LEFT:.0%} less; or it is gone",
        )

    def observe(self, work: Work) -> Observed:
        """Read in its comment what was decided."""
        with targets.load(work.target).database.connect() as session:
            made = find_made(session, self.schema_name, self.name)
        if made is None:
            what = "it did not help" if work.begun_at else "there is none of ours to judge"
            return Observed(Standing.AFTER, f"{self.name} is not there: {what}")
        state = self._state(made, work)
        if state == _KEPT and made.valid:
            return Observed(Standing.AFTER, made.comment.partition(": ")[2])
        if state == _USELESS or not made.valid:
            return Observed(Standing.HALF, f"{self.name} does not help, and is still there")
        return Observed(Standing.BEFORE, f"{self.name} is there, and nobody has judged it")

    def _state(self, made: Made, work: Work) -> str:
        mark = read_mark(made.comment)
        return mark.state if mark and mark.remediation == work.remediation else ""

    def apply(self, work: Work) -> str:
        """Plan its queries again; write down what comes of it, and do it."""
        database = targets.load(work.target).database
        with database.connect() as session:
            made = find_made(session, self.schema_name, self.name)
        if made is None:
            return ""
        if not made.valid or self._state(made, work) == _USELESS:
            self._drop(database, work)
            return f"{self.name} did not help and is dropped"
        text, without = read_unjudged(made.comment.partition(": ")[2], len(self.queries))
        helps, told = self._measure(database, without)
        # No costs: they differ with each vacuum, and this stays. The record has them.
        state, verdict = _KEPT, "kept, as the planner uses it"
        if not helps:
            state, verdict = _USELESS, "dropped, as it did not help"
        comment = mark_text(Mark(work.remediation, state), f"{text}; {verdict}")
        write_comment(database, self.schema_name, self.name, comment)
        if not helps:
            self._drop(database, work)
        return f"{self.name} {'is kept' if helps else 'did not help and is dropped'}: {told}"

    def _measure(self, database: Database, without: tuple[float | None, ...]) -> tuple[bool, str]:
        """Plan each query; say whether one is cheaper by it, with the costs of the best."""
        best: tuple[float, str] | None = None
        with database.connect() as session:
            for one, measured in zip(self.queries, without, strict=True):
                plan = plan_or_none(session, one.query)
                if plan is None:
                    continue
                before = one.cost if measured is None else measured
                used = plan.uses(self.name)
                share = plan.total_cost / before if used and before else 1.0
                how = "" if used else ", and the planner does not use it"
                told = f"cost {before:,.2f} -> {plan.total_cost:,.2f}{how}"
                if best is None or share < best[0]:
                    best = (share, told + _promised(one.cost, measured))
        share, told = best or (1.0, "no query that it was made for can be planned any more")
        return share <= MOST_COST_LEFT, told

    def _drop(self, database: Database, work: Work) -> None:
        insist_that_nobody_builds(database, self.schema_name, self.table)
        drop_concurrently(database, self.schema_name, self.name, work)


def _promised(planned: float, measured: float | None) -> str:
    """Say what was known when it was planned, beside what was measured right before."""
    if measured is None:
        return " (without it as measured when it was planned: right before nobody has)"
    return f" (without it when it was planned: {planned:,.2f})"
