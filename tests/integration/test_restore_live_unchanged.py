"""A cut-over waits for an approval: what somebody changes in live meanwhile is not taken back."""

import pytest

from tasks.database.restore.live_unchanged import LiveUnchanged
from tasks.guardrails.errors import PreconditionFailed, WorldMoved
from tests.postgres_fixtures import (
    WORK,
    Cluster,
    PlannerSystem,
    carry_out,
    plan_cut_over,
    plan_restore,
    take,
)

# What is done, what takes it back, and what is shown where the cut-over is planned again.
SHOWN = [
    (
        "ALTER TABLE programs ADD COLUMN colour text",
        "ALTER TABLE programs DROP COLUMN colour",
        "gives planner another schema, the copy's: gone: column colour of public.programs",
    ),
    (
        "GRANT SELECT ON programs TO PUBLIC",
        "REVOKE SELECT ON programs FROM PUBLIC",
        "1 objects have other owners or privileges than in planner",
    ),
    ("COMMENT ON DATABASE planner IS 'ours'", "COMMENT ON DATABASE planner IS NULL", ""),
]
# The same, of what a copy cannot have: planning again refuses.
REFUSED = [
    (
        "CREATE PUBLICATION everything FOR ALL TABLES",
        "DROP PUBLICATION everything",
        PreconditionFailed,
        "publication everything",
    ),
    (
        "ALTER DATABASE planner SET work_mem = '9MB'",
        "ALTER DATABASE planner RESET work_mem",
        WorldMoved,
        "changed since",
    ),
    (
        "REVOKE CONNECT ON DATABASE planner FROM PUBLIC",
        "GRANT CONNECT ON DATABASE planner TO PUBLIC",
        WorldMoved,
        "changed since",
    ),
]


def test_a_change_of_live_besides_its_rows_is_asked_about_anew(
    planner: Cluster, planner_system: PlannerSystem
) -> None:
    """The limit is beyond its bound, and whoever plans again shows it, or refuses."""
    for _, back, _ in SHOWN[1:]:
        planner.run(back, "planner")  # so that privileges are written out before, too
    take(planner, planner_system, "backup-20261124-100000.dump", "-Fc")
    plan = plan_restore()
    carry_out(plan, WORK)
    stage = plan_cut_over(plan)
    (limit,) = [one for one in stage.limits if isinstance(one, LiveUnchanged)]
    assert limit.guards == "database.swap_databases"
    assert "The copy has the schema of planner." in str(stage.findings)

    def beyond() -> bool:
        return limit.exceeded(limit.measure(WORK))

    planner.run("UPDATE programs SET notes = 'seen'", "planner")
    assert not beyond()
    for change, back, shown in SHOWN:
        planner.run(change, "planner")
        assert beyond(), change
        assert shown in str(plan_cut_over(plan).findings)
        planner.run(back, "planner")
        assert not beyond(), back
    for change, back, error, told in REFUSED:
        planner.run(change, "planner")
        assert beyond(), change
        with pytest.raises(error, match=told):
            plan_cut_over(plan)
        planner.run(back, "planner")
    plan_cut_over(plan)
