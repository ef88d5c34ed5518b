"""A folder that an image is built from, in a compose project: sources, and what gathers beside."""

import io
import os
import shutil
import subprocess
import tarfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from infra.testbed.compose.system import ComposeSystem
from tests.leftovers import built_for_ours

DOCKERFILE = """\
# The application
ARG BASE=redis:7-alpine
FROM ${BASE} AS development
ARG SOURCE=backend
WORKDIR /srv/app
COPY ${SOURCE}/app \\
     # where it runs
     ./app
COPY --chown=65534:65534 ["backend/requirements.txt", "./"]
RUN cp requirements.txt installed.txt

FROM development AS production
COPY frontend/src /srv/static
COPY backend/kept.log /srv/
FROM production AS tests
COPY tests/ /srv/tests
"""
FILES = {
    "backend/app/main.py": 100,
    "backend/app/__pycache__/main.cpython-311.pyc": 2_000,
    "backend/requirements.txt": 20,
    "backend/kept.log": 30,
    "backend/error.log": 300_000,
    "backend/dumps/of-monday.bin": 6_000_000,
    "frontend/src/index.js": 50,
    "frontend/node_modules/left-pad/index.js": 400_000,
    "tests/test_app.py": 10,
    ".git/objects/pack": 500_000,
    "keys/server.key": 40,
    "data #1/big.bin": 7_000_000,
    "small/notes.txt": 1_000,
}
# What every container has.
_OF_THE_ENGINE = {".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"}


@dataclass
class BuildFolder:
    """The folder of a compose project, as the builder's own program sees it too."""

    system: ComposeSystem

    def write(self, name: str, content: str | int) -> Path:
        """Write a file: a text, or so many bytes."""
        path = self.system.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, int):
            path.write_bytes(os.urandom(content))
        else:
            path.write_text(content)
        return path

    @property
    def ignore(self) -> Path:
        """Its ignore file."""
        return self.system.folder / ".dockerignore"

    def fill(self) -> None:
        """Write the application, and what gathers beside it."""
        self.write("Dockerfile", DOCKERFILE)
        for name, size in FILES.items():
            self.write(name, size)

    def clear(self, keep: dict[Path, bytes]) -> None:
        """Have the files of before again, and no others."""
        for path in sorted(self.system.folder.rglob("*"), reverse=True):
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()
            elif path.is_file() and path not in keep:
                path.unlink()
        for path, data in keep.items():
            path.write_bytes(data)

    def all(self) -> dict[Path, bytes]:
        """Read every file."""
        return {path: path.read_bytes() for path in self.system.folder.rglob("*") if path.is_file()}

    def images(self) -> set[str]:
        """Name the images without a name that a remediation has built for itself."""
        with closing(self.system.project.engine.client()) as client:
            return built_for_ours(client)

    def seen_by_docker(self) -> set[str] | None:
        """List what docker's own program sends of it; None where there is no such program.

        The image is what it copies of it, everything, on nothing.
        """
        if shutil.which("docker") is None:
            return None
        engine = self.system.project.engine
        environment = {**os.environ, "DOCKER_HOST": engine.url, "DOCKER_BUILDKIT": "0"}
        probe = self.system.home / "probe.Dockerfile"
        probe.write_text('FROM scratch\nCOPY . /\nCMD ["none"]\n')
        image = subprocess.run(
            ["docker", "build", "--quiet", "--file", probe, "."],
            cwd=self.system.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        with closing(engine.client()) as client:
            made = client.api.create_container(image)["Id"]
            packed = io.BytesIO(b"".join(client.api.export(made)))
            client.api.remove_container(made)
            client.api.remove_image(image, force=True)
        with tarfile.open(fileobj=packed) as files:
            names = {one.name for one in files if one.isfile()}
        return {name for name in names if name not in _OF_THE_ENGINE}
