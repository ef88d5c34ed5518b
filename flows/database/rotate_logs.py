"""Have the engine rotate the application's logs, which fill its disk otherwise."""

from typing import Annotated

from pydantic import Field

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.disk.rotation import LogsAreBounded
from tasks.disk.rotation_need import find_rotation
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.platforms.targets import TargetName


@remediation(guide="Database Issues / Out of Disk Space / Clean Up Docker Resources")
def rotate_logs(
    target: TargetName,
    max_size: Annotated[str, Field(pattern=r"^[1-9]\d{0,5}[kmg]$")] = "10m",
    max_files: Annotated[int, Field(ge=1, le=100)] = 3,
) -> Plan:
    """Have the engine rotate the logs of the application's containers.

    An engine keeps every line that a container writes, for ever, unless its log is rotated: no
    clean-up frees that while the container runs. How large each container's log is comes first,
    with what bounds it. What rotates it is written into the compose file, and the application's
    containers are made anew from it one after the other, while another one serves. For the other
    services, which would be away meanwhile, the lines are shown only.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        max_size: From which size on a log is rotated: a number with k, m or g.
        max_files: How many files are kept of each, the one that is written to among them.

    Changes:
        The application's `logging` in the compose file; its containers are made anew. What they
        have logged so far goes with them.

    Undo:
        The file is byte for byte as before, and the containers are made anew from it.
    """
    found = find_rotation(target, max_size, max_files, f"compose-{remediation_id()}")
    change = found.change
    if change is None:
        return Plan(
            name="rotate",
            title="Report the logs of containers",
            risk=Risk.HARMLESS,
            findings=found.findings,
        )
    outage = "none: another container serves meanwhile"
    if not change.served:
        outage = f"seconds: {change.service} is made anew, and nothing stands in for it"
    return Plan(
        name="rotate",
        title=f"Keep at most {max_files} x {max_size} of the logs of {change.service} of {target}",
        risk=Risk.DISRUPTIVE,
        findings=found.findings,
        changes=(change,),
        checks=(
            LogsAreBounded(service=change.service, bound=f"{max_size} x {max_files}"),
            ApplicationAnswers(),
        ),
        watches=(ApplicationServes(),),
        effects=Effects(outage=outage, lost=found.lost),
        notes=(*found.notes, *find_unproved(target)),
    )
