"""The work pool of the worker: its type, and its template, in which nothing can be set."""

import itertools
from collections.abc import Container, Iterator
from datetime import datetime
from typing import Any

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from tasks.guardrails.errors import PreconditionFailed

TYPE = "remedy"
_PAGE = 200
_OPEN = [
    StateType.SCHEDULED,
    StateType.PENDING,
    StateType.RUNNING,
    StateType.PAUSED,
    StateType.CANCELLING,
]


def template() -> dict[str, Any]:
    """Give the pool's template of jobs: no command, no environment, no folder, nothing."""
    # Prefect wants a job configuration that is not empty.
    return {
        "job_configuration": {"labels": {}},
        "variables": {"type": "object", "properties": {}},
    }


def prepare(client: SyncPrefectClient, name: str) -> None:
    """Make the pool, or bring it to what it shall be.

    A pool of another type (of an older version of remedy) is made anew: Prefect cannot change
    the type. Its runs would lose their queue, so that happens only where none is open.

    Args:
        client: Client of Prefect's API.
        name: Name of the pool.

    Raises:
        PreconditionFailed: The pool has another type, and runs that have not ended.
    """
    try:
        found = client.read_work_pool(name)
    except ObjectNotFound:
        found = None
    if found is not None and found.type != TYPE:
        waiting = _open_runs(client, name)
        if waiting:
            raise PreconditionFailed(
                expected=f"work pool {name!r} of type {TYPE!r}, or one without open runs.",
                found=f"type {found.type!r}, and {len(waiting)} open runs, as {waiting[0].name!r}.",
                todo="Let them end or `remedy cancel` them, then run `remedy up` again.",
            )
        client.delete_work_pool(name)
    client.create_work_pool(
        WorkPoolCreate(name=name, type=TYPE, base_job_template=template()), overwrite=True
    )


def has_heard_of(client: SyncPrefectClient, name: str, worker: str, since: datetime) -> bool:
    """Say whether a worker has told the pool of itself lately.

    Args:
        client: Client of Prefect's API.
        name: Name of the pool.
        worker: Name of the worker.
        since: What is older does not count: a worker of that name may have been there before.
    """
    return any(
        one.name == worker and one.last_heartbeat_time and one.last_heartbeat_time >= since
        for one in client.read_workers_for_work_pool(name)
    )


def offered_elsewhere(client: SyncPrefectClient, name: str, flows: Container[str]) -> list[str]:
    """Find the ways by which another worker than ours is offered remediations.

    Args:
        client: Client of Prefect's API.
        name: Name of our pool.
        flows: Names of the installed flows.

    Returns:
        A phrase for each: a pool of another type, or a deployment in another pool.
    """
    ours = client.read_work_pool(name)
    return [
        *([f"pool {name!r} is of type {ours.type!r}"] if ours.type != TYPE else []),
        *(
            f"deployment {one.name!r} is in pool {one.work_pool_name!r}"
            for one in _deployments(client)
            if one.name in flows and one.work_pool_name not in (None, name)
        ),
    ]


def _deployments(client: SyncPrefectClient) -> Iterator[DeploymentResponse]:
    """Read all deployments, a page at a time: the server gives no more than that."""
    for offset in itertools.count(0, _PAGE):
        page = client.read_deployments(limit=_PAGE, offset=offset)
        yield from page
        if len(page) < _PAGE:
            return


def _open_runs(client: SyncPrefectClient, name: str) -> list[FlowRun]:
    """Find the runs that would be lost; those that a schedule will make again would not."""
    runs = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=_OPEN))
        ),
        work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[name])),
    )
    return [run for run in runs if not (run.auto_scheduled and run.state_type in _OPEN[:1])]
