"""The control API beside nginx: it drains as our own proxy does, and can hold nothing back.

Run as `python -m infra.sandbox.nginx_control --home FOLDER`.
"""

import argparse
import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from infra.sandbox.control import Control
from infra.sandbox.http1 import HEAD_LIMIT
from infra.sandbox.nginx import Nginx
from infra.sandbox.settings import HOST, SandboxSettings

RELOAD_SECONDS = 10.0


class NginxGate:
    """Which requests go where, by reloads of nginx.

    Args:
        nginx: The nginx.
    """

    def __init__(self, nginx: Nginx) -> None:
        """Keep it; changes nothing."""
        self._nginx = nginx
        self._reloading = asyncio.Lock()  # so that each reload knows who followed the one before

    def status(self) -> dict[str, Any]:
        """Say how things stand."""
        workers, drained = self._nginx.workers(), self._nginx.drained
        in_flight = {
            name: _in_flight(workers, port) for name, port in self._nginx.upstreams.items()
        }
        upstreams = {
            name: {
                "address": f"{HOST}:{port}",
                "drained": name in drained,
                "in_flight": in_flight[name],
            }
            for name, port in self._nginx.upstreams.items()
        }
        total = sum(in_flight.values())
        return {"paused": False, "waiting": 0, "in_flight": total, "upstreams": upstreams}

    async def pause(self, seconds: float, patience: float) -> dict[str, Any]:  # noqa: ARG002 - as our own proxy is asked
        """Say that this cannot be."""
        return {"ok": False, "pause": 0, "reason": "nginx cannot hold requests back"}

    def resume(self, pause: int | None = None) -> bool:  # noqa: ARG002 - as our own proxy is asked
        """Say that no pause ended."""
        return False

    async def drain(self, name: str, patience: float) -> dict[str, Any]:
        """Send an upstream no new requests, and wait until it has none in flight.

        Raises:
            PreconditionFailed: nginx does not run, or refuses the configuration.
        """
        port = self._nginx.upstreams[name]
        async with self._reloading:
            before = self._nginx.reload(self._nginx.drained | {name})
            ok = await _until(
                lambda: all(map(_leaves, before)) and not _in_flight(before, port), patience
            )
        return {"ok": ok, "in_flight": _in_flight(before, port)}

    async def undrain(self, name: str) -> dict[str, Any]:
        """Send an upstream requests again.

        Raises:
            PreconditionFailed: nginx does not run, or refuses the configuration.
        """
        async with self._reloading:
            before = self._nginx.reload(self._nginx.drained - {name})
            return {"ok": await _until(lambda: all(map(_leaves, before)), RELOAD_SECONDS)}


def _leaves(worker: psutil.Process) -> bool:
    """Say whether a worker takes no requests any more: nginx writes that into its title."""
    try:
        return "shutting down" in " ".join(worker.cmdline())
    except psutil.NoSuchProcess:
        return True


def _in_flight(workers: list[psutil.Process], port: int) -> int:
    """Count the connections of workers to an upstream; each carries one request."""
    found = 0
    for worker in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            connections = worker.net_connections("tcp")
            found += sum(bool(each.raddr) and each.raddr.port == port for each in connections)
    return found


async def _until(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(0.02)
    return True


async def serve(home: Path) -> None:
    """Serve the control API of a sandbox's nginx until ended.

    Args:
        home: The sandbox's home.
    """
    settings = SandboxSettings.model_validate_json((home / "sandbox.json").read_text())
    control = Control(NginxGate(Nginx(home, settings, home / "run", home / "logs")))
    port = settings.ports["proxy-control"]
    async with await asyncio.start_server(control.serve, HOST, port, limit=HEAD_LIMIT) as server:
        await server.serve_forever()


def main() -> None:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(parser.parse_args().home))


if __name__ == "__main__":
    main()
