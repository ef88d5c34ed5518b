"""The images of the compose project: pulled where a registry answers, else built without one."""

import hashlib
from contextlib import closing
from pathlib import Path

import docker
from docker.errors import DockerException

from infra.testbed.docker.application_image import PYTHON, provide_application
from infra.testbed.docker.base_image import provide_base
from infra.testbed.docker.building import build, recipe_of
from infra.testbed.docker.engine import Engine, locked
from tasks.guardrails.errors import PreconditionFailed

FOLDER = Path(__file__).with_name("images")
# Name in the compose file -> folder of what stands in for it.
SERVERS = {"postgres:15-alpine": "postgres", "redis:7-alpine": "redis", "nginx:alpine": "nginx"}


def provide_images(engine: Engine, cache: Path) -> None:
    """Have every image of the compose project on an engine; those that are there stay.

    Args:
        engine: The engine.
        cache: Folder with the lock by which one process builds and the others wait.

    Raises:
        PreconditionFailed: One can neither be pulled nor built; says why.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / "images.lock"), closing(engine.client()) as client:
        # Once one was built no registry is asked any more: its answer may take a minute.
        is_built = any(recipe_of(client, name) for name in SERVERS)
        if not is_built and all(_is_pulled(client, name) for name in (*SERVERS, PYTHON)):
            provide_application(client, PYTHON)
        elif engine.is_ours:
            _build(client)
        else:
            raise PreconditionFailed(
                expected=f"the images {', '.join([*SERVERS, PYTHON])}.",
                found=f"no registry that gives them to the engine at {engine.url}.",
                state="Nothing was built: under these names it would be taken for the real one.",
                todo="Load the images into that engine, or unset DOCKER_HOST.",
            )


def _build(client: docker.DockerClient) -> None:
    base = provide_base(client)
    for name, folder in SERVERS.items():
        texts = [path.read_bytes() for path in sorted((FOLDER / folder).iterdir())]
        recipe = hashlib.sha256(b"\0".join([base.encode(), *texts])).hexdigest()
        if recipe_of(client, name) != recipe:
            build(client, FOLDER / folder, name, base, recipe=recipe)
    provide_application(client, base)


def _is_pulled(client: docker.DockerClient, name: str) -> bool:
    if recipe_of(client, name) is None:
        try:
            client.images.pull(name)
        except DockerException:
            return False
    return True
