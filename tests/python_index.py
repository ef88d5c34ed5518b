"""An index of Python packages of a test's own: wheels, sources that do not build, and a server."""

import io
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from pathlib import Path
from threading import Thread

# A build backend that needs a compiler which no image here has.
NEEDS_COMPILER = """\
import subprocess
def _need(*_args, **_more):
    subprocess.run(["cargo", "--version"], check=True)
prepare_metadata_for_build_wheel = build_wheel = _need
"""
PYPROJECT = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_args: object) -> None:
        """Say nothing."""


class Index:
    """Packages in a folder, each in one of its own, as pip reads them.

    Args:
        folder: The folder.
    """

    def __init__(self, folder: Path) -> None:
        """Make the folder."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def add(
        self, name: str, version: str, requires: Sequence[str] = (), python: str = ">=3"
    ) -> Path:
        """Add a wheel with a module of its name."""
        module = name.replace("-", "_")
        info = f"{module}-{version}.dist-info"
        metadata = [
            *("Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"),
            f"Requires-Python: {python}",
            *(f"Requires-Dist: {one}" for one in requires),
        ]
        files = {
            f"{module}.py": f"VERSION = {version!r}\n",
            f"{info}/METADATA": "\n".join([*metadata, ""]),
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        }
        record = [*files, f"{info}/RECORD"]
        files[f"{info}/RECORD"] = "".join(f"{one},,\n" for one in record)
        path = self._of(name) / f"{module}-{version}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            for one, text in files.items():
                wheel.writestr(one, text)
        return path

    def add_sources(self, name: str, version: str) -> Path:
        """Add sources alone, which need a compiler that is missing."""
        folder = f"{name}-{version}"
        path = self._of(name) / f"{folder}.tar.gz"
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        files = {"pyproject.toml": PYPROJECT, "backend.py": NEEDS_COMPILER, "PKG-INFO": about}
        with tarfile.open(path, "w:gz") as packed:
            for one, text in files.items():
                entry = tarfile.TarInfo(f"{folder}/{one}")
                entry.size = len(text.encode())
                packed.addfile(entry, io.BytesIO(text.encode()))
        return path

    def _of(self, name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder

    @contextmanager
    def served(self, address: str) -> Iterator[str]:
        """Serve it at an address of this machine; yields its URL."""
        handler = partial(_Quiet, directory=str(self.folder))
        with ThreadingHTTPServer((address, 0), handler) as server:
            thread = Thread(target=server.serve_forever)
            thread.start()
            try:
                yield f"http://{address}:{server.server_port}"
            finally:
                server.shutdown()
                thread.join()


def pip_wheel() -> bytes:
    """Give pip as Python ships it: `python FILE/pip` runs it, installed nowhere."""
    folder = resources.files("ensurepip") / "_bundled"
    (found,) = [one for one in folder.iterdir() if one.name.startswith("pip-")]
    return found.read_bytes()
