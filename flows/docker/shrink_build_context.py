"""Keep away from image builds what no image needs."""

from typing import Annotated

from pydantic import Field

from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.images.context import measure_contexts
from tasks.platforms.targets import TargetName


@remediation(guide="Docker Issues / Cannot Build Docker Image / Build Context Too Large")
def shrink_build_context(
    target: TargetName,
    at_least_mb: Annotated[int, Field(ge=1, le=100_000)] = 5,
) -> Plan:
    """Add lines to `.dockerignore` for what is sent to the builder, and copied into no image.

    What the builder gets is measured by its own rules, entry by entry: `du`, as the guide has it,
    knows nothing of `.dockerignore`. A line is added only where no COPY, ADD or mount of any
    Dockerfile in the folder, in any of its stages, takes what it hides. That is proved before
    anything is written: every image that the project builds is built with and without the lines,
    and has to be the very same one. With `dry_run` too that takes the builder's time, and room on
    the disks of worker and engine. What is copied and should not be (secrets, the history of the
    sources) is reported with a patch, as leaving it out changes the image.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        at_least_mb: From how many MB on a file or folder gets a line for the only reason that
            nothing copies it.

    Changes:
        Lines at the end of `.dockerignore` (or of the Dockerfile's own ignore file), below a
        comment with the remediation's id; the file is made where there is none. No image that has
        a name and no container is touched; what is built for the proof is removed.

    Undo:
        The file is as before, byte for byte, or gone; where somebody has edited it since, only our
        lines are taken out.
    """
    found = measure_contexts(target, remediation_id(), at_least_mb * 1_000_000)
    return Plan(
        name="shrink",
        title=f"Keep away from the builds of {target} what no image needs",
        risk=Risk.DISRUPTIVE if found.changes else Risk.HARMLESS,
        findings=found.findings,
        changes=found.changes,
        checks=found.checks,
        effects=Effects(outage="none: nothing is restarted"),
        notes=found.notes,
    )
