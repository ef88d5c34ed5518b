"""Throw-away containers of an image: like those that serve, or for one command alone.

They have the target's name and the fencing token on their labels: a successor ends them.
"""

import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import httpx
from docker.errors import APIError, ImageNotFound
from docker.models.containers import Container
from docker.types import LogConfig

from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.systems import fencing_token, insist_on_fence
from tasks.platforms.applications import Completed
from tasks.platforms.compose.application.commands import remove, run_to_its_end
from tasks.platforms.compose.engine import OF_TARGET, OF_TOKEN, Engine, Found
from tasks.platforms.compose.project import Project, owner
from tasks.platforms.images import Trial

_ASK_EACH_SECONDS = 0.2
_LINES = 200  # of a log
_CONFLICT = 409
_TRIED = "remedy.tried"


@dataclass(frozen=True)
class Serving:
    """What serves a project's users.

    Args:
        service: Its service.
        port: The port that it listens at inside.
        path: Path at which a container that serves answers.
    """

    service: str
    port: int
    path: str


def run_apart(project: Project, target: str, image: str, command: Sequence[str]) -> Completed:
    """Run a command in a container of an image, without network, and wait for its end.

    Args:
        project: The project on whose engine it runs.
        target: Name of the target.
        image: Id or name of the image.
        command: Program and arguments.

    Returns:
        Exit status, output and errors; status 127 where it has no such program.

    Raises:
        Transient: The engine does not answer.
        PreconditionFailed: It refuses, or has no such image.
    """
    with project.engine.client() as client:
        made = client.containers.create(
            image,
            list(command[1:]),
            entrypoint=[command[0]],
            labels=_labels(project, target),
            name=_name(target),
            network_mode="none",
            log_config=LogConfig(type="json-file"),  # its output is read from there
        )
        try:
            return run_to_its_end(made)
        finally:
            remove(made)


@contextmanager
def tried(
    project: Project, target: str, serving: Serving, image: str, seconds: float
) -> Iterator[Trial]:
    """Have a container of an image while the block runs, like those that serve.

    Args:
        project: The project.
        target: Name of the target.
        serving: What serves its users.
        image: Id or name of the image.
        seconds: How long it may take to answer.

    Yields:
        It, once it answers, has ended, or the time is over.

    Raises:
        Transient: There is no container to be like.
        PreconditionFailed: The engine refuses.
    """
    like = project.container(serving.service)
    networks = list(like.addresses)
    with project.engine.client() as client:
        limits = client.api.inspect_container(like.id)["HostConfig"]
        made = client.containers.create(
            image,
            **_said(project.configuration(serving.service)),
            environment=project.settings(serving.service),
            labels={**_labels(project, target), _TRIED: serving.service},
            name=_name(target),
            network=networks[0] if networks else "none",
            volumes_from=[like.id],
            mem_limit=limits.get("Memory") or None,
            log_config=LogConfig(type="json-file"),
        )
        try:
            for name in networks[1:]:
                client.networks.get(name).connect(made)
            insist_on_fence()  # behind its creation: from here on a successor sees it
            yield _started(project.engine, made, serving, seconds)
        finally:
            remove(made)


def _started(engine: Engine, made: Container, serving: Serving, seconds: float) -> Trial:
    try:
        made.start()
    except APIError as error:  # it has no such program, or a mount is not to be had
        return Trial("", "created", 127, str(error.explanation or error))
    deadline = time.monotonic() + seconds
    while True:
        (seen,) = [one for one in engine.containers({_TRIED: ""}) if one.id == made.id]
        url = _answering(engine, seen, serving) if seen.runs else ""
        if url or not seen.runs or time.monotonic() > deadline:
            log = made.logs(tail=_LINES).decode(errors="replace")
            return Trial(url, seen.status, seen.exit_code, log)
        time.sleep(_ASK_EACH_SECONDS)


def _answering(engine: Engine, seen: Found, serving: Serving) -> str:
    with suppress(httpx.HTTPError, Transient):
        host, port = engine.reach(seen, serving.port)
        url = f"http://{host}:{port}"
        if httpx.get(f"{url}{serving.path}", timeout=5, trust_env=False).is_success:
            return url
    return ""


def remove_image(engine: Engine, name: str) -> None:
    """Remove an image by its name, with itself where that was the last one; gone is fine.

    Args:
        engine: The engine.
        name: The name.

    Raises:
        PreconditionFailed: A container is made of it.
    """
    insist_on_fence()
    with engine.client() as client, suppress(ImageNotFound):
        try:
            client.images.remove(name)
        except APIError as error:
            if error.status_code != _CONFLICT:
                raise
            raise PreconditionFailed(
                expected=f"no container that is made of image {name}.",
                found="there is one: the engine refuses to remove it.",
                state="The image is as it was.",
                todo=f"Find it by `docker ps -a --filter ancestor={name}`, then run again.",
            ) from error


def _said(described: Mapping[str, Any]) -> dict[str, Any]:
    """Give what the compose files say in the place of the image."""
    said: dict[str, Any] = {}
    for key in ("command", "entrypoint"):
        if (given := described.get(key)) is not None:
            words = shlex.split(given) if isinstance(given, str) else given
            # What `config` prints is a compose file again: a dollar sign stands there twice.
            said[key] = [str(word).replace("$$", "$") for word in words]
    for key in ("user", "working_dir"):
        if described.get(key):
            said[key] = str(described[key])
    return said


def _labels(project: Project, target: str) -> dict[str, str]:
    return {OF_TARGET: owner(project.name, target), OF_TOKEN: str(fencing_token())}


def _name(target: str) -> str:
    return f"remedy-{target}-{uuid4().hex[:12]}"
