"""What Prefect's worker base calls a job and its result; of ours nothing can be configured."""

from typing import Self
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, WorkPool
from prefect.client.schemas.responses import DeploymentResponse
from prefect.workers.base import BaseJobConfiguration, BaseWorkerResult


class RemedyJob(BaseJobConfiguration):
    """A job of which nothing can be configured."""

    @classmethod
    async def resolve_for_flow_run(
        cls,
        flow_run: FlowRun,
        *,
        client: PrefectClient,  # noqa: ARG003 - the base's signature
        work_pool: WorkPool,  # noqa: ARG003 - the same
        worker_name: str,  # noqa: ARG003 - the same
        worker_id: UUID | None = None,  # noqa: ARG003 - the same
        deployment: DeploymentResponse | None = None,
    ) -> Self:
        """Make a job that holds nothing, whatever is set."""
        job = cls()
        job._related_objects = {"flow-run": flow_run, "deployment": deployment}
        return job


class RemedyResult(BaseWorkerResult):
    """How the process of a run ended."""
