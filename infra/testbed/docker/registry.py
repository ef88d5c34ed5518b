"""A registry of images on this machine, for what is pulled again: Debian's docker-registry.

Its package is unpacked, not installed: it would start a service.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from infra.sandbox.settings import choose_port
from infra.testbed.docker.engine import locked
from infra.testbed.running import output_of
from tasks.guardrails.errors import PreconditionFailed

_PACKAGE = "docker-registry"
_UP_WITHIN_SECONDS = 60.0
_CONFIGURATION = """\
version: 0.1
log: {{level: error}}
storage:
  filesystem: {{rootdirectory: {folder}/images}}
  delete: {{enabled: true}}
http: {{addr: 127.0.0.1:{port}}}
"""


@contextmanager
def registry(cache: Path) -> Iterator[str]:
    """Run a registry while the block runs; what was pushed to it goes with it.

    Args:
        cache: Folder that keeps its program from one run to the next.

    Yields:
        Its address, as 127.0.0.1:5000: an engine of this machine trusts it as it is.

    Raises:
        PreconditionFailed: It cannot be had here, or does not come up.
    """
    program = _provide(cache)
    port = choose_port()
    folder = Path(tempfile.mkdtemp(prefix="remedy-registry-"))
    (folder / "config.yml").write_text(_CONFIGURATION.format(folder=folder, port=port))
    started = subprocess.Popen(
        [program, "serve", folder / "config.yml"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _await(f"http://127.0.0.1:{port}/v2/", started)
        yield f"127.0.0.1:{port}"
    finally:
        started.terminate()
        started.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _await(url: str, started: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _UP_WITHIN_SECONDS
    while True:
        with suppress(httpx.HTTPError):
            if httpx.get(url, trust_env=False).is_success:
                return
        if started.poll() is not None or time.monotonic() > deadline:
            raise PreconditionFailed(
                expected=f"a registry that answers at {url}.",
                found=f"none; its program's status is {started.poll()}.",
                todo="Run it by hand, and read what it says.",
            )
        time.sleep(0.05)


def _provide(cache: Path) -> Path:
    if found := shutil.which(_PACKAGE):
        return Path(found)
    folder = cache / _PACKAGE
    cache.mkdir(parents=True, exist_ok=True)
    with locked(cache / f"{_PACKAGE}.lock"):
        if not folder.exists():
            _unpack(folder)
    return folder / "usr" / "bin" / _PACKAGE


def _unpack(folder: Path) -> None:
    todo = f"Install {_PACKAGE}."
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise PreconditionFailed(
            expected=f"the program {_PACKAGE}, or Debian's package of it.",
            found="neither, and no apt-get to fetch it with.",
            todo=todo,
        )
    with tempfile.TemporaryDirectory(dir=folder.parent) as given:
        draft = Path(given)
        output_of(
            ["apt-get", "-o", "APT::Sandbox::User=root", "download", _PACKAGE],
            expected=f"apt-get to fetch {_PACKAGE}.",
            todo=todo,
            folder=draft,
        )
        (package,) = draft.glob("*.deb")
        output_of(
            ["dpkg-deb", "--extract", package, draft / "program"],
            expected=f"dpkg-deb to unpack {package.name}.",
            todo=todo,
        )
        (draft / "program").rename(folder)
