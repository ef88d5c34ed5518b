"""Start a database's server, when it is known why it does not run."""

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.database.server.faults import find_server_faults
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation
from tasks.platforms.targets import TargetName


@remediation(guide="Database Issues / Cannot Connect to Database / Database Not Running")
def start_database(target: TargetName) -> Plan:
    """Find out why a database's server does not run, start it, and wait until users are served.

    The guide starts it and asks pg_isready once. Here its processes, postmaster.pid, control
    file, configuration, port, disk and log are looked at first: a start that cannot end well is
    not tried, and what is not certain is told and left to a person.

    Args:
        target: Name of the target, as `remedy target list` shows it.

    Changes:
        The server is started. A postmaster.pid that names another program by now, or nobody, is
        set aside, if no process works in the data folder; a data folder that others may enter is
        closed to them. Never pg_resetwal, and nothing is deleted.

    Undo:
        Nothing to take back: the server goes on running, and its folder stays closed to others.
    """
    found = find_server_faults(target)
    return Plan(
        name="start",
        title="Start the database's server"
        if found.changes
        else "Say why the server accepts no connections",
        # It may be down on purpose: shut down, or fenced off by who made another one the primary.
        risk=Risk.DISRUPTIVE,
        findings=found.findings,
        changes=found.changes,
        checks=(ApplicationAnswers(),),
        watches=(ApplicationServes(),),
        effects=Effects(
            outage="none beyond the present one",
            duration="seconds, and as long as recovery takes",
        ),
        notes=find_unproved(target),
    )
