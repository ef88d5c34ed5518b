"""Which requests go where, and when: upstreams, draining, pausing."""

import asyncio
import contextlib
import itertools
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

AVOIDED_SECONDS = 1.0


@dataclass
class Upstream:
    """A process behind the proxy."""

    name: str
    host: str
    port: int
    drained: bool = False
    in_flight: int = 0
    served: int = 0
    failed_at: float = -AVOIDED_SECONDS

    @property
    def shunned(self) -> bool:
        """Whether it did not let us connect just now."""
        return time.monotonic() - self.failed_at < AVOIDED_SECONDS


class Gate:
    """Lets requests through to upstreams, or holds them back for a while.

    Args:
        upstreams: The processes behind the proxy.
    """

    def __init__(self, upstreams: list[Upstream]) -> None:
        """Open the gate."""
        self.upstreams = {upstream.name: upstream for upstream in upstreams}
        self.waiting = 0
        self.in_flight = 0
        self._open = asyncio.Event()
        self._open.set()
        self._moved = asyncio.Condition()
        self._turns = itertools.count()
        self._pauses = itertools.count(1)
        self._pause = 0
        self._alarm: asyncio.TimerHandle | None = None

    @contextlib.asynccontextmanager
    async def passage(self) -> AsyncIterator[None]:
        """Wait until the gate is open, and count as in flight while the block runs."""
        self.waiting += 1
        try:
            while not self._open.is_set():
                await self._open.wait()
        finally:
            self.waiting -= 1
        self.in_flight += 1  # nothing is awaited in between: a pause sees one or the other
        try:
            yield
        finally:
            self.in_flight -= 1
            await self._tell()

    @contextlib.asynccontextmanager
    async def at(self, upstream: Upstream) -> AsyncIterator[None]:
        """Count as in flight at an upstream while the block runs."""
        upstream.in_flight += 1
        try:
            yield
        finally:
            upstream.in_flight -= 1
            await self._tell()

    def candidates(self) -> list[Upstream]:
        """Give the upstreams in the order to try: in turn, those that failed just now last."""
        able = [upstream for upstream in self.upstreams.values() if not upstream.drained]
        turn = next(self._turns) % max(len(able), 1)
        return sorted(able[turn:] + able[:turn], key=lambda upstream: upstream.shunned)

    async def pause(self, seconds: float, patience: float) -> dict[str, Any]:
        """Hold new requests back, and wait until those in flight have ended.

        Args:
            seconds: When the gate opens again by itself, whatever becomes of the caller.
            patience: How long to wait for requests in flight; past it the gate opens again.

        Returns:
            Whether nothing is in flight (`ok`), and the number of this pause for `resume`.
        """
        if self._pause:
            return {"ok": False, "pause": 0, "reason": f"pause {self._pause} holds already"}
        mine = self._pause = next(self._pauses)
        self._open.clear()
        self._alarm = asyncio.get_running_loop().call_later(seconds, self.resume, mine)
        idle = await self._until(lambda: self.in_flight == 0, min(patience, seconds))
        ok = idle and self._pause == mine
        if not ok:
            self.resume(mine)
        return {"ok": ok, "pause": mine, "reason": "" if ok else "requests in flight did not end"}

    def resume(self, pause: int | None = None) -> bool:
        """Open the gate.

        Args:
            pause: The pause to end; None for whichever holds. An older one ends nothing.

        Returns:
            Whether a pause ended now.
        """
        if not self._pause or pause not in (None, self._pause):
            return False
        self._pause = 0
        if self._alarm is not None:
            self._alarm.cancel()
        self._open.set()
        return True

    async def drain(self, name: str, patience: float) -> dict[str, Any]:
        """Send an upstream no new requests, and wait until it has none in flight."""
        upstream = self.upstreams[name]
        upstream.drained = True
        ok = await self._until(lambda: upstream.in_flight == 0, patience)
        return {"ok": ok, "in_flight": upstream.in_flight}

    async def undrain(self, name: str) -> dict[str, Any]:
        """Send an upstream requests again."""
        upstream = self.upstreams[name]
        upstream.drained, upstream.failed_at = False, -AVOIDED_SECONDS
        return {"ok": True}

    def status(self) -> dict[str, Any]:
        """Say how things stand."""
        return {
            "paused": bool(self._pause),
            "waiting": self.waiting,
            "in_flight": self.in_flight,
            "upstreams": {
                name: {
                    "address": f"{upstream.host}:{upstream.port}",
                    "drained": upstream.drained,
                    "in_flight": upstream.in_flight,
                    "served": upstream.served,
                }
                for name, upstream in self.upstreams.items()
            },
        }

    async def _tell(self) -> None:
        async with self._moved:
            self._moved.notify_all()

    async def _until(self, holds: Callable[[], bool], seconds: float) -> bool:
        async with self._moved:
            try:
                await asyncio.wait_for(self._moved.wait_for(holds), seconds)
            except TimeoutError:
                return False
        return True
