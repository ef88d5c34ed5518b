"""The fork server: flows are imported once, each run gets a fresh child of it."""

import contextlib
import enum
import math
import multiprocessing
import signal
import time
from dataclasses import dataclass, field
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from uuid import UUID

import anyio
import psutil
from anyio import to_thread
from prefect.client.schemas.objects import FlowRun

from deployments.worker import child, frozen
from deployments.worker.place import Place
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.holders import is_at_work

_EXIT_CODE_SECONDS = 5
_READY_SECONDS = 120
_RESTOCK_SECONDS = 1
_UNKNOWN = 255  # what multiprocessing gives where the fork server died before the child


class Ended(enum.StrEnum):
    """Why the worker ended a child."""

    CANCELLED = "cancelled"
    HANDED_OVER = "handed over"
    KILLED = "killed"


HANDED_OVER = "Its worker ended; it is carried on from the ledger by another."
# How a child ends that was asked to drain: between two changes, or before it could hear that.
_DRAINED = (child.TERMINATED, -signal.SIGUSR1)


@dataclass
class Child:
    """The process of a run.

    Args:
        run: Id of the run.
        place: Where it is.
        process: The process as multiprocessing has it.
        ended: Why the worker ended it; None where it did not.
        reason: The same as a sentence.
        since: When it was started, by the clock of `time.monotonic`.
        drains: Whether it was asked to end before its next change.
    """

    run: UUID
    place: Place
    process: ForkServerProcess
    ended: Ended | None = None
    reason: str = ""
    since: float = field(default_factory=time.monotonic)
    drains: bool = False

    async def wait(self) -> int | None:
        """Wait until it has ended.

        Returns:
            The exit code, negative for a signal; None where nobody can tell any more.
        """
        await anyio.wait_readable(self.process.sentinel)
        await self.place.gone()  # it may go on where the fork server died
        await to_thread.run_sync(self.process.join, _EXIT_CODE_SECONDS)
        code = self.process.exitcode
        self.process.close()
        if self.drains and self.ended is None and code in _DRAINED:
            self.ended, self.reason = Ended.HANDED_OVER, HANDED_OVER
        return None if code == _UNKNOWN else code

    def drain(self) -> None:
        """Ask it to end before its next change."""
        self.drains = True
        self.place.send(signal.SIGUSR1)

    async def end(self, why: Ended, reason: str, grace_seconds: float) -> None:
        """Ask it to end, and kill it if it does not.

        Args:
            why: Why.
            reason: The same as a sentence.
            grace_seconds: How long it may take.
        """
        self.ended, self.reason = why, reason
        await self.place.end(grace_seconds)

    def kill(self, reason: str) -> None:
        """Kill it, with the reason."""
        self.ended, self.reason = Ended.KILLED, reason
        self.place.kill()


@dataclass(frozen=True)
class _Spare:
    """A child that is ready and waits for the run that it is to carry out."""

    process: ForkServerProcess
    orders: Connection


class ForkServer:
    """The process from which runs are forked; one for each worker process.

    Args:
        module: The module of the catalogue.
    """

    def __init__(self, module: str) -> None:
        """Say what is preloaded; starts nothing."""
        self._module = module
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([child.__name__, module, frozen.__name__])
        self._one_at_a_time = anyio.Lock()
        self._spare: _Spare | None = None
        self._forked_at = -math.inf
        self.pid = 0
        self.version = ""

    async def prepare(self) -> None:
        """Start it, or start it anew where it died, and wait until it has imported everything.

        Raises:
            PreconditionFailed: It does not come up.
        """
        async with self._one_at_a_time:
            await to_thread.run_sync(self._prepare)

    def _prepare(self) -> None:
        self.dismiss_spare()
        mine, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=child.report, args=(theirs,), name="report")
        told: tuple[int, str] | None = None
        with mine, theirs, contextlib.suppress(EOFError, OSError):  # it died before it told
            process.start()
            theirs.close()
            told = mine.recv() if mine.poll(_READY_SECONDS) else None
            process.join(_EXIT_CODE_SECONDS)
        if told is None:
            raise PreconditionFailed(
                expected=f"the fork server to import {self._module}.",
                found="it did not.",
                state="No run is taken.",
                todo="Read the worker's log: what fails to import stands there.",
            )
        self.pid, self.version = told

    def is_alive(self) -> bool:
        """Say whether it still runs."""
        try:
            return is_at_work(psutil.Process(self.pid))
        except psutil.NoSuchProcess:
            return False

    async def fork(self, run: FlowRun, flow: str, environment: dict[str, str]) -> Child:
        """Start the child of a run.

        Args:
            run: The run.
            flow: The flow's name in the catalogue.
            environment: Variables of this run.

        Returns:
            The child.
        """
        async with self._one_at_a_time:
            order = child.Order(flow, run.model_dump_json(), environment)
            process = await to_thread.run_sync(self._send_off, order)
        return Child(run.id, Place.of(process.pid or 0), process)

    def _send_off(self, order: child.Order) -> ForkServerProcess:
        """Give an order to the child that is ready, or to a new one."""
        spare, self._spare = self._spare, None
        self._forked_at = time.monotonic()
        if spare is not None and spare.process.is_alive():
            with spare.orders, contextlib.suppress(OSError):  # it died in between
                spare.orders.send(order)
                return spare.process
        spare = self._make_ready()
        with spare.orders:
            spare.orders.send(order)
        return spare.process

    def _make_ready(self) -> _Spare:
        theirs, mine = self._context.Pipe(duplex=False)
        process = self._context.Process(target=child.stand_by, args=(self._module, theirs))
        process.start()
        theirs.close()
        return _Spare(process, mine)

    async def restock(self) -> None:
        """Have a child ready for the next run, once the last one had time to start."""
        async with self._one_at_a_time:
            if self._spare is None and time.monotonic() > self._forked_at + _RESTOCK_SECONDS:
                self._spare = await to_thread.run_sync(self._make_ready)

    def dismiss_spare(self) -> None:
        """End the child that waits for a run."""
        spare, self._spare = self._spare, None
        if spare is not None:
            spare.orders.close()
            spare.process.join(_EXIT_CODE_SECONDS)


def stop() -> None:
    """End the fork server of this process, once no child runs any more."""
    forkserver._forkserver._stop()  # type: ignore[attr-defined] # noqa: SLF001 - else it is a zombie of who follows by exec
