"""The control API of the sandbox's proxy, whichever it is."""

import asyncio
import json
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from infra.sandbox.http1 import Head, Malformed, read_body, read_head
from tasks.guardrails.errors import RemediationError

ASKED_WITHIN_SECONDS = 10.0
PATIENCE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 60.0
REASONS = {400: "Bad Request", 413: "Content Too Large", 502: "Bad Gateway", 504: "Gateway Timeout"}


class Controlled(Protocol):
    """A proxy that says how it stands, and does what it can of this."""

    def status(self) -> dict[str, Any]:
        """Say how things stand."""

    async def pause(self, seconds: float, patience: float) -> dict[str, Any]:
        """Hold new requests back; `ok` is false where that cannot be."""

    def resume(self, pause: int | None = None) -> bool:
        """End a pause; says whether one ended now."""

    async def drain(self, name: str, patience: float) -> dict[str, Any]:
        """Send an upstream no new requests, and wait until it has none in flight."""

    async def undrain(self, name: str) -> dict[str, Any]:
        """Send an upstream requests again."""


async def answer(
    writer: asyncio.StreamWriter, status: int, value: object, *, close: bool = False
) -> None:
    """Answer a client ourselves, with JSON."""
    body = json.dumps(value).encode()
    connection = "close" if close else "keep-alive"
    head = Head(
        f"HTTP/1.1 {status} {REASONS.get(status, 'OK')}",
        [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            ("Connection", connection),
        ],
    )
    writer.write(head.encode() + body)
    await writer.drain()


class Control:
    """The control API: GET /status; POST /pause, /resume, /drain, /undrain."""

    def __init__(self, gate: Controlled) -> None:
        """Control a gate."""
        self.gate = gate

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request."""
        try:
            head = await asyncio.wait_for(read_head(reader), ASKED_WITHIN_SECONDS)
            if head is not None:
                await read_body(reader, head)
                await answer(writer, 200, await self._act(head), close=True)
        except (Malformed, KeyError, ValueError, RemediationError) as error:
            await answer(writer, 400, {"ok": False, "reason": str(error)}, close=True)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass
        finally:
            writer.close()

    async def _act(self, head: Head) -> object:
        parts = urlsplit(head.target)
        given = {key: values[-1] for key, values in parse_qs(parts.query).items()}
        patience = float(given.get("patience", PATIENCE_SECONDS))
        match head.method, parts.path:
            case "GET", "/status":
                return self.gate.status()
            case "POST", "/pause":
                seconds = min(float(given["seconds"]), LONGEST_PAUSE_SECONDS)
                return await self.gate.pause(seconds, patience)
            case "POST", "/resume":
                pause = int(given["pause"]) if "pause" in given else None
                return {"ok": self.gate.resume(pause)}
            case "POST", "/drain":
                return await self.gate.drain(given["upstream"], patience)
            case "POST", "/undrain":
                return await self.gate.undrain(given["upstream"])
            case method, path:
                raise Malformed(400, f"{method} {path} is not known")
