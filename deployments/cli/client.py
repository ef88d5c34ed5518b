"""What the command asks of Prefect's API; each call is repeated on 503 and lost connections."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

import httpx
import stamina
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterExpectedStartTime,
    FlowRunFilterName,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import BlockDocument, FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import SyncClientContext
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling

from tasks.guardrails.case import id_of_run
from tasks.guardrails.errors import BadInput, PreconditionFailed

R = TypeVar("R")
_UNKNOWN, _BUSY = 404, 503
_NEWEST = 200  # the most that Prefect's API gives at once


def _passes(error: Exception) -> bool:
    """Say whether an error may pass by itself: SQLite answers 503 while it is locked."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code == _BUSY
    return isinstance(error, httpx.TransportError)


@stamina.retry(on=_passes, attempts=5, timeout=20)
def ask(question: Callable[[SyncPrefectClient], R]) -> R:
    """Ask Prefect's API.

    Args:
        question: Called with a client; has to be safe to ask again.

    Returns:
        Its answer.

    Raises:
        PreconditionFailed: No API is known.
    """
    if not os.environ.get("PREFECT_API_URL"):
        raise PreconditionFailed(
            expected="a Prefect API: one under REMEDY_HOME, or PREFECT_API_URL.",
            found="neither.",
            todo="Run `remedy up`, or set PREFECT_API_URL to the API to use.",
        )
    with get_client(sync_client=True) as client:
        return question(client)


@contextmanager
def kept_open() -> Iterator[None]:
    """Keep one client for all that is asked in the block: each new one reads all certificates."""
    if not os.environ.get("PREFECT_API_URL"):  # a client would start a server of its own
        yield
        return
    with SyncClientContext():
        yield


def slug(name: str) -> str:
    """Give the deployment's name of a remediation, typed with dashes or underscores."""
    return name.strip().lower().replace("_", "-")


def start(name: str, parameters: dict[str, Any], key: str) -> FlowRun:
    """Start a run of a deployment.

    Args:
        name: Name of the deployment.
        parameters: Its parameters.
        key: Idempotency key: the same key starts one run, however often it is asked.

    Returns:
        The run.

    Raises:
        BadInput: There is no such deployment, or a parameter is unknown or not valid.
    """
    deployment = deployment_for(name, parameters)
    return ask(
        lambda client: client.create_flow_run_from_deployment(
            deployment, parameters=parameters, idempotency_key=key
        )
    )


def deployment_for(name: str, parameters: dict[str, Any]) -> UUID:
    """Find the deployment of a name that takes some parameters.

    Args:
        name: Its name.
        parameters: The parameters.

    Returns:
        Its id.

    Raises:
        BadInput: There is no such deployment, or it does not know a parameter.
    """
    deployment = ask(lambda client: _deployment(client, slug(name)))
    known = set(deployment.parameter_openapi_schema.get("properties", {}))
    # Prefect accepts an unknown parameter, and crashes the run with it.
    if unknown := set(parameters) - known:
        raise BadInput(
            expected=f"parameters of {slug(name)}: {', '.join(sorted(known))}.",
            found=", ".join(sorted(unknown)) + ".",
            todo="Correct --param, then run the command again.",
        )
    found: UUID = deployment.id
    return found


def _deployment(client: SyncPrefectClient, name: str) -> Any:  # noqa: ANN401 - Prefect's response
    try:
        return client.read_deployment_by_name(f"{name}/{name}")
    except ObjectNotFound:
        names = sorted(found.name for found in client.read_deployments(limit=200))
        raise BadInput(
            expected=f"a remediation: {', '.join(names) or 'none is registered'}.",
            found=f"{name!r}.",
            todo="Correct the name; `remedy up` or `prefect deploy --all` registers them.",
        ) from None


def run_named(text: str) -> FlowRun | None:
    """Find a run by its id, or the newest one of a name; None where there is none."""
    if re.fullmatch(r"[0-9a-f]{8}-[0-9a-f-]{27}", text):
        return read(text)
    named = FlowRunFilter(name=FlowRunFilterName(any_=[text]))
    found = ask(
        lambda client: client.read_flow_runs(
            flow_run_filter=named, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=1
        )
    )
    return found[0] if found else None


def run_of(remediation: str) -> FlowRun | None:
    """Find the run that is to begin a remediation, or that ended before it did.

    The id of a remediation is made from that of its run, and does not lead back to it: the
    newest runs that have not completed are looked through.

    Args:
        remediation: Id of the remediation, or the beginning of it.

    Returns:
        The run; None where there is none among them.
    """
    open_ = FlowRunFilter(
        state=FlowRunFilterState(type=FlowRunFilterStateType(not_any_=[StateType.COMPLETED])),
        # Schedules have runs made hours ahead.
        expected_start_time=FlowRunFilterExpectedStartTime(
            before_=datetime.now(UTC) + timedelta(minutes=1)
        ),
    )
    found = ask(
        lambda client: client.read_flow_runs(
            flow_run_filter=open_, sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=_NEWEST
        )
    )
    return next((run for run in found if id_of_run(str(run.id)).startswith(remediation)), None)


def read(run: str) -> FlowRun | None:
    """Read a run; None where Prefect has none of that id."""
    try:
        return ask(lambda client: client.read_flow_run(UUID(run)))
    except ObjectNotFound:
        return None


def cancel(run: FlowRun) -> str:
    """Have a run cancelled.

    Args:
        run: The run.

    Returns:
        Name of its state afterwards.

    Raises:
        PreconditionFailed: Prefect does not cancel it.
    """
    running = run.state is not None and run.state.type in (StateType.RUNNING, StateType.PENDING)
    state: State[None] = Cancelling() if running else Cancelled()
    ask(lambda client: client.set_flow_run_state(run.id, state))
    now = ask(lambda client: client.read_flow_run(run.id)).state
    if now is None or not (now.is_cancelled() or now.is_cancelling()):
        raise PreconditionFailed(
            expected=f"Prefect to cancel run {run.name}.",
            found=f"it is {now.name if now else 'in no state'}.",
            todo="See what it does with `remedy show`, then try again.",
        )
    return str(now.name)


def url_of(run: str) -> str:
    """Give the address of a run's page in the UI."""
    base = os.environ.get("PREFECT_UI_URL") or os.environ.get("PREFECT_API_URL", "").removesuffix(
        "/api"
    )
    return f"{base}/runs/flow-run/{run}" if base and run else ""


def blocks(platform: str) -> list[BlockDocument]:
    """List the blocks of a type; none where the type was never registered."""
    try:
        return ask(lambda client: client.read_block_documents_by_type(platform))
    except httpx.HTTPStatusError as error:  # not Prefect's own ObjectNotFound (3.8.8)
        if error.response.status_code == _UNKNOWN:
            return []
        raise
