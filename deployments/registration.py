"""Deployments: one for each flow, the same from `prefect deploy --all` and from `remedy up`.

`python -m deployments.registration` writes prefect.yaml; `register` sends them to the API.
"""

import inspect
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from prefect import Flow
from prefect.blocks.core import Block
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import ConcurrencyLimitStrategy, ConcurrencyOptions
from prefect.utilities.callables import parameter_schema

from deployments.docs_flows import description
from deployments.schedules import ONE_AT_A_TIME, TIMETABLES, Timetable
from deployments.services.environment import CODE
from deployments.services.settings import POOL
from deployments.worker import pool
from deployments.worker.installed import entrypoint_of
from flows.catalogue import Catalogue, load, load_all, section_of
from infra.sandbox.services import Sandbox
from tasks.guardrails.errors import BadInput
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Risk
from tasks.guardrails.remediation import Remediation
from tasks.guardrails.requests import register_schedule
from tasks.platforms.sandbox.target import SandboxTarget
from tasks.platforms.targets import PLATFORMS

# The highest risk that a stage of the remediation has; what a plan says decides, this is a tag.
RISKS = {
    "add_indexes": Risk.HARMLESS,
    "add_swap": Risk.DISRUPTIVE,
    "apply_migrations": Risk.DESTRUCTIVE,
    "back_up_database": Risk.HARMLESS,
    "carry_over_rows": Risk.DISRUPTIVE,
    "check_integrity": Risk.HARMLESS,
    "clean_up_backups": Risk.DESTRUCTIVE,
    "clean_up_docker": Risk.DESTRUCTIVE,
    "downgrade_migrations": Risk.DESTRUCTIVE,
    "drop_kept_databases": Risk.DESTRUCTIVE,
    "explain_queries": Risk.HARMLESS,
    "find_slow_queries": Risk.DISRUPTIVE,
    "find_memory_growth": Risk.HARMLESS,
    "profile_application": Risk.HARMLESS,
    "initialise_database": Risk.DESTRUCTIVE,
    "measure_disk": Risk.HARMLESS,
    "modernise_compose_file": Risk.DISRUPTIVE,
    "open_firewall_port": Risk.DESTRUCTIVE,
    "publish_port": Risk.DESTRUCTIVE,
    "reap_remediations": Risk.HARMLESS,
    "rebuild_image": Risk.DISRUPTIVE,
    "rebuild_indexes": Risk.HARMLESS,
    "raise_memory_limit": Risk.DISRUPTIVE,
    "recover_remediation": Risk.DESTRUCTIVE,
    "repair_cache_efficiency": Risk.DISRUPTIVE,
    "repair_cache_connection": Risk.DISRUPTIVE,
    "repair_crash_loop": Risk.DISRUPTIVE,
    "repair_database_credentials": Risk.DISRUPTIVE,
    "repair_health_check": Risk.DISRUPTIVE,
    "restore_secrets": Risk.DISRUPTIVE,
    "restore_from_backup": Risk.DISRUPTIVE,
    "rewrite_tables": Risk.DISRUPTIVE,
    "rotate_cache_password": Risk.DISRUPTIVE,
    "rotate_database_password": Risk.DISRUPTIVE,
    "rotate_logs": Risk.DISRUPTIVE,
    "scale_application": Risk.DISRUPTIVE,
    "shrink_build_context": Risk.DISRUPTIVE,
    "start_database": Risk.DISRUPTIVE,
    "update_docker_compose": Risk.DISRUPTIVE,
    "undo_remediation": Risk.DESTRUCTIVE,
    "vacuum_database": Risk.HARMLESS,
}
# Nothing is pulled: the worker runs what is installed with it, and refuses a run with steps.
PULL: list[dict[str, Any]] = []
PREFECT_YAML = CODE / "prefect.yaml"
_HEAD = "# Written by `python -m deployments.registration`; `prefect deploy --all` deploys it.\n"


