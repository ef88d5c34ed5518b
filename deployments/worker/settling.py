"""Settling: the state of a run whose process has ended, and what it had begun."""

import logging
from collections.abc import Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import stamina
from anyio import to_thread
from httpx import HTTPError
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import AwaitingRetry, Cancelled, Crashed

from deployments.worker.fork_server import Ended
from deployments.worker.place import Place
from deployments.worker.recovering import case_of_run, recover
from tasks.guardrails.ledger import Ledger

_log = logging.getLogger(__name__)
_TAKEN = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
# From a run's being taken until its process is known to Prefect it takes well under a second.
_LONGEST_START = timedelta(minutes=2)


class Settler:
    """Brings runs whose process has ended to a state, and has recovered what they had begun.

    Args:
        client: Client of Prefect's API.
    """

    def __init__(self, client: PrefectClient) -> None:
        """Keep the client."""
        self._client = client

    async def settle(self, run: UUID, place: Place, ended: Ended | None, reason: str) -> None:
        """Settle a run.

        What the run itself reported stands. Else it is Cancelled where a person asked for it,
        and Crashed with the reason; a recovery is started at once. One that was handed over
        before it recorded anything is simply started again.

        Args:
            run: Id of the run.
            place: Where its process was.
            ended: Why the worker ended it; None where it did not.
            reason: What is said of it.
        """
        now = await self._read(run)
        if now is None or now.state is None:
            return
        state = now.state
        if Place.parse(now.infrastructure_pid) not in (None, place):
            return  # it was resumed meanwhile, and has another process
        was_cancelled = state.type is StateType.CANCELLING or ended is Ended.CANCELLED
        if state.type not in _TAKEN:
            if state.type in (StateType.CRASHED, StateType.CANCELLED):
                await self._recover(now, by_hand=state.type is StateType.CANCELLED)
            return
        if was_cancelled:
            await self._set(now, Cancelled(message="Cancelled; what it had done is taken back."))
        elif ended is Ended.HANDED_OVER and not await to_thread.run_sync(
            has_begun, str(run), now.parameters
        ):
            await self._set(now, AwaitingRetry(message=reason))
            return
        else:
            name = "HandedOver" if ended is Ended.HANDED_OVER else "Crashed"
            await self._set(now, Crashed(name=name, message=reason))
        await self._recover(now, by_hand=was_cancelled or ended is Ended.HANDED_OVER)

    async def sweep(
        self, pool: str, children: Mapping[UUID, object], starting: Collection[UUID]
    ) -> list[FlowRun]:
        """Settle what this host's earlier workers left, and give what shall be cancelled.

        Args:
            pool: Name of the work pool.
            children: The runs that this worker has a process for.
            starting: The runs that it has taken and has none for yet.

        Returns:
            Runs that a person cancelled and whose process still runs on this host.
        """
        cancelling = []
        for run in await self._taken(pool):
            place = Place.parse(run.infrastructure_pid)
            if run.id in children:
                if run.state_type is StateType.CANCELLING:
                    cancelling.append(run)
            elif run.id in starting or (place and not place.is_here):
                continue
            elif place is None:
                await self._settle_unstarted(run)
            elif run.state_type is StateType.PENDING and _is_fresh(run):
                continue  # resumed and taken just now: the place is its last process's
            elif place.process() is None:
                reason = "Its process ended while no worker was there to see it."
                await self.settle(run.id, place, None, reason)
            elif run.state_type is StateType.CANCELLING:
                cancelling.append(run)
        return cancelling

    async def _settle_unstarted(self, run: FlowRun) -> None:
        """Give back a run that a worker took and started no process for: the worker died."""
        if _is_fresh(run):
            return
        if run.state_type is StateType.CANCELLING:
            await self._set(run, Cancelled(message="Cancelled before it began."))
        elif run.state_type is StateType.PENDING:
            await self._set(run, AwaitingRetry(message="Its worker died before it began."))

    async def _taken(self, pool: str) -> list[FlowRun]:
        return await self._client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_TAKEN))
            ),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        )

    @stamina.retry(on=HTTPError, attempts=5)
    async def _read(self, run: UUID) -> FlowRun | None:
        try:
            return await self._client.read_flow_run(run)
        except ObjectNotFound:
            return None

    @stamina.retry(on=HTTPError, attempts=5)
    async def _set(self, run: FlowRun, state: State[Any]) -> None:
        await self._client.set_flow_run_state(run.id, state, force=True)
        _log.warning("run %s is %s: %s", run.name, state.name, state.message)

    async def _recover(self, run: FlowRun, *, by_hand: bool) -> None:
        try:
            started = await to_thread.run_sync(
                lambda: recover(str(run.id), run.parameters, by_hand=by_hand)
            )
        except Exception as error:  # noqa: BLE001 - the reaper tries again each minute
            _log.warning("recovery of run %s was not started: %s", run.name, error)
            return
        if started:
            _log.warning("recovery started of: %s", started)


def _is_fresh(run: FlowRun) -> bool:
    """Say whether a run's process may not be known to Prefect yet."""
    return run.state is None or datetime.now(UTC) - run.state.timestamp < _LONGEST_START


def has_begun(run: str, parameters: Mapping[str, Any]) -> bool:
    """Say whether a run has recorded something that a recovery goes on from."""
    return case_of_run(Ledger(), run, parameters) is not None


def how_it_ended(code: int | None) -> str:
    """Say how a process ended."""
    if code is None:
        return "Its process ended after the fork server had died."
    if code < 0:
        return f"Its process was killed by signal {-code}."
    return f"Its process ended with exit code {code}; the worker's log says why."
