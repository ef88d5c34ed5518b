"""A gate between nginx and the application, which holds requests back for a moment.

nginx cannot hold requests. For that time it sends them to a container of the application's own
image that does: it lets them through when it is opened, and by itself when it was not.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from docker.errors import APIError, NotFound
from docker.types import LogConfig

from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.systems import fencing_token, insist_on_fence
from tasks.platforms.compose.application.proxy import ComposeProxy
from tasks.platforms.compose.engine import GATES, OF_TARGET, OF_TOKEN, Found
from tasks.platforms.compose.project import Project, owner

# How long requests on the way may take to end; those that come meanwhile wait at the gate.
_PATIENCE_SECONDS = 2.0
_ENGINE_BACK_WITHIN_SECONDS = 45.0
_UP_WITHIN_SECONDS = 30.0
_LISTENS = "listens"
# For any Python since 3.8: its own is the application's.
_PROGRAM = f"""
import asyncio, signal, sys
host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])

async def carry(reader, writer):
    try:
        while True:
            data = await reader.read(65536)
            if not data:
                break
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()

async def main():
    is_open = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, is_open.set)

    async def let_through(reader, writer):
        try:
            await asyncio.wait_for(is_open.wait(), seconds)
        except asyncio.TimeoutError:
            is_open.set()
        try:
            inward, outward = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(carry(reader, outward), carry(inward, writer))

    server = await asyncio.start_server(let_through, "0.0.0.0", port)
    print("{_LISTENS}", flush=True)
    async with server:
        await server.serve_forever()

asyncio.run(main())
"""


class ComposeGate:
    """A gate before one service.

    Args:
        project: The compose project.
        proxy: nginx before the service.
        target: Name of the target.
        service: The service.
        port: The port that it listens at inside.
    """

    def __init__(
        self, project: Project, proxy: ComposeProxy, target: str, service: str, port: int
    ) -> None:
        """Keep where it is; starts nothing."""
        self._project, self._proxy = project, proxy
        self._service, self._port = service, port
        self._name = f"{project.name}-{service}-gate"
        self._upstream, self._gate = f"{service}:{port}", f"{self._name}:{port}"
        self._labels = {OF_TARGET: owner(project.name, target), GATES: service}

    @contextmanager
    def holding(self, seconds: float) -> Iterator[bool]:
        """Hold new requests back while the block runs, those in flight having ended.

        Args:
            seconds: How long each is held at most, whatever becomes of us.

        Yields:
            Whether that was possible; where not, requests go on as ever.
        """
        held = self._hold(seconds)
        try:
            yield held
        finally:
            if held:
                # It opens by itself meanwhile, and a successor removes it if we do not.
                with suppress(Transient, PreconditionFailed):
                    self._open_at_last()

    def _hold(self, seconds: float) -> bool:
        try:
            if self._project.engine.containers(self._labels):
                self._open()  # it still had requests the last time, or the engine was away
            if not self._proxy.can_switch():
                return False
            self._start(self._project.container(self._service), seconds)
            self._proxy.switch(self._upstream, self._gate, _PATIENCE_SECONDS)
        except (Transient, PreconditionFailed):
            with suppress(Transient, PreconditionFailed):
                self._open()
            return False
        return True

    def _start(self, like: Found, seconds: float) -> None:
        networks = list(like.addresses)
        with self._project.engine.client() as client:
            made = client.containers.create(
                like.image,
                ["-c", _PROGRAM, self._service, str(self._port), str(seconds)],
                entrypoint=["python"],
                labels={**self._labels, OF_TOKEN: str(fencing_token())},
                name=self._name,
                network=networks[0],
                restart_policy={"Name": "always"},
                log_config=LogConfig(type="json-file"),  # what it says is read from there
            )
            for network in networks[1:]:
                client.networks.get(network).connect(made)
            insist_on_fence()  # behind its creation: from here on a successor sees it
            made.start()
            deadline = time.monotonic() + _UP_WITHIN_SECONDS
            while _LISTENS.encode() not in made.logs():
                if time.monotonic() > deadline:
                    raise PreconditionFailed(
                        expected=f"{self._name} to listen: requests would be held there.",
                        found=made.logs(tail=5).decode(errors="replace").strip() or "it does not.",
                        state=f"Requests go to {self._upstream} as before.",
                        todo="Look whether its image has `python`.",
                    )
                time.sleep(0.05)

    def _open_at_last(self) -> None:
        """Open it, though the engine may be starting anew just now: nobody asks for it later."""
        deadline = time.monotonic() + _ENGINE_BACK_WITHIN_SECONDS
        while True:
            try:
                self._open()
            except Transient:
                if time.monotonic() > deadline:
                    raise
                time.sleep(1)
            else:
                return

    def _open(self) -> None:
        """Let all through, lead nginx past it, and remove it once its requests have ended."""
        with self._project.engine.client() as client, suppress(APIError):  # it does not run
            client.containers.get(self._name).kill("SIGUSR1")
        # Also where the file says so already: nginx may not have read it.
        self._proxy.switch(self._gate, self._upstream)
        self._remove()

    def _remove(self) -> None:
        with self._project.engine.client() as client, suppress(NotFound):
            client.containers.get(self._name).remove(force=True)

    def end_older(self, token: int) -> list[str]:
        """Open and remove the gate that an older remediation has left.

        Args:
            token: The fencing token held now.

        Returns:
            A sentence for it.

        Raises:
            Transient: Its requests do not end, or the engine does not answer.
        """
        left = [
            one
            for one in self._project.engine.containers(self._labels)
            if int(one.labels[OF_TOKEN]) < token
        ]
        if left or self._proxy.sends_to(self._gate):
            try:
                self._open()
            except Transient:
                if self._proxy.sends_to(self._gate):
                    raise
                self._remove()  # what has gone through it since that remediation ends with it
        return [f"container {one.name} of token {one.labels[OF_TOKEN]}" for one in left]
