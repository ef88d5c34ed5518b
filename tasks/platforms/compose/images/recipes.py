"""How a compose project builds its images, read from its files."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.compose.project import Project
from tasks.platforms.images import Recipe

_EVERY_PROFILE = ("--profile", "*")
_IGNORE = ".dockerignore"
# What the engine's own builder has no notion of.
_BUILDKIT_ONLY = ("additional_contexts", "dockerfile_inline", "secrets", "ssh", "platforms")


def read_recipes(project: Project) -> list[Recipe]:
    """Read how each image is built; services that are built alike count as one.

    Args:
        project: The project.

    Returns:
        The recipes, in the order of the services' names.

    Raises:
        PreconditionFailed: The compose files or a Dockerfile cannot be read.
    """
    said = yaml.safe_load(project.run(*_EVERY_PROFILE, "config"))
    found: list[Recipe] = []
    for one in _each(project, said.get("services") or {}):
        alike = [it for it in found if replace(it, services=one.services) == one]
        if alike:
            found[found.index(alike[0])] = replace(
                alike[0], services=(*alike[0].services, *one.services)
            )
        else:
            found.append(one)
    return found


def _each(project: Project, services: Mapping[str, Any]) -> Iterator[Recipe]:
    for name, service in sorted(services.items()):
        given = service.get("build")
        if not given:
            continue
        build: dict[str, Any] = {"context": given} if isinstance(given, str) else dict(given)
        context = str(build.get("context", "."))
        if "://" in context or context.startswith("git@"):
            continue  # no folder of ours: the builder fetches it
        folder = (project.files.folder / context).resolve()
        dockerfile = str(build.get("dockerfile") or "Dockerfile")
        file = folder / dockerfile
        inline = build.get("dockerfile_inline")
        own = folder / f"{dockerfile}.dockerignore"
        unable = ", ".join(key for key in _BUILDKIT_ONLY if build.get(key))
        outside = not file.resolve().is_relative_to(folder)
        yield Recipe(
            services=(name,),
            image=str(service.get("image", "")),
            context=folder,
            dockerfile=dockerfile,
            text=str(inline) if inline else _text_of(file),
            target=str(build.get("target") or ""),
            ignore=own.name if own.exists() and own.parent == folder else _IGNORE,
            unable=unable or ("a Dockerfile outside of its folder" if outside else ""),
            arguments=_arguments(build.get("args") or {}),
            network=str(build.get("network") or ""),
        )


def _arguments(given: Mapping[str, Any] | list[str]) -> dict[str, str]:
    if isinstance(given, list):
        given = dict(one.partition("=")[::2] for one in given)
    # What `config` prints is a compose file again: a dollar sign stands there twice.
    return {
        name: str(value).replace("$$", "$") for name, value in given.items() if value is not None
    }


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise PreconditionFailed(
            expected=f"the Dockerfile {file}.",
            found=f"{type(error).__name__}.",
            todo="Correct `build` in the compose file, or the rights of that file.",
        ) from error
