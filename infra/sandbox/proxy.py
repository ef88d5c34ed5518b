"""A reverse proxy before the application's processes, that can hold requests back and drain.

Run as `python -m infra.sandbox.proxy --listen PORT --control PORT NAME=PORT…`. A request is read
whole before it is sent on, each over a connection of its own: so it goes to the other process
where the first does not let us connect, and is repeated only where that does no harm.
"""

import argparse
import asyncio
import contextlib
import logging
import resource
import time

from infra.sandbox.control import Control, answer
from infra.sandbox.gate import Gate, Upstream
from infra.sandbox.http1 import (
    HEAD_LIMIT,
    INFORMATIONAL,
    Head,
    Malformed,
    read_body,
    read_head,
    relay_body,
)

HOST = "127.0.0.1"
CONNECT_SECONDS = 2.0
ANSWER_SECONDS = 60.0
IDLE_SECONDS = 75.0
REPEATABLE = {"GET", "HEAD", "OPTIONS"}

logger = logging.getLogger("proxy")
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class NoAnswer(Exception):
    """An upstream took the request and did not begin an answer."""


class Proxy:
    """Takes requests from clients, and gives them to upstreams through the gate."""

    def __init__(self, gate: Gate) -> None:
        """Stand before a gate."""
        self.gate = gate

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a client's connection to its end."""
        try:
            while await self._one(reader, writer):
                pass
        except Malformed as error:
            with contextlib.suppress(OSError):
                await answer(writer, error.status, {"detail": error.reason}, close=True)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # the client went away, or idled too long
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = await asyncio.wait_for(read_head(reader), IDLE_SECONDS)
        if head is None:
            return False
        if (head.get("expect") or "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await asyncio.wait_for(read_body(reader, head), IDLE_SECONDS)
        away = {"content-length", "transfer-encoding", "expect"}
        peer = writer.get_extra_info("peername")[0]
        sent = Head(head.first, [*head.without(away), ("X-Forwarded-For", peer)])
        if body or head.method not in REPEATABLE:
            sent.headers.append(("Content-Length", str(len(body))))
        sent.headers.append(("Connection", "close"))
        async with self.gate.passage():
            return await self._forward(sent, body, writer, keep=head.keeps_alive)

    async def _forward(
        self, head: Head, body: bytes, writer: asyncio.StreamWriter, *, keep: bool
    ) -> bool:
        status, reason = 502, "no process of the application lets us connect"
        for upstream in self.gate.candidates():
            try:
                async with self.gate.at(upstream):
                    return await self._attempt(upstream, head, body, writer, keep=keep)
            except NoAnswer as error:
                logger.warning("%s %s: %s gave no answer", head.method, head.target, upstream.name)
                timed_out = isinstance(error.__cause__, TimeoutError)
                status = 504 if timed_out else 502
                reason = f"{upstream.name} gave no answer"
                if timed_out or head.method not in REPEATABLE:
                    break
            except ConnectionRefusedError:
                logger.warning("%s does not let us connect", upstream.name)
        await answer(writer, status, {"detail": reason}, close=not keep)
        return keep

    async def _attempt(
        self,
        upstream: Upstream,
        head: Head,
        body: bytes,
        writer: asyncio.StreamWriter,
        *,
        keep: bool,
    ) -> bool:
        inner, outer = await _connect(upstream)
        try:
            try:
                outer.write(head.encode() + body)
                response = await asyncio.wait_for(_first(inner, outer), ANSWER_SECONDS)
            except (OSError, asyncio.IncompleteReadError, Malformed, TimeoutError) as error:
                raise NoAnswer from error
            upstream.served += 1
            framed = (
                head.method == "HEAD"
                or response.chunked
                or response.length is not None
                or response.status in {204, 304}
            )
            keep = keep and framed
            passed = Head(response.first, response.without(set()))
            passed.headers.append(("Connection", "keep-alive" if keep else "close"))
            writer.write(passed.encode())
            await relay_body(inner, writer, response, head.method)
            await writer.drain()
        finally:
            outer.close()
        return keep


async def _connect(upstream: Upstream) -> Streams:
    try:
        opening = asyncio.open_connection(upstream.host, upstream.port, limit=HEAD_LIMIT)
        return await asyncio.wait_for(opening, CONNECT_SECONDS)
    except (OSError, TimeoutError) as error:
        upstream.failed_at = time.monotonic()
        raise ConnectionRefusedError from error


async def _first(inner: asyncio.StreamReader, outer: asyncio.StreamWriter) -> Head:
    await outer.drain()
    while True:
        head = await read_head(inner)
        if head is None:
            raise ConnectionResetError
        if head.status not in INFORMATIONAL:
            return head


async def run(listen: int, control: int, upstreams: list[Upstream]) -> None:
    """Serve until ended.

    Args:
        listen: Port for clients.
        control: Port of the control API.
        upstreams: The processes behind.
    """
    gate = Gate(upstreams)
    front = await asyncio.start_server(Proxy(gate).serve, HOST, listen, limit=HEAD_LIMIT)
    back = await asyncio.start_server(Control(gate).serve, HOST, control, limit=HEAD_LIMIT)
    async with front, back:
        await asyncio.gather(front.serve_forever(), back.serve_forever())


def main() -> None:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--listen", type=int, required=True)
    parser.add_argument("--control", type=int, required=True)
    parser.add_argument("upstreams", nargs="+", metavar="NAME=PORT")
    given = parser.parse_args()
    named = [each.partition("=") for each in given.upstreams]
    upstreams = [Upstream(name, HOST, int(port)) for name, _, port in named]
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(run(given.listen, given.control, upstreams))


if __name__ == "__main__":
    main()
