"""Say how the server would carry a query out, and what is wrong with that."""

from tasks.database.queries.explained import explain_query
from tasks.guardrails.plan import Plan, Risk
from tasks.guardrails.remediation import remediation
from tasks.platforms.targets import TargetName


@remediation(guide="Performance Issues / Slow Database Queries / Analyze Query Plans")
def explain_queries(target: TargetName, query: str, index: str = "") -> Plan:
    """Read a query's plan without running the query, and say in words what is wrong with it.

    The guide's EXPLAIN ANALYZE carries the query out: a slow one is slow once more, and an UPDATE
    or DELETE is done. Here it is only planned, in a read-only transaction, with a limit on how
    long that may take and wait. A query may have $1, $2, ... for its values, as
    pg_stat_statements has it; it is then planned for any values. What is found shows no values;
    those in the query that is given stay in the run's parameters and may stand in the server's
    log, so better give none that are secret.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        query: One statement: SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES, WITH or TABLE.
        index: An index that might help, as 'actuals (project_id, actual_date)' or a CREATE INDEX
            statement: its effect is foretold where the extension hypopg is installed.

    Changes:
        None: it reports the plan, what is wrong with it, and what would help.

    Undo:
        Nothing to take back.
    """
    return Plan(
        name="report",
        title="Report how a query would be carried out",
        risk=Risk.HARMLESS,
        findings=explain_query(target, query, index),
    )
