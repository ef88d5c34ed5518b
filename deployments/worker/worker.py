"""The worker type `remedy`: Prefect's worker base, with the catalogue and the fork server."""

import asyncio
import enum
import logging
import uuid
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import anyio
import anyio.abc
import httpx
from prefect.client.schemas.objects import FlowRun, State
from prefect.client.schemas.responses import WorkerFlowRunResponse
from prefect.exceptions import (
    InfrastructureNotAvailable,
    InfrastructureNotFound,
    PrefectHTTPStatusError,
)
from prefect.states import Failed
from prefect.workers.base import BaseVariables, BaseWorker

from deployments.services.settings import POOL
from deployments.worker import installed
from deployments.worker.admission import Admission, record_refusal
from deployments.worker.fork_server import Child, Ended, ForkServer
from deployments.worker.job import RemedyJob, RemedyResult
from deployments.worker.place import Place
from deployments.worker.pool import TYPE, template
from deployments.worker.settings import WorkerSettings
from deployments.worker.settling import Settler, how_it_ended
from tasks.guardrails.errors import BadInput

_log = logging.getLogger(__name__)
API_ERRORS = (httpx.HTTPError, PrefectHTTPStatusError)


class Stop(enum.StrEnum):
    """Why the worker ends."""

    TOLD = "told"
    NEW_CODE = "new code"


