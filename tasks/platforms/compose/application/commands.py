"""Commands of the application in containers of their own, which a successor can end.

A container is found by its labels whatever became of who started it; a process that `exec` began
in the application's own container is not.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from uuid import uuid4

from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.types import LogConfig

from tasks.guardrails.systems import fencing_token, insist_on_fence
from tasks.platforms.applications import Completed
from tasks.platforms.compose.engine import (
    GATES,
    OF_PROJECT,
    OF_TARGET,
    OF_TOKEN,
    STANDS_IN,
    Engine,
    Found,
)
from tasks.platforms.compose.project import owner

_NO_PROGRAM = 127
_NOT_FOUND = ("executable file not found", "no such file or directory")


def run_beside(
    engine: Engine,
    target: str,
    beside: Found,
    command: Sequence[str],
    environment: Mapping[str, str],
) -> Completed:
    """Run a command in a container like another, and wait for its end.

    Args:
        engine: The engine.
        target: Name of the target; with the fencing token on the container's labels.
        beside: The container whose image, networks and mounts it has.
        command: Program and arguments.
        environment: All of its settings.

    Returns:
        Exit status, output and errors.

    Raises:
        Transient: The engine does not answer.
        PreconditionFailed: It refuses.
        LeaseLost: Our lease ran out meanwhile; the command was not begun.
    """
    with engine.client() as client:
        container = client.containers.create(
            beside.image,
            list(command[1:]),
            entrypoint=[command[0]],
            environment=dict(environment),
            labels={
                OF_TARGET: owner(beside.labels[OF_PROJECT], target),
                OF_TOKEN: str(fencing_token()),
            },
            name=f"remedy-{target}-{uuid4().hex[:12]}",
            network=next(iter(beside.addresses), "none"),
            volumes_from=[beside.id],
            user=beside.user,
            working_dir=beside.directory,
            log_config=LogConfig(type="json-file"),  # its output is read from there
        )
        try:
            for name in list(beside.addresses)[1:]:
                client.networks.get(name).connect(container)
            insist_on_fence()  # behind its creation: from here on a successor sees it
            return run_to_its_end(container)
        finally:
            remove(container)


def run_to_its_end(container: Container) -> Completed:
    """Start a container that was created, and wait for its end.

    Args:
        container: The container.

    Returns:
        Exit status, output and errors; status 127 where it has no such program.
    """
    try:
        container.start()
    except APIError as error:
        said = str(error.explanation or error)
        if any(one in said for one in _NOT_FOUND):
            return Completed(_NO_PROGRAM, "", said)
        raise
    status = int(container.wait(timeout=None)["StatusCode"])
    output = container.logs(stdout=True, stderr=False).decode(errors="replace")
    errors = container.logs(stdout=False, stderr=True).decode(errors="replace")
    return Completed(status, output, errors)


def end_older(engine: Engine, project: str, target: str, token: int) -> list[str]:
    """End commands of older fencing tokens, and wait until they are gone.

    Args:
        engine: The engine.
        project: Name of the compose project.
        target: Name of the target.
        token: The fencing token held now.

    Returns:
        A sentence for each that was ended.
    """
    ended = []
    for one in engine.containers({OF_TARGET: owner(project, target), OF_TOKEN: ""}):
        older = one.labels[OF_TOKEN]
        serves = not {STANDS_IN, GATES}.isdisjoint(one.labels)
        if older.isdigit() and int(older) < token and not serves:
            with engine.client() as client, suppress(NotFound):
                remove(client.containers.get(one.id))
            ended.append(f"container {one.name} of token {older}")
    return ended


def remove(container: Container) -> None:
    """End and remove a container; gone already is fine."""
    with suppress(NotFound):
        container.remove(force=True)
