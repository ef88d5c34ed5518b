"""The image of the sandbox's application, built from the compose project's own Dockerfile.

Its packages are installed here and copied in: a build has no network.
"""

import hashlib
import importlib.metadata
import os
import shutil
import tempfile
from pathlib import Path

import docker

from infra.testbed.docker.building import build, recipe_of
from infra.testbed.running import output_of

APPLICATION = Path(__file__).parents[2] / "sandbox" / "application"
DOCKERFILE = Path(__file__).parents[1] / "compose" / "files" / "Dockerfile"
PYTHON = "python:3.11"
STAGES = {stage: f"planner-app:{stage}" for stage in ("development", "production")}
PACKAGES = (
    *("fastapi", "uvicorn", "sqlalchemy", "alembic", "psycopg[binary]", "redis"),
    *("bcrypt", "pyjwt", "pydantic-settings"),
)
# The scripts that come with packages name the Python that installed them.
COMMANDS = {name: f'#!/bin/sh\nexec python -m {name} "$@"\n' for name in ("uvicorn", "alembic")}


def provide_application(client: docker.DockerClient, base: str) -> None:
    """Have the application's images on an engine, one for each stage of its Dockerfile.

    Args:
        client: The engine.
        base: An image with Python.

    Raises:
        PreconditionFailed: They cannot be built; says why.
    """
    recipe = _recipe(base)
    if all(recipe_of(client, name) == recipe for name in STAGES.values()):
        return
    with tempfile.TemporaryDirectory() as given:
        folder = Path(given)
        shutil.copy(DOCKERFILE, folder / "Dockerfile")
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(APPLICATION, folder / "application", ignore=ignored)
        (folder / "bin").mkdir()
        for name, text in COMMANDS.items():
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        _install(folder, _python_of(client, base))
        for stage, name in STAGES.items():
            build(client, folder, name, base, recipe=recipe, target=stage)


def _recipe(base: str) -> str:
    """Hash what the images are built from."""
    files = [path for path in APPLICATION.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    parts = [base, DOCKERFILE.read_text(), *_constraints(), *COMMANDS.values(), *PACKAGES]
    parts += [f"{path.relative_to(APPLICATION)}\n{path.read_text()}" for path in sorted(files)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _constraints() -> list[str]:
    """Give the versions that are installed here: the image's are the same."""
    found = {one.name.lower(): one.version for one in importlib.metadata.distributions()}
    left_out = {"remedy", "py-spy"}  # that looks at it from outside
    return [f"{name}=={found[name]}" for name in sorted(found.keys() - left_out)]


def _python_of(client: docker.DockerClient, base: str) -> str:
    """Ask an image for the version of its Python, as '3.11'."""
    command = ["python", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    said = client.containers.run(base, command, remove=True, network_mode="none")
    return bytes(said).decode().strip()


def _install(folder: Path, python: str) -> None:
    (folder / "constraints.txt").write_text("\n".join(_constraints()))
    uv = os.environ.get("UV") or "uv"
    output_of(
        [
            *(uv, "pip", "install", "--quiet", "--target", folder / "site", "--link-mode=copy"),
            *("--python-version", python, "--only-binary=:all:", "--compile-bytecode"),
            *("--constraint", folder / "constraints.txt", *PACKAGES),
        ],
        expected=f"the application's packages for Python {python}.",
        todo="Look whether the index of packages answers.",
    )
    shutil.rmtree(folder / "site" / "bin", ignore_errors=True)
