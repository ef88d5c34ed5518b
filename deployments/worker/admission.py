"""Admission: of a run, Prefect gives a deployment's name, parameters and state, nothing else."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from uuid import UUID

from anyio import to_thread
from prefect import Flow
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.exceptions import ObjectNotFound

from deployments.worker.installed import Catalogue, entrypoint_of
from deployments.worker.pool import template
from tasks.guardrails.errors import BadInput
from tasks.guardrails.ledger import Ledger

_LONGEST = 200


class Admission:
    """Finds out what a run is, and whether it is admitted.

    Args:
        flows: The installed catalogue.
    """

    def __init__(self, flows: Catalogue) -> None:
        """Know the catalogue."""
        self._flows = flows
        self._flow_names: dict[UUID, str] = {}

    async def of(self, client: PrefectClient, pool: WorkPool, run: FlowRun) -> str:
        """Give the name in the catalogue of a run's flow.

        Args:
            client: Of Prefect's API.
            pool: The work pool as the server has it.
            run: The run.

        Raises:
            BadInput: It is not admitted; see `admit`.
        """
        deployment = None
        if run.deployment_id:
            with suppress(ObjectNotFound):
                deployment = await client.read_deployment(run.deployment_id)
        if run.flow_id not in self._flow_names:  # the name of a flow never changes
            self._flow_names[run.flow_id] = (await client.read_flow(run.flow_id)).name
        name = self._flow_names[run.flow_id]
        return str(admit(self._flows, pool, run, deployment, name).name)


def admit(
    flows: Catalogue,
    pool: WorkPool,
    run: FlowRun,
    deployment: DeploymentResponse | None,
    flow_name: str,
) -> Flow[..., Any]:
    """Find the installed flow of a run.

    Args:
        flows: The installed catalogue.
        pool: The work pool as the server has it.
        run: The run.
        deployment: Its deployment; None where it has none.
        flow_name: Name of its flow.

    Returns:
        The flow, from the catalogue.

    Raises:
        BadInput: The name is unknown, or something is set by which another worker would be
            told what to run, and how.
    """
    if deployment is None:
        raise _refusal("a run of a deployment.", "a run without one.", "Use `remedy run`.")
    name = f"{flow_name}/{deployment.name}"
    flow = flows.get(deployment.name)
    if flow is None or flow_name != deployment.name:
        raise _refusal(
            f"one of the installed deployments: {', '.join(f'{n}/{n}' for n in sorted(flows))}.",
            f"{name!r}.",
            "Delete that deployment, or install the version of remedy that has it.",
        )
    for what, value in (*_set_in_pool(pool), *_set_in(deployment, flow), *_set_in_run(run)):
        raise _refusal(
            f"nothing in {what}: this worker takes what it runs from its own installation.",
            f"{value!r:.{_LONGEST}}.",
            "Find out who set it; `remedy up` registers pool and deployments anew, then start "
            "another run.",
        )
    return flow


async def record_refusal(run: FlowRun, reason: str) -> None:
    """Record in the ledger that a run was refused; a ledger that waits holds nothing else up.

    Args:
        run: The run.
        reason: Why, in sentences.
    """
    facts = {"deployment": str(run.deployment_id or ""), "name": run.name, "reason": reason}
    await to_thread.run_sync(lambda: Ledger().append("run_refused", facts, run=str(run.id)))


def _refusal(expected: str, found: str, todo: str) -> BadInput:
    return BadInput(expected=expected, found=found, state="Nothing was executed.", todo=todo)


def _set_in_pool(pool: WorkPool) -> Iterator[tuple[str, object]]:
    ours = template()
    given = pool.base_job_template
    if given.get("job_configuration", {}) != ours["job_configuration"]:
        yield "the pool's job configuration", given["job_configuration"]
    properties = given.get("variables", {}).get("properties", {})
    if properties != ours["variables"]["properties"]:
        yield "the pool's variables", properties


def _set_in(deployment: DeploymentResponse, flow: Flow[..., Any]) -> Iterator[tuple[str, object]]:
    """Find what is set in a deployment beyond what our own registration writes."""
    for what in (
        "pull_steps",
        "job_variables",
        "storage_document_id",
        "infrastructure_document_id",
    ):
        if value := getattr(deployment, what):
            yield f"the deployment's {what}", value
    if deployment.path not in (None, "", "."):
        yield "the deployment's path", deployment.path
    if deployment.entrypoint not in (None, "", entrypoint_of(flow)):
        yield "the deployment's entrypoint", deployment.entrypoint


def _set_in_run(run: FlowRun) -> Iterator[tuple[str, object]]:
    for what in ("job_variables", "infrastructure_document_id"):
        if value := getattr(run, what):
            yield f"the run's {what}", value
