"""HTTP/1.1 on asyncio streams, as much as a reverse proxy needs.

Source: RFC 9112 (message syntax), sections 6 (body length) and 7.1 (chunked).
"""

import asyncio
import string
from dataclasses import dataclass

HEAD_LIMIT = 64 * 1024
BODY_LIMIT = 16 * 1024 * 1024
PIECE = 64 * 1024
HOP_BY_HOP = {"connection", "keep-alive", "proxy-connection", "te", "trailer", "upgrade"}
NO_BODY = {204, 304}
INFORMATIONAL = range(100, 200)


class Malformed(Exception):
    """The other side does not speak HTTP/1.1 as the standard says.

    Args:
        status: What to answer.
        reason: What was wrong.
    """

    def __init__(self, status: int, reason: str) -> None:
        """Keep the answer."""
        self.status, self.reason = status, reason
        super().__init__(reason)


@dataclass
class Head:
    """The first line and the headers of a message."""

    first: str
    headers: list[tuple[str, str]]

    def get(self, name: str) -> str | None:
        """Give a header's value; of a repeated one all, with commas."""
        found = [value for key, value in self.headers if key.lower() == name]
        return ", ".join(found) if found else None

    def without(self, names: set[str]) -> list[tuple[str, str]]:
        """Give the headers but those named, and those that hold for one hop only."""
        listed = {name.strip().lower() for name in (self.get("connection") or "").split(",")}
        away = names | HOP_BY_HOP | listed
        return [(key, value) for key, value in self.headers if key.lower() not in away]

    @property
    def method(self) -> str:
        """The method of a request."""
        return self.first.split(" ", 1)[0]

    @property
    def target(self) -> str:
        """The path and query of a request."""
        return self.first.split(" ")[1]

    @property
    def status(self) -> int:
        """The status of a response."""
        return int(self.first.split(" ")[1])

    @property
    def keeps_alive(self) -> bool:
        """Whether the sender goes on with this connection."""
        return "close" not in (self.get("connection") or "").lower() and "HTTP/1.1" in self.first

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks.

        Raises:
            Malformed: It comes in a way that we do not know.
        """
        coding = self.get("transfer-encoding")
        if coding is None:
            return False
        if coding.strip().lower() != "chunked":
            raise Malformed(501, f"transfer encoding {coding!r} is not known")
        return True

    @property
    def length(self) -> int | None:
        """The body's length in bytes, where it is said.

        Raises:
            Malformed: It is said in two ways, or is no number.
        """
        said = self.get("content-length")
        if said is None:
            return None
        if not said.isascii() or not said.isdigit() or self.get("transfer-encoding") is not None:
            raise Malformed(400, "the body's length is said in two ways, or is no number")
        return int(said)

    def encode(self) -> bytes:
        """Give the head as it goes over the wire."""
        lines = [self.first, *(f"{key}: {value}" for key, value in self.headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


async def read_head(reader: asyncio.StreamReader) -> Head | None:
    """Read a message's head; None where the other side has ended the connection.

    Raises:
        Malformed: It is none, or too long.
    """
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial.strip():
            raise Malformed(400, "the head ended early") from error
        return None
    except asyncio.LimitOverrunError as error:
        raise Malformed(431, "the head is too long") from error
    first, *lines = raw[:-4].decode("latin-1").split("\r\n")
    headers: list[tuple[str, str]] = []
    for line in lines:
        key, colon, value = line.partition(":")
        if not colon or not key or key != key.strip():
            raise Malformed(400, "a header is malformed")
        headers.append((key, value.strip()))
    if len(first.split(" ")) < 2 or "HTTP/1." not in first:  # noqa: PLR2004 - method and target
        raise Malformed(400, "the first line is malformed")
    return Head(first, headers)


async def read_body(reader: asyncio.StreamReader, head: Head) -> bytes:
    """Read a request's body.

    Raises:
        Malformed: It is too long, or not as the head says.
    """
    if not head.chunked:
        length = head.length or 0
        if length > BODY_LIMIT:
            raise Malformed(413, "the body is too long")
        return await reader.readexactly(length)
    body = bytearray()
    while size := _chunk_size(await reader.readline()):
        if len(body) + size > BODY_LIMIT:
            raise Malformed(413, "the body is too long")
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        pass  # trailers
    return bytes(body)


async def relay_body(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: Head, method: str
) -> bool:
    """Pass a response's body on, framed as it came.

    Returns:
        Whether its end was framed: else only closing the connection tells it.
    """
    if method == "HEAD" or head.status in NO_BODY:
        return True
    if head.chunked:
        await _relay_chunks(reader, writer)
        return True
    left = head.length
    framed = left is not None
    while left is None or left > 0:
        piece = await reader.read(PIECE if left is None else min(PIECE, left))
        if not piece:
            if left is None:
                break
            raise ConnectionResetError
        left = left if left is None else left - len(piece)
        writer.write(piece)
        await writer.drain()
    return framed


async def _relay_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        line = await reader.readline()
        size = _chunk_size(line)
        writer.write(line)
        if size == 0:
            break
        writer.write(await reader.readexactly(size + 2))
        await writer.drain()
    while True:
        line = await reader.readline()
        writer.write(line or b"\r\n")
        if not line.strip():
            return


def _chunk_size(line: bytes) -> int:
    number = line.split(b";")[0].strip().decode("latin-1")
    if not line.endswith(b"\n") or not number or set(number) - set(string.hexdigits):
        raise Malformed(400, "a chunk is malformed")
    return int(number, 16)
