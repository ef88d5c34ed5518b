"""What compose files name: the images, volumes and networks of a project, in use or not."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.compose.engine import OF_PROJECT
from tasks.platforms.compose.project import ComposeFiles, Project

_FILES = "com.docker.compose.project.config_files"
_FOLDER = "com.docker.compose.project.working_dir"
_ENVIRONMENT = "com.docker.compose.project.environment_file"
_EVERY_PROFILE = ("--profile", "*")


@dataclass
class Named:
    """Which project names what.

    Args:
        images, volumes, networks: Project by the name of each.
        unread: Sentences about projects whose files cannot be read from here.
    """

    images: dict[str, str] = field(default_factory=dict)
    volumes: dict[str, str] = field(default_factory=dict)
    networks: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)

    def add(self, project: str, said: Mapping[str, Any]) -> None:
        """Add what the compose files of a project say.

        Args:
            project: Its name.
            said: The configuration, as `config` prints it.
        """
        for service, one in (said.get("services") or {}).items():
            # Without `image` compose gives it a name: version 2 with a dash, 1 with a line.
            built = (f"{project}-{service}", f"{project}_{service}")
            for name in (one["image"],) if one.get("image") else built:
                self.images[name] = project
        self.networks[f"{project}_default"] = project  # which `config` of version 1 leaves out
        for kind, known in (("volumes", self.volumes), ("networks", self.networks)):
            for key, one in (said.get(kind) or {}).items():
                known[(one or {}).get("name") or f"{project}_{key}"] = project


def read_named(project: Project, labels: Iterable[Mapping[str, str]]) -> Named:
    """Read the files of a project, and of every other one that has containers on its engine.

    Services of every profile count, whether they were ever started or not.

    Args:
        project: The project.
        labels: The labels of all containers of the engine.

    Returns:
        Which project names what.

    Raises:
        PreconditionFailed: The project's own files cannot be read.
    """
    found = Named()
    found.add(project.name, yaml.safe_load(project.run(*_EVERY_PROFILE, "config")))
    others = {one[OF_PROJECT]: one for one in labels if one.get(OF_PROJECT)}
    for name, given in sorted(others.items()):
        if name == project.name:
            continue
        try:
            found.add(name, yaml.safe_load(_config_of(project, name, given)))
        except PreconditionFailed as error:
            found.unread.append(
                f"The compose files of project {name} cannot be read from here ({error.found}) "
                "What its containers use stays; what only its files name may not."
            )
    return found


def _config_of(project: Project, name: str, labels: Mapping[str, str]) -> str:
    """Read what another project's files say, as its containers name them."""
    files = tuple(one for one in labels.get(_FILES, "").split(",") if one)
    if not files or not project.engine.is_local:
        raise PreconditionFailed(
            expected=f"the compose files of project {name} on this machine.",
            found="they are on another one." if files else "its containers do not say which.",
            todo="Look at that project's files by hand.",
        )
    folder = Path(labels.get(_FOLDER) or Path(files[0]).parent)
    other = ComposeFiles(
        folder=folder,
        name=name,
        files=files,
        profiles=(),
        command=project.files.command,
        environment=project.files.environment,
    )
    environment = labels.get(_ENVIRONMENT, "")
    given = ("--env-file", environment) if environment and "," not in environment else ()
    return project.beside(other).run(
        *_EVERY_PROFILE, "--project-directory", str(folder), *given, "config"
    )
