"""What the command asks of Prefect's API; each call is repeated on 503 and lost connections."""

import os
import re
from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import httpx
import stamina
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName
from prefect.client.schemas.objects import BlockDocument, FlowRun, State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelled, Cancelling

from tasks.guardrails.errors import BadInput, PreconditionFailed

R = TypeVar("R")
_BUSY = 503


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
    deployment = ask(lambda client: _deployment(client, slug(name)))
    known = set(deployment.parameter_openapi_schema.get("properties", {}))
    # Prefect accepts an unknown parameter, and crashes the run with it.
    if unknown := set(parameters) - known:
        raise BadInput(
            expected=f"parameters of {slug(name)}: {', '.join(sorted(known))}.",
            found=", ".join(sorted(unknown)) + ".",
            todo="Correct --param, then run the command again.",
        )
    return ask(
        lambda client: client.create_flow_run_from_deployment(
            deployment.id, parameters=parameters, idempotency_key=key
        )
    )


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
    """
    running = run.state is not None and run.state.type in (StateType.RUNNING, StateType.PENDING)
    state: State[None] = Cancelling() if running else Cancelled()
    answer = ask(lambda client: client.set_flow_run_state(run.id, state))
    return answer.state.name if answer.state and answer.state.name else answer.status.value


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
    except ObjectNotFound:
        return []