class RemedyWorker(BaseWorker[RemedyJob, BaseVariables, RemedyResult]):
    """Takes runs from the pool, and runs what the installed catalogue has by their name.

    Args:
        settings: How much it takes on.
        module: The module of the catalogue; tests have one of their own.
        pool: Name of the work pool.
    """

    type = TYPE
    job_configuration = RemedyJob
    _description = "Runs the remediations that are installed with the worker, and nothing else."

    def __init__(
        self, settings: WorkerSettings, module: str = installed.__name__, pool: str = POOL
    ) -> None:
        """Know the catalogue; takes nothing yet."""
        super().__init__(
            pool,
            name=settings.name,
            prefetch_seconds=0,
            create_pool_if_not_found=False,
            limit=settings.limit,
        )
        self.settings, self.pool = settings, pool
        self.admission = Admission(installed.catalogue(module))
        self.fork_server = ForkServer(module)
        self.children: dict[uuid.UUID, Child] = {}
        self.woken = anyio.Event()
        self.stopped = anyio.Event()
        self.stop_reason = Stop.TOLD
        self.is_hurried = False
        self._admitted: dict[uuid.UUID, str] = {}

    @classmethod
    def get_default_base_job_template(cls) -> dict[str, Any]:
        """Give the pool's template, in which nothing can be set."""
        return template()

    @property
    def settler(self) -> Settler:
        """What settles runs whose process has ended."""
        return Settler(self.client)

    @property
    def starting(self) -> Collection[uuid.UUID]:
        """The runs that it has taken, and whose process Prefect may not know yet."""
        return self._submitting_flow_run_ids

    @property
    def is_idle(self) -> bool:
        """Whether no run is at work or being started."""
        return not self.children and not self._submitting_flow_run_ids

    def wake(self) -> None:
        """Have the pool looked into at once."""
        self.woken.set()

    def stop(self, reason: Stop = Stop.TOLD) -> None:
        """Take no new run; told a second time, wait for none either.

        What it was told stands: new code, seen while it ends, makes it neither hurry nor begin
        anew.
        """
        if self.stopped.is_set():
            if reason is not Stop.TOLD:
                return
            self.is_hurried = self.stop_reason is Stop.TOLD
        self.stop_reason = reason
        self.stopped.set()
        self.wake()

    async def run(
        self,
        flow_run: FlowRun,
        configuration: RemedyJob,  # noqa: ARG002 - the base's signature; it holds nothing
        task_status: anyio.abc.TaskStatus[Any] | None = None,
    ) -> RemedyResult:
        """Carry a run out in a child of the fork server, and settle it when that has ended."""
        name = self._admitted.pop(flow_run.id)
        environment = {"PREFECT__FLOW_RUN_ID": str(flow_run.id)}
        child = await self.fork_server.fork(flow_run, name, environment)
        self.children[flow_run.id] = child
        if self.stopped.is_set():  # it was being taken when the others were asked
            child.drain()
        if task_status is not None:
            task_status.started(str(child.place))
        try:
            code = await child.wait()
            child.place.kill_group()
            if code != 0 or child.ended:
                reason = child.reason or how_it_ended(code)
                _log.warning("run %s: %s", flow_run.name, reason)
                await self.settler.settle(flow_run.id, child.place, child.ended, reason)
        finally:
            if self.children.get(flow_run.id) is child:
                del self.children[flow_run.id]
            self.wake()  # a place is free
        # What went wrong is settled; the base class would report it again.
        return RemedyResult(identifier=str(child.place), status_code=0)

    async def kill_infrastructure(
        self,
        infrastructure_pid: str,
        configuration: RemedyJob,  # noqa: ARG002 - the base's signature
        grace_seconds: int = 30,
    ) -> None:
        """End the process of a run that was cancelled and did not end in time.

        Raises:
            InfrastructureNotFound: It is gone.
            InfrastructureNotAvailable: It is on another host.
        """
        place = Place.parse(infrastructure_pid)
        if place is None or (place.is_here and place.process() is None):
            raise InfrastructureNotFound(infrastructure_pid)
        if not place.is_here:
            raise InfrastructureNotAvailable(f"it runs on {place.host}")
        await place.end(grace_seconds)

    async def cancel(self, run: uuid.UUID) -> None:
        """End the process of a run that a person cancelled."""
        child = self.children.get(run)
        if child is not None and child.ended is None:
            await child.end(Ended.CANCELLED, "A person cancelled it.", self.settings.grace_seconds)

    def in_background(self, step: Callable[..., Awaitable[None]], *arguments: object) -> None:
        """Do something beside; where it fails that is logged, and the worker goes on."""

        async def guarded() -> None:
            try:
                await step(*arguments)
            except API_ERRORS as error:
                _log.warning("%s failed: %s", step.__qualname__, error)
            except Exception:  # noqa: BLE001 - whatever it is, the other runs go on
                _log.exception("%s failed", step.__qualname__)

        self._work_group.start_soon(guarded)

    async def _submit_scheduled_flow_runs(
        self, flow_run_response: list[WorkerFlowRunResponse]
    ) -> list[FlowRun]:
        """Start what is due; a run that was resumed while its last process still ends waits.

        The base class would fail: the run holds its place among those at work.
        """
        free = [one for one in flow_run_response if one.flow_run.id not in self.children]
        return await super()._submit_scheduled_flow_runs(free)

    async def _submit_run(self, flow_run: FlowRun) -> None:
        """Start a run, without what the base class reads twice and the process says itself.

        Where the API does not answer, the run stays in the pool or is given back.
        """
        try:
            if await self._propose_pending_state(flow_run):
                await self._work_group.start(self._submit_run_and_capture_errors, flow_run)
                return  # that has freed the place, or will when the run ends
        except Exception as error:  # noqa: BLE001 - it would end the worker, and with it other runs
            _log.warning("run %s was not started, tried again: %r", flow_run.name, error)
        finally:
            self._admitted.pop(flow_run.id, None)
            self._submitting_flow_run_ids.discard(flow_run.id)
        self._release_limit_slot(flow_run.id)

    @property
    def _work_group(self) -> anyio.abc.TaskGroup:
        if self._runs_task_group is None:
            raise RuntimeError("called outside the worker's context")
        return self._runs_task_group

    async def _propose_pending_state(self, flow_run: FlowRun) -> bool:
        """Take a run, and find out meanwhile whether it is admitted; refused, it ends here."""
        if self.stopped.is_set():
            return False
        admitting = asyncio.ensure_future(self.admission.of(self.client, self.work_pool, flow_run))
        try:
            if not await super()._propose_pending_state(flow_run):
                return False
            self._admitted[flow_run.id] = await admitting
        except BadInput as refusal:
            await self._refuse(flow_run, refusal)
        finally:
            admitting.cancel()
        return flow_run.id in self._admitted

    async def _refuse(self, flow_run: FlowRun, refusal: BadInput) -> None:
        _log.warning("refused run %s: %s", flow_run.name, refusal)
        self.in_background(record_refusal, flow_run, str(refusal))
        self.get_flow_run_logger(flow_run).error(str(refusal))
        state: State[Any] = Failed(name="Refused", message=str(refusal))
        await self.client.set_flow_run_state(flow_run.id, state, force=True)

    async def _give_worker_labels_to_flow_run(self, flow_run_id: uuid.UUID) -> None:
        """Say who runs it, later: the server has the run's first steps to answer."""
        label = super()._give_worker_labels_to_flow_run

        async def later() -> None:
            await anyio.sleep(2)
            await label(flow_run_id)

        self.in_background(later)

    async def _propose_submitting_state(self, flow_run: FlowRun) -> None:
        """Say nothing: the start takes milliseconds."""
