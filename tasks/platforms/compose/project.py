"""A compose project: its files and verbs by the compose program, its containers by the engine."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.platforms.applications import Completed
from tasks.platforms.compose.complaints import insisted_on, shown
from tasks.platforms.compose.engine import OF_PROJECT, OF_SERVICE, Engine, Found
from tasks.platforms.local_commands import run_here

ONE_OFF = "com.docker.compose.oneoff"  # 'True' for one of `compose run`


@dataclass(frozen=True)
class ComposeFiles:
    """Where a project is described.

    Args:
        folder: Folder of the project.
        name: Name of the project.
        files: Its compose files, each laid over those before it.
        profiles: Profiles that are in use.
        command: The compose program.
        environment: What the program is called with, as DOCKER_CONFIG.
    """

    folder: Path
    name: str
    files: tuple[str, ...]
    profiles: tuple[str, ...]
    command: tuple[str, ...]
    environment: Mapping[str, str]


class Project:
    """A compose project on an engine.

    Args:
        files: Where it is described.
        engine: Where it runs.
    """

    def __init__(self, files: ComposeFiles, engine: Engine) -> None:
        """Keep where it is; asks nothing."""
        self.files, self.engine, self.name = files, engine, files.name

    def beside(self, files: ComposeFiles) -> "Project":
        """Give another project on the same engine."""
        return Project(files, self.engine)

    def containers(self, service: str) -> list[Found]:
        """Find a service's containers, whatever compose has called them; none of `compose run`."""
        return self.engine.containers(
            {OF_PROJECT: self.name, OF_SERVICE: service, ONE_OFF: "False"}
        )

    def container(self, service: str) -> Found:
        """Find a service's container.

        Raises:
            Transient: There is none.
        """
        found = self.containers(service)
        if not found:
            raise Transient(
                expected=f"a container of service {service} of compose project {self.name}.",
                found=f"none on the engine at {self.engine.url}.",
                todo=f"Start it with `compose up -d {service}`, or correct the target's names.",
            )
        return found[0]

    def unset(self) -> tuple[str, ...]:
        """Name the variables that the files insist on (`${NAME:?}`), and that are not set.

        Returns:
            As far as compose says; none where it refuses the files for another reason first.
        """
        given: dict[str, str] = {}
        while (done := self.try_to("config", "-q", variables=given)).status:
            name = insisted_on(done.errors)
            if not name or name in given:
                break
            given[name] = "given"
        return tuple(given)

    def described(self, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Read what the compose files say, with the values of `.env` in them.

        Args:
            variables: Values that go before those of `.env`.

        Returns:
            All of it, as the compose format describes it.

        Raises:
            PreconditionFailed: The files cannot be read.
        """
        said: dict[str, Any] = yaml.safe_load(self.run("config", variables=variables))
        return said

    def configuration(
        self, service: str, described: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """Read what the compose files say of a service.

        Args:
            service: Its name.
            described: What `described` gave; read anew where not given.

        Returns:
            Its part.

        Raises:
            PreconditionFailed: The files cannot be read, or have no such service.
        """
        said = (described or self.described())["services"]
        if service not in said:
            raise PreconditionFailed(
                expected=f"service {service} in the compose files of {self.files.folder}.",
                found=f"{', '.join(sorted(said))}.",
                todo="Correct the names of services, files or profiles of the target.",
            )
        found: dict[str, Any] = said[service]
        return found

    def settings(self, service: str, described: dict[str, Any] | None = None) -> dict[str, str]:
        """Give the environment with which a service is started now.

        Args:
            service: Its name.
            described: What `described` gave; read anew where not given.

        Returns:
            Value by name.
        """
        given = self.configuration(service, described).get("environment") or {}
        # What `config` prints is a compose file again: a dollar sign stands there twice.
        return {
            name: str(value).replace("$$", "$")
            for name, value in given.items()
            if value is not None
        }

    def run(self, *arguments: str, variables: Mapping[str, str] | None = None) -> str:
        """Carry a verb of compose out.

        Args:
            arguments: The verb with its arguments; no secret among them.
            variables: Values that go before those of `.env`.

        Returns:
            What it printed.

        Raises:
            PreconditionFailed: It failed.
        """
        done = self.try_to(*arguments, variables=variables)
        if done.status:
            todo = f"Run it by hand in {self.files.folder}, and read what it says."
            if insisted_on(done.errors):
                todo = (
                    "restore-secrets finds who still knows it; or set it in the project's `.env`."
                )
            raise PreconditionFailed(
                expected=f"`{' '.join((*self.files.command, *arguments))}` to be carried out.",
                # What it printed may hold a part of a setting, and the record is for ever.
                found=f"it ended with status {done.status}: {'; '.join(shown(done.errors))}.",
                state="What it did until then stands.",
                todo=todo,
            )
        return done.output

    def try_to(
        self,
        *arguments: str,
        given: Sequence[str] | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> Completed:
        """Call compose, and give how it ended.

        Args:
            arguments: The verb with its arguments; no secret among them.
            given: Compose files in the project's folder; those of the project by default.
            variables: Values that go before those of `.env`.

        Raises:
            PreconditionFailed: The project's folder is not there.
        """
        files = self.files
        if not files.folder.is_dir():
            raise PreconditionFailed(
                expected="the folder of the compose project.",
                found=f"no {files.folder}.",
                todo="Correct `project_directory` of the target.",
            )
        return run_here(
            [
                *(*files.command, "-p", files.name),
                *_each("-f", files.files if given is None else given),
                *_each("--profile", files.profiles),
                *arguments,
            ],
            files.folder,
            {**self._environment(), **(variables or {})},
        )

    def _environment(self) -> dict[str, str]:
        # Nothing else of ours: a variable of the same name goes before one of `.env`.
        given = {"PATH": os.environ.get("PATH", os.defpath), **self.engine.environment()}
        return {**given, **self.files.environment}


def owner(project: str, target: str) -> str:
    """Give the label's value by which a target's containers of ours are known on an engine.

    Args:
        project: Name of the compose project: another one may be a target of the same name.
        target: Name of the target.
    """
    return f"{project}/{target}"


def _each(option: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in (option, value)]
