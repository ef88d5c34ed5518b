"""What the application's containers are made of now, and whether an undo leads back to it."""

from collections.abc import Sequence

from tasks.guardrails.errors import PreconditionFailed
from tasks.images.names import with_tag
from tasks.platforms.containers import ServiceContainer
from tasks.platforms.images import Recipe
from tasks.platforms.protocols import System


def find_running(system: System, recipe: Recipe, service: str) -> tuple[ServiceContainer, str]:
    """Find what a service's containers are made of; an undo leads back to it.

    Args:
        system: The target.
        recipe: How its image is built.
        service: The service.

    Returns:
        A container, and the name of its image.

    Raises:
        PreconditionFailed: There is none, or what runs is not what the name says.
    """
    found = system.containers.of(service)
    if not found:
        raise PreconditionFailed(
            expected=f"a container of {service}, by whose image a new one is compared.",
            found="there is none.",
            todo=f"`compose up -d {service}`, then run again.",
        )
    name = with_tag(recipe.image or found[0].image_name)
    _insist_on_plain(system, service, name, found)
    return found[0], name


def _insist_on_plain(
    system: System, service: str, name: str, running: Sequence[ServiceContainer]
) -> None:
    """Make sure that an undo leads back to what runs now."""
    named = system.containers.image(name)
    run = {one.image for one in running}
    if named is None or run != {named.id}:
        raise PreconditionFailed(
            expected=f"every container of {service} to be made of image {name}.",
            found=f"that name is {named.id[7:19] if named else 'no image'}, and "
            f"{', '.join(sorted(one[7:19] for one in run))} runs.",
            todo=f"`compose up -d {service}` to take the named one up, or "
            f"`docker tag {min(run)[7:19]} {name}` to keep what runs; then run again.",
        )
    said = system.definition.read()
    policy = str(said.service(service).get("pull_policy", ""))
    if policy in {"always", "build"}:
        raise PreconditionFailed(
            expected=f"containers of {service} that are made of the image {name} as it is here.",
            found=f"pull_policy is {policy}: another one would be taken.",
            todo="Take pull_policy out of the compose file, then run again.",
        )
