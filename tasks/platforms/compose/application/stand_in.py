"""A second container of the application that serves while the first is made anew."""

import time
from contextlib import suppress

import httpx
from docker.errors import NotFound

from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.systems import fencing_token, insist_on_fence
from tasks.platforms.compose.engine import OF_PROJECT, OF_TARGET, OF_TOKEN, STANDS_IN, Engine, Found
from tasks.platforms.compose.project import owner

_UP_WITHIN_SECONDS = 120.0


def name_of_stand_in(name: str) -> str:
    """Give the name of a container's stand-in."""
    return f"{name}-stand-in"


def start_stand_in(engine: Engine, target: str, container: Found, port: int, path: str) -> None:
    """Start a container like another one, with what that was started with; wait for its answer.

    There is none yet.

    Args:
        engine: The engine.
        target: Name of the target.
        container: The other one.
        port: The port that it listens at inside.
        path: Where it answers once it serves.

    Raises:
        PreconditionFailed: It does not answer; it is gone again.
    """
    insist_on_fence()
    name = name_of_stand_in(container.name)
    networks = list(container.addresses)
    with engine.client() as client:
        like = client.api.inspect_container(container.id)["Config"]
        made = client.containers.create(
            container.image,
            like["Cmd"],
            entrypoint=like["Entrypoint"],
            environment=dict(container.environment),
            labels={
                OF_TARGET: owner(container.labels[OF_PROJECT], target),
                OF_TOKEN: str(fencing_token()),
                STANDS_IN: container.name,
            },
            name=name,
            network=networks[0],
            volumes_from=[container.id],
            user=container.user,
            working_dir=container.directory,
            restart_policy={"Name": "always"},
        )
        for network in networks[1:]:
            client.networks.get(network).connect(made)
        made.start()
    deadline = time.monotonic() + _UP_WITHIN_SECONDS
    while not _answers(engine, container.name, port, path):
        if time.monotonic() > deadline:
            remove_stand_in(engine, container.name)
            raise PreconditionFailed(
                expected=f"{name} to answer at {path}, to stand in for {container.name}.",
                found="no answer.",
                state=f"{container.name} serves as before.",
                todo=f"Look why a container like {container.name} does not come up.",
            )
        time.sleep(0.1)


def remove_stand_in(engine: Engine, name: str) -> None:
    """Remove a container's stand-in; gone already is fine.

    Args:
        engine: The engine.
        name: Name of the container that it stands in for.
    """
    with engine.client() as client, suppress(NotFound):
        stand_in = client.containers.get(name_of_stand_in(name))
        stand_in.stop(timeout=10)
        stand_in.remove(force=True)


def _answers(engine: Engine, name: str, port: int, path: str) -> bool:
    for one in engine.containers({STANDS_IN: name}):
        if one.runs:
            with suppress(httpx.HTTPError, Transient):
                host, outside = engine.reach(one, port)
                url = f"http://{host}:{outside}{path}"
                return httpx.get(url, timeout=5, trust_env=False).is_success
    return False
