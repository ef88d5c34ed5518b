"""What a scene stands on: a sandbox, or a compose project on a real engine."""

import hashlib
import json
import re
from collections.abc import Iterable
from contextlib import closing, suppress
from pathlib import Path
from typing import Protocol

import httpx
from docker.models.containers import Container

from infra.sandbox import pristine
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from infra.testbed.compose.project import OF_PROJECT, OF_SERVICE
from infra.testbed.compose.system import ComposeSystem
from tasks.guardrails.errors import RemediationError
from tasks.platforms.compose.engine import OF_TARGET
from tasks.platforms.compose.target import ComposeTarget
from tasks.platforms.protocols import System
from tasks.platforms.sandbox.target import SandboxTarget

_USER = "POSTGRES_USER"


class Ground(Protocol):
    """A system that is broken anew for each run of a remediation."""

    platform: str

    @property
    def planner(self) -> Planner:
        """The system."""

    def reset(self) -> None:
        """Bring it back to its pristine state; backups stay."""

    def target(self, port: int | None = None) -> System:
        """Give it as a target, its database reached through another port where one is given."""

    def argument(self, home: Path, port: int | None = None) -> str:
        """Say where it is, as `run_in_process` takes it.

        Args:
            home: Where a file may be written for that.
            port: As for `target`.
        """

    def around(self) -> dict[str, list[str]]:
        """List what lies around it on its platform, by its sort."""


class SandboxGround:
    """A sandbox.

    Args:
        planner: The sandbox; its pristine copy was kept.
    """

    platform = "sandbox"

    def __init__(self, planner: Sandbox) -> None:
        """Know it."""
        self.planner = planner

    def reset(self) -> None:
        """Bring it back to its pristine state."""
        pristine.reset(self.planner)

    def target(self, port: int | None = None) -> System:
        """Give it as a target."""
        fields = self.planner.target_settings()
        return SandboxTarget(**{**fields, "port": port or fields["port"]})

    def argument(self, home: Path, port: int | None = None) -> str:
        """Say where it is."""
        assert home
        return f"sandbox={self.planner.home}@{port or ''}"

    def around(self) -> dict[str, list[str]]:
        """List its files and processes."""
        home = self.planner.home
        inside = (home / folder for folder in ("backups", "application", "secrets"))
        control = self.planner.control_url
        status = httpx.get(f"{control}/status", trust_env=False, timeout=60).json()
        return {
            "files": [str(path.relative_to(home)) for at in inside for path in at.rglob("*")],
            "replicas": [
                f"{name} {self._user(name)} {'drained' if one['drained'] else 'serves'}"
                for name, one in status["upstreams"].items()
            ],
            "users of the cache": self._cache_users(),
        }

    def _cache_users(self) -> list[str]:
        """Give them live and as the next start has them, without their passwords."""
        written = (self.planner.valkey.folder / "valkey.conf").read_text().splitlines()
        lines = [f"written: {one}" for one in written if one.startswith("user ")]
        with suppress(RemediationError), self.target().cache_server.connect() as client:
            lines += [f"live: {one}" for one in map(str, client.acl_list())]
        return [re.sub(r"#[0-9a-f]{64}", "#", one) for one in lines]

    def _user(self, name: str) -> str:
        """Say as whom a replica was told to log in to the database."""
        process = self.planner.services()[name].process()
        return process.environ()[_USER] if process else "does not run"


class ComposeGround:
    """A compose project.

    Args:
        planner: The project; its pristine copy was kept.
    """

    platform = "compose"

    def __init__(self, planner: ComposeSystem) -> None:
        """Know it, and its files as they are."""
        self.planner = planner
        self._shipped = {
            path: path.read_bytes() for path in planner.folder.rglob("*") if path.is_file()
        }
        self._memory = {one.name: _memory_of(one) for one in self._containers()}

    def reset(self) -> None:
        """Bring it back to its pristine state."""
        for path in self.planner.folder.rglob("*"):
            if path.is_file() and path not in self._shipped:
                path.unlink()
        for path, content in self._shipped.items():
            if not path.is_file() or path.read_bytes() != content:
                path.write_bytes(content)
        for one in self._containers():  # set while it ran: no file says it
            if (limit := self._memory.get(one.name)) and limit != _memory_of(one):
                one.update(mem_limit=limit[0], memswap_limit=limit[1])
        self.planner.reset()

    def _containers(self) -> list[Container]:
        of_it: dict[str, str | list[str] | bool] = {
            "label": f"{OF_PROJECT}={self.planner.project.name}"
        }
        with closing(self.planner.project.engine.client()) as client:
            return client.containers.list(all=True, filters=of_it)

    def target(self, port: int | None = None) -> System:
        """Give it as a target; its database is reached in its network alone."""
        assert port is None
        return ComposeTarget(**self.planner.target_settings())

    def argument(self, home: Path, port: int | None = None) -> str:
        """Say where it is."""
        assert port is None
        file = home / "target.json"
        file.write_text(json.dumps(self.planner.target_settings()))
        return f"compose={file}"

    def around(self) -> dict[str, list[str]]:
        """List its files, containers, networks and volumes, and what stands beside it."""
        folder, project = self.planner.folder, self.planner.project.name
        files = [path for path in folder.rglob("*") if path.is_file()]
        of_it: dict[str, str | list[str] | bool] = {"label": f"{OF_PROJECT}={project}"}
        beside: dict[str, str | list[str] | bool] = {"label": OF_TARGET}
        with closing(self.planner.project.engine.client()) as client:
            containers = client.containers.list(all=True, filters=of_it)
            # Another worker's may go while the list is read.
            others = client.containers.list(all=True, filters=beside, ignore_removed=True)
            return {
                "files": [
                    *(f"{path.relative_to(folder)} {_sum(path)}" for path in files),
                    *(f"{path.parent.name}/{path.name}" for path in self._kept()),
                ],
                "replicas": [_described(one) for one in containers],
                "stand-ins": [
                    str(one.name) for one in others if one.labels[OF_TARGET].startswith(project)
                ],
                "networks": [str(one.name) for one in client.networks.list(filters=of_it)],
                "volumes": [
                    one.name for one in client.volumes.list() if one.name.startswith(project)
                ],
            }

    def _kept(self) -> Iterable[Path]:
        for folder in (self.planner.backups, self.planner.secrets):
            yield from folder.rglob("*")


def _memory_of(container: Container) -> tuple[int, int]:
    configured = container.attrs["HostConfig"]
    return configured["Memory"], configured["MemorySwap"]


def _sum(path: Path) -> str:
    # Its values differ from run to run where a password is made: its names do not.
    lines = path.read_bytes().splitlines()
    if path.name == ".env":
        lines = [line.partition(b"=")[0] for line in lines]
    return hashlib.sha256(b"\n".join(lines)).hexdigest()[:12]


def _described(container: Container) -> str:
    """Name a container with its state, and as whom it logs in to the database."""
    settings = dict(one.partition("=")[::2] for one in container.attrs["Config"]["Env"] or [])
    image, memory = container.attrs["Config"]["Image"], container.attrs["HostConfig"]["Memory"]
    what = (container.labels[OF_SERVICE], container.name, container.status, image, memory)
    return " ".join(map(str, (*what, settings.get(_USER, ""))))
