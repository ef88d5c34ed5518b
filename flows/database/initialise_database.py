"""Give an application without a database one, where it is certain that there is no data."""

from tasks.application.answers import find_unproved
from tasks.application.reaches_database import ApplicationReachesDatabase
from tasks.database.server.initialise_plan import find_first_data
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation
from tasks.platforms.targets import TargetName


@remediation(guide="Database Issues / Cannot Connect to Database / Database Initialization Failed")
def initialise_database(target: TargetName) -> Plan:
    """Find out whether there is data; where there is none, make the database and its schema.

    The guide wipes the volume, whatever it holds, and hopes that fifteen seconds are enough.
    Here one row of anybody, or a data folder in which there may be one, is a refusal. A server
    is made only where its folder is missing, empty or was never made to its end.

    Args:
        target: Name of the target, as `remedy target list` shows it.

    Changes:
        A half-made data folder is set aside, never deleted (what is in a volume is moved into
        one of its own); a server with its roles and an empty database is made and started; the
        application's migrations make the schema.

    Undo:
        The server that was made is stopped and its folder set aside, the earlier one is put back;
        a database that was made is dropped, or kept closed under another name where rows are in
        it by then. A schema that was made in an empty database stays.
    """
    found = find_first_data(target)
    return Plan(
        name="initialise",
        title="Make what the application's database lacks"
        if found.changes
        else "Say what the application's database is like",
        risk=Risk.DESTRUCTIVE if found.makes_server else Risk.DISRUPTIVE,
        findings=found.findings,
        changes=found.changes,
        checks=(ApplicationReachesDatabase(),),
        effects=Effects(
            outage="none beyond the present one",
            lost="nothing here; an application that serves an empty database hides one that is "
            "only not mounted"
            if found.makes_server
            else "nothing",
        ),
        notes=find_unproved(target),
    )
