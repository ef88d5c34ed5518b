"""Write the compose files of a project in the syntax of today."""

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.containers.file_edits import DefinitionIsRead
from tasks.containers.modernising import find_old_syntax
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.platforms.targets import TargetName


@remediation(guide="Docker Issues / Docker Compose Version Issues / Use Compatible Syntax")
def modernise_compose_file(target: TargetName, keep_readable: bool = False) -> Plan:
    """Write compose files of older formats as the compose specification has them.

    What the installed compose says of the files comes first. Then each key that it refuses or
    that is obsolete gets the name and place that it has today: `version`, services at the top of
    a file, `net`, `log_driver`, `log_opt`, `dockerfile` outside of `build`, links to services of
    the same network, `mem_limit` and `cpus`. That the new text means the same is proved before
    anything is written: by `config` of both, or key by key where the installed compose cannot
    read the old one. Comments, order, quotes and the files' owner and rights stay.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        keep_readable: Leave what the installed compose still reads as it is (links, mem_limit,
            mem_reservation, cpus): fewer containers are made anew by the next `up`.

    Changes:
        The compose files of the target, whole or not at all. Nothing is restarted; the plan says
        which containers the next `up` makes anew.

    Undo:
        The files are as before, byte for byte; where somebody has edited them since, only what
        was written here is taken out again.
    """
    old = find_old_syntax(target, f"compose-{remediation_id()}", keep_readable=keep_readable)
    return Plan(
        name="modernise",
        title=f"Write the compose files of {target} in the syntax of today",
        risk=Risk.DISRUPTIVE,
        findings=old.findings,
        changes=(old.change,) if old.change else (),
        checks=(DefinitionIsRead(services=old.services), ApplicationAnswers())
        if old.change
        else (),
        watches=(ApplicationServes(),) if old.change else (),
        effects=Effects(outage="none: nothing is restarted"),
        notes=(*old.notes, *find_unproved(target)) if old.change else (),
    )