@dataclass(frozen=True)
class Definition:
    """A deployment as it shall be."""

    flow: Flow[..., Any]
    entrypoint: str
    tags: tuple[str, ...]
    timetable: Timetable | None
    one_at_a_time: bool

    @property
    def name(self) -> str:
        """Name of the deployment: the flow's."""
        return self.flow.name

    def as_yaml(self) -> dict[str, Any]:
        """Give it as prefect.yaml has it."""
        text: dict[str, Any] = {
            "name": self.name,
            "description": description(self.flow),
            "entrypoint": self.entrypoint,
            "tags": list(self.tags),
            "work_pool": {"name": POOL},
            "schedules": [self.timetable.as_yaml()] if self.timetable else [],
        }
        if self.one_at_a_time:
            text["concurrency_limit"] = {"limit": 1, "collision_strategy": "CANCEL_NEW"}
        return text

    def create(self, client: SyncPrefectClient) -> None:
        """Create the deployment, or bring it to this definition."""
        options = ConcurrencyOptions(collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)
        client.create_deployment(
            flow_id=client.create_flow(self.flow),
            name=self.name,
            version=self.flow.version,
            schedules=[self.timetable.create()] if self.timetable else [],
            concurrency_limit=1 if self.one_at_a_time else None,
            concurrency_options=options if self.one_at_a_time else None,
            parameters={},
            description=description(self.flow),
            work_pool_name=POOL,
            tags=list(self.tags),
            entrypoint=self.entrypoint,
            pull_steps=PULL,
            parameter_openapi_schema=parameter_schema(self.flow).model_dump(exclude_unset=True),
            enforce_parameter_schema=True,
            job_variables={},
        )


def definitions(flows: Mapping[str, Flow[..., Any]]) -> list[Definition]:
    """Give the deployments of flows.

    Args:
        flows: The flows by the names of their files.

    Returns:
        A definition for each.

    Raises:
        BadInput: A flow has no risk in RISKS.
    """
    found = []
    for name, flow in flows.items():
        if name not in RISKS:
            raise BadInput(
                expected=f"the risk of {name} in deployments/registration.py.",
                found="none.",
                todo="Add a line to RISKS, then run: python -m deployments.registration",
            )
        tags = (f"section:{section_of(flow)}", f"risk:{RISKS[name]}")
        found.append(
            Definition(
                flow=flow,
                entrypoint=entrypoint_of(flow),
                # By it the Runs page is filtered: the reaper's runs of each minute have it not.
                tags=(*tags, "remediation") if isinstance(flow, Remediation) else tags,
                timetable=TIMETABLES.get(name),
                one_at_a_time=name in ONE_AT_A_TIME,
            )
        )
    return found


def prefect_yaml() -> str:
    """Write prefect.yaml."""
    text = {
        "name": "remedy",
        "pull": PULL,
        "deployments": [definition.as_yaml() for definition in definitions(load_all())],
    }
    return _HEAD + yaml.safe_dump(text, sort_keys=False, width=100)


def register() -> Catalogue:
    """Make work pool, block types and deployments, or bring them to what they shall be.

    Schedules are recorded in the ledger as well: their runs then have a known requester.

    Returns:
        What was registered; a flow file that cannot be imported keeps no other out.
    """
    register_blocks()
    catalogue = load()
    with get_client(sync_client=True) as client:
        pool.prepare(client, POOL)
        for definition in definitions(catalogue.flows):
            definition.create(client)
    ledger = Ledger()
    for name, timetable in TIMETABLES.items():
        if isinstance(catalogue.flows.get(name), Remediation):
            register_schedule(ledger, name, dict(timetable.parameters))
    return catalogue


def register_blocks() -> list[type[Block]]:
    """Make the block types of all platforms known, so that the UI has their forms.

    Returns:
        The types.
    """
    blocks = []
    for path in PLATFORMS.values():
        module, _, attribute = path.partition(":")
        block: type[Block] = getattr(import_module(module), attribute)
        _insist_that_it_is_done(block.register_type_and_schema())
        blocks.append(block)
    return blocks


def save_sandbox(sandbox: Sandbox) -> None:
    """Save the target that stands for a sandbox, under the name 'sandbox'."""
    target = SandboxTarget(**sandbox.target_settings())
    _insist_that_it_is_done(target.save("sandbox", overwrite=True))


def _insist_that_it_is_done(answer: object) -> None:
    if inspect.isawaitable(answer):
        raise TypeError("called from an event loop")


def main() -> None:
    """Write prefect.yaml; with --check only say whether it is as it shall be."""
    text = prefect_yaml()
    if "--check" in sys.argv[1:]:
        same = PREFECT_YAML.exists() and PREFECT_YAML.read_text() == text
        sys.stdout.write(json.dumps({"path": str(PREFECT_YAML), "current": same}) + "\n")
        sys.exit(0 if same else 1)
    Path(PREFECT_YAML).write_text(text)


if __name__ == "__main__":
    main()
