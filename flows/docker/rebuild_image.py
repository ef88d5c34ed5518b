"""Find why an image cannot be built, and replace the running one by a new one that is proved."""

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.containers.stays_up import StaysUp
from tasks.guardrails.plan import Effects, Plan, Risk, Stage, StageOutline
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.images.new_image import BuildImage
from tasks.images.rebuild import find_rebuild
from tasks.images.replacement import find_replacement
from tasks.images.replacing import ReplaceImage
from tasks.platforms.targets import TargetName

_WATCHED_SECONDS = 5


@remediation(guide="Docker Issues / Cannot Build Docker Image / Dependency Installation Fails")
def rebuild_image(target: TargetName, pin: bool = False) -> Plan:
    """Find why the application's image cannot be built; have it served from a new one.

    It is built with the builder's cache and without: the cache hides what has moved on since.
    Where that fails it is said which step, which line of which requirements file, and why: no such
    version, a conflict, another Python, a library or compiler that is missing, a hash that does
    not match, no network. Versions that let it be built are those that the running image has, as
    far as the index has them; they are proved by building. Where it succeeds, the new image gets
    a name of its own, and a container of it, with the application's settings and networks and
    without its name and ports, has to serve the probe account from the database. Only then the
    name in the compose file becomes its own, approved apart, and containers are made anew one
    after the other. What the image does when it starts, as migrations, its trial does too.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        pin: Write these versions into the requirements file; else they are reported as a patch.

    Changes:
        With `pin`, lines of the requirements file. An image beside the running one; then, approved
        apart, the application's containers are made from it, without a gap. With `dry_run` too the
        builds take the builder's time and room; what is built for a look is removed.

    Undo:
        The application is made from the old image, one container after the other; the new one is
        removed, and the requirements file is as before, byte for byte.
    """
    found = find_rebuild(target, remediation_id(), pin=pin)
    if not found.changes:
        return Plan(
            name="build",
            title=f"Report why the image of {found.service} cannot be built",
            risk=Risk.HARMLESS,
            findings=found.findings,
        )
    return Plan(
        name="build",
        title=f"Build the image of {found.service} of {target} anew, and try it",
        risk=Risk.HARMLESS,
        findings=found.findings,
        changes=found.changes,
        checks=found.checks,
        effects=Effects(outage="none: nothing that serves is touched", duration="as the build"),
        notes=find_unproved(target),
        later=(
            StageOutline(
                name="replace",
                title=f"Have {found.service} served from the new {found.name}",
                risk=Risk.DISRUPTIVE,
                kinds=(ReplaceImage.kind,),
            ),
        ),
    )


@rebuild_image.stage("replace")
def replace(earlier: tuple[Stage, ...], target: TargetName, pin: bool) -> Stage:
    """Plan the replacement from the image as it was built and tried."""
    del pin
    (built,) = [one for one in earlier[0].changes if isinstance(one, BuildImage)]
    found = find_replacement(target, remediation_id(), built)
    served = found.change.served
    return Stage(
        name="replace",
        title=f"Have {built.service} of {target} served from {built.name}",
        risk=Risk.DISRUPTIVE,
        findings=found.findings,
        changes=(found.change,),
        checks=(StaysUp(service=built.service, seconds=_WATCHED_SECONDS), ApplicationAnswers()),
        watches=(ApplicationServes(),),
        effects=Effects(
            outage="none: another container serves while each is made anew"
            if served
            else "none beyond the present one"
        ),
        notes=(*found.notes, *find_unproved(target)),
    )
