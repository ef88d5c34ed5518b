"""Builds by the engine's own builder, read step by step.

Source: Docker Engine API 1.41, POST /build. Values of arguments go there in the request, and never
into a command line of ours.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound

from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.compose.engine import Engine
from tasks.platforms.compose.images.contexts import list_files, pack
from tasks.platforms.images import Built, Recipe, Step

BUILT_FOR = "remedy.built-for"
_STEP = re.compile(r"^Step \d+/\d+ : (.*)", re.DOTALL)
_ID = re.compile(r"^ ---> ([0-9a-f]{12,64})$", re.MULTILINE)
_NOISE = re.compile(r"^ ---> |^Removing intermediate container |\x1b\[\d*m")
_PASSWORD = re.compile(r"://[^/\s@]+@")
_SHORTEST = 4  # what is shorter is found in every word


def build(
    engine: Engine,
    recipe: Recipe,
    remediation: str,
    *,
    ignore: str | None,
    cached: bool,
    replaced: Mapping[str, str],
    name: str,
) -> Built:
    """Build an image.

    Args:
        engine: Where.
        recipe: How.
        remediation: What it is built for; on its label.
        ignore: Text of the ignore file.
        cached: Whether steps of earlier builds are taken over.
        replaced: Texts that it gets in the place of files, by their path.
        name: What it is called, '' for no name.

    Returns:
        How it ended.

    Raises:
        Transient: The engine does not answer.
        PreconditionFailed: The files cannot be read.
    """
    insist_on_fence()
    paths = list_files(recipe.context, ignore, (recipe.dockerfile, recipe.ignore))
    with pack(recipe.context, paths, replaced) as archive, engine.client() as client:
        said = client.api.build(
            fileobj=archive,
            custom_context=True,
            dockerfile=recipe.dockerfile,
            tag=name or None,
            buildargs=dict(recipe.arguments),
            target=recipe.target or None,
            network_mode=recipe.network or None,
            labels={BUILT_FOR: remediation},
            nocache=not cached,
            rm=True,
            forcerm=True,
            decode=True,
        )
        return _read(said, recipe.arguments)


def forget(client: docker.DockerClient, remediation: str, builds: Sequence[Built]) -> None:
    """Remove images without a name that were built for a remediation.

    What was there before stays, as images of others without a name: so each is removed by itself.

    Args:
        client: The engine.
        remediation: Its id.
        builds: How they were built.
    """
    found = client.api.images(all=True, filters={"label": f"{BUILT_FOR}={remediation}"})
    ours = [one["Id"] for one in found]
    for image in (*ours, *(made for one in builds for made in reversed(one.made))):
        with suppress(ImageNotFound, APIError):  # gone already, or others build on it
            # A step of ours may be the whole of somebody else's, and have a name by now.
            if not client.images.get(image).tags:
                client.api.remove_image(image, noprune=True)


def _read(said: Iterable[Mapping[str, Any]], arguments: Mapping[str, str]) -> Built:
    steps: list[Step] = []
    made: list[str] = []
    image, error = "", ""
    for part in _without(said, arguments):
        image = (part.get("aux") or {}).get("ID", image)
        error = part.get("error", error)
        text = part.get("stream", "")
        if began := _STEP.match(text):
            shown = _PASSWORD.sub("://***@", began[1].strip())
            steps.append(Step(shown, cached=False, output=""))
        elif steps:
            last = steps[-1]
            named = _ID.match(text)
            if named and not last.cached and not last.instruction.upper().startswith("FROM "):
                made.append(named[1])
            steps[-1] = Step(
                last.instruction,
                cached=last.cached or text.strip() == "---> Using cache",
                output=last.output + ("" if text.startswith(" --->") else _NOISE.sub("", text)),
            )
    return Built("" if error else image, tuple(steps), error, tuple(made))


def _without(
    said: Iterable[Mapping[str, Any]], arguments: Mapping[str, str]
) -> Iterator[Mapping[str, Any]]:
    """Take values of arguments out of what a builder prints: it repeats them."""
    values = sorted((one for one in arguments.values() if len(one) >= _SHORTEST), key=len)
    for part in said:
        shown = dict(part)
        for key in ("stream", "error"):
            for value in reversed(values):
                if key in shown:
                    shown[key] = str(shown[key]).replace(value, "(an argument)")
        yield shown
