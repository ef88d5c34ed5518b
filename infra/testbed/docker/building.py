"""Images built from a folder, each with what it was built from on its label."""

from pathlib import Path

import docker
from docker.errors import BuildError, ImageNotFound

from tasks.guardrails.errors import PreconditionFailed

_LABEL = "remedy.recipe"


def recipe_of(client: docker.DockerClient, name: str) -> str | None:
    """Say which recipe an image was built from, '' for one that was pulled; None without one."""
    try:
        return str(client.images.get(name).labels.get(_LABEL, ""))
    except ImageNotFound:
        return None


def build(
    client: docker.DockerClient,
    folder: Path,
    name: str,
    base: str,
    *,
    recipe: str,
    target: str | None = None,
) -> None:
    """Build an image from a folder, without a network.

    Args:
        client: The engine.
        folder: What it is built from.
        name: Its name.
        base: The image that it is laid on.
        recipe: What tells it from one that was built from something else.
        target: Stage of the Dockerfile; the last by default.

    Raises:
        PreconditionFailed: A step fails; says which.
    """
    try:
        client.images.build(
            path=str(folder),
            tag=name,
            buildargs={"BASE": base},
            labels={_LABEL: recipe},
            target=target,
            network_mode="none",
            rm=True,
            forcerm=True,
        )
    except BuildError as error:
        raise PreconditionFailed(
            expected=f"the image {name} to be built.",
            found=str(error),
            todo="Correct its Dockerfile.",
        ) from error
