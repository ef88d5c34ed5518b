"""Tending: the loops of a worker, from its start to the end of its drain."""

import logging
import math
import sys
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

import anyio
from anyio import to_thread
from prefect.events import Event
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter

from deployments.worker.fork_server import HANDED_OVER, Ended
from deployments.worker.place import Place
from deployments.worker.recovering import reap_once
from deployments.worker.worker import API_ERRORS, RemedyWorker, Stop
from tasks.guardrails.version import code_version

_log = logging.getLogger(__name__)
_DEAF_POLL_SECONDS = 1.0
_TEND_SECONDS = 2.0
_SWEEP_SECONDS = 30.0
_VERSION_SECONDS = 10.0
_MB = 1024**2
# What a worker that begins anew imports.
_TRY = [
    sys.executable,
    "-c",
    "import deployments.worker.tending, flows.catalogue as c; c.load_all()",
]
_CANCELLING = "prefect.flow-run.Cancelling"
# What the states are called in which a worker may take a run.
_RUNNABLE = [
    f"prefect.flow-run.{name}"
    for name in ("Scheduled", "Resuming", "AwaitingRetry", "AwaitingConcurrencySlot", "Late")
]


class Tending:
    """The loops of a worker.

    Args:
        worker: The worker.
    """

    def __init__(self, worker: RemedyWorker) -> None:
        """Know the worker."""
        self._worker = worker
        self._hears = False

    async def work(self) -> Stop:
        """Take runs until told to stop; then wait for those at work, or hand them over.

        Returns:
            Why it ended.
        """
        worker = self._worker
        await worker.fork_server.prepare()
        try:
            await self._work_until_stopped()
        finally:
            worker.fork_server.dismiss_spare()
        return worker.stop_reason

    async def _work_until_stopped(self) -> None:
        worker = self._worker
        async with worker, anyio.create_task_group() as loops:
            loops.start_soon(self._look)
            loops.start_soon(self._hear)
            loops.start_soon(self._again, worker.heartbeat_interval_seconds, self._synchronise)
            loops.start_soon(self._again, _SWEEP_SECONDS, self._sweep)
            loops.start_soon(self._again, _TEND_SECONDS, self._tend)
            loops.start_soon(self._again, _VERSION_SECONDS, Version(worker).check)
            await to_thread.run_sync(reap_once)
            _log.info("worker %r takes %d runs at once", worker.name, worker.settings.limit)
            await worker.stopped.wait()
            await self._drain()
            loops.cancel_scope.cancel()

    async def _again(self, seconds: float, step: Callable[[], Awaitable[None]]) -> None:
        """Do a step for ever."""
        while True:
            await self._do(step)
            await anyio.sleep(seconds)

    async def _do(self, step: Callable[[], Awaitable[object]]) -> None:
        """Do a step; whatever fails in it ends no worker, for the runs at work need theirs."""
        try:
            await step()
        except API_ERRORS as error:
            _log.warning("%s failed, tried again: %s", step.__qualname__, error)
        except Exception:  # noqa: BLE001 - as the docstring says
            _log.exception("%s failed, tried again", step.__qualname__)

    async def _synchronise(self) -> None:
        await self._worker.sync_with_backend()

    async def _look(self) -> None:
        """Look into the pool: when woken, and now and then."""
        worker = self._worker
        while not worker.stopped.is_set():
            worker.woken = anyio.Event()
            await self._do(worker.get_and_submit_flow_runs)
            seconds = worker.settings.poll_seconds if self._hears else _DEAF_POLL_SECONDS
            with anyio.move_on_after(seconds):
                await worker.woken.wait()

    async def _hear(self) -> None:
        """Listen to the server's events, so that neither a new run nor a cancellation waits."""
        while True:
            try:
                async with get_events_subscriber(self._events(), reconnection_attempts=0) as events:
                    self._hears = True
                    self._worker.wake()
                    async for event in events:
                        self._heard(event)
            except Exception as error:  # noqa: BLE001 - whatever it is, the pool is polled meanwhile
                _log.warning("the server's events are not heard, tried again: %s", error)
            self._hears = False
            await anyio.sleep(_DEAF_POLL_SECONDS)

    def _events(self) -> EventFilter:
        return EventFilter(
            event=EventNameFilter(name=[*_RUNNABLE, _CANCELLING]),
            any_resource=EventAnyResourceFilter(
                id=[f"prefect.work-pool.{self._worker.work_pool.id}"]
            ),
        )

    def _heard(self, event: Event) -> None:
        if event.event != _CANCELLING:
            self._worker.wake()
            return
        run = event.resource.id.removeprefix("prefect.flow-run.")
        self._worker.in_background(self._worker.cancel, UUID(run))

    async def _sweep(self) -> None:
        """Settle what no worker watches, and cancel what was not heard."""
        worker = self._worker
        for run in await worker.settler.sweep(worker.pool, worker.children, worker.starting):
            if run.id in worker.children:
                worker.in_background(worker.cancel, run.id)
            elif place := Place.parse(run.infrastructure_pid):
                worker.in_background(self._cancel_stray, run.id, place)

    async def _cancel_stray(self, run: UUID, place: Place) -> None:
        """Cancel a run that an earlier worker of this host started."""
        worker = self._worker
        await worker.kill_infrastructure(str(place), worker.job_configuration())
        await worker.settler.settle(run, place, Ended.CANCELLED, "A person cancelled it.")

    async def _tend(self) -> None:
        """Kill children beyond their limits; keep the fork server, and a child for the next run."""
        settings = self._worker.settings
        for child in list(self._worker.children.values()):
            if child.ended is not None:
                continue
            used = await to_thread.run_sync(child.place.memory) / _MB
            hours = (time.monotonic() - child.since) / 3600
            if used > settings.memory_mb:
                child.kill(f"It used {used:.0f} MB of memory; the limit is {settings.memory_mb}.")
            elif hours > settings.run_hours:
                child.kill(f"It ran for {hours:.3g} hours; the limit is {settings.run_hours:g}.")
        if not self._worker.fork_server.is_alive():
            _log.warning("the fork server died; it is started anew")
            await self._worker.fork_server.prepare()
        if not self._worker.stopped.is_set():
            await self._worker.fork_server.restock()

    async def _drain(self) -> None:
        """Wait for the runs at work; hand over what takes too long."""
        worker = self._worker
        _log.info("%s: waiting for %d runs", worker.stop_reason, len(worker.children))
        for child in worker.children.values():
            child.drain()
        await self._idle(time.monotonic() + worker.settings.drain_seconds)
        async with anyio.create_task_group() as ending:
            for child in list(worker.children.values()):
                ending.start_soon(
                    child.end, Ended.HANDED_OVER, HANDED_OVER, worker.settings.grace_seconds
                )
        await self._idle(math.inf)

    async def _idle(self, until: float) -> None:
        """Wait until nothing runs, at most to a time; told to stop again, do not wait for it."""
        worker = self._worker
        while not worker.is_idle:
            if time.monotonic() > until or (worker.is_hurried and until < math.inf):
                return
            await anyio.sleep(0.1)


class Version:
    """Notices that other code is installed than was loaded.

    Args:
        worker: The worker that is stopped then.
    """

    def __init__(self, worker: RemedyWorker) -> None:
        """Know what was loaded."""
        self._worker = worker
        self._seen = self._unfit = worker.fork_server.version

    async def check(self) -> None:
        """Stop the worker where new code has stood for two looks: an update takes its time.

        Code that cannot be imported is no reason to stop: the worker goes on with its own.
        """
        loaded, before = self._worker.fork_server.version, self._seen
        self._seen = now = await to_thread.run_sync(code_version.__wrapped__)
        if now in (loaded, self._unfit) or now != before:
            return
        tried = await anyio.run_process(_TRY, check=False)
        if tried.returncode:
            self._unfit = now
            why = tried.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            _log.error("version %s is installed and cannot be used: %s", now, why)
            return
        _log.warning("version %s is installed, %s was loaded", now, loaded)
        self._worker.stop(Stop.NEW_CODE)
