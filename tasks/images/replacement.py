"""In what a new image differs from the one that runs, and how it takes its place."""

from dataclasses import dataclass

from tasks.application.answers import ask_application
from tasks.guardrails.errors import WorldMoved
from tasks.guardrails.plan import Finding, Verdict, Work
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.images.names import beside, with_tag
from tasks.images.new_image import BuildImage, recipe_of
from tasks.images.packages import COLUMNS, differences, packages_of
from tasks.images.replacing import ReplaceImage
from tasks.platforms import targets


@dataclass(frozen=True)
class Replacement:
    """How a new image takes the place of the one that runs.

    Args:
        change: The change.
        findings: In what they differ.
        notes: What the approver should know.
    """

    change: ReplaceImage
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


@probe
def find_replacement(target: str, remediation: str, built: BuildImage) -> Replacement:
    """Look at the new image, and at what runs.

    Args:
        target: Name of the target.
        remediation: The id that names carry.
        built: How the new one was built.

    Returns:
        The change, with what differs.

    Raises:
        WorldMoved: The new image is gone, or what runs is not what its name says any more.
    """
    system, service = targets.load(target), built.service
    recipe = recipe_of(system.images, service)
    running = system.containers.of(service)
    name = with_tag(recipe.image or (running[0].image_name if running else ""))
    new, now = system.containers.image(built.name), system.containers.image(name)
    if new is None or now is None or {one.image for one in running} != {now.id}:
        raise WorldMoved(
            expected=f"the new image {built.name}, and {service} made of {name}.",
            found="one of them is not so any more: somebody was at work meanwhile.",
            todo="Run the remediation again.",
        )
    before, after = (packages_of(system.images, one.id) for one in (now, new))
    rows = differences(before, after)
    what = (
        f"The new image {new.id[7:19]} has {counted(len(rows), 'Python package')} otherwise than "
        f"{now.id[7:19]}, which runs."
        if before is not None and after is not None
        else f"The new image is {new.id[7:19]}, {now.id[7:19]} runs; one of them has no Python "
        "whose packages could be compared."
    )
    answer = ask_application(Work(target=target, remediation=remediation), writes=False)
    served = answer.verdict is not Verdict.NOT_HELD
    change = ReplaceImage(
        service=service,
        name=name,
        before=now.id,
        after=new.id,
        kept=beside(name, f"before-{remediation}"),
        served=served,
    )
    how = "importlib.metadata in a container of each, without network"
    finding = Finding(what=what, how=how, columns=COLUMNS if rows else (), rows=rows)
    others = [one for one in recipe.services if one != service]
    notes = [f"the old image stays as {change.kept}; when no undo is wanted: docker rmi it"]
    if others:
        notes.append(
            f"{', '.join(others)}: made of the new image at the next `compose up -d`, not here"
        )
    if not served:
        notes.append(f"the application does not serve as it is: {answer.detail}")
    return Replacement(change, (finding,), tuple(notes))
