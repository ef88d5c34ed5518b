"""Executes a flow run in a process of its own, as a worker does: it can be killed."""

import importlib
import sys
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow


def main(run_id: str, flow_path: str, *toys: str) -> None:
    """Run the flow; toys are `name=folder` of targets made of files."""
    module, _, name = flow_path.partition(":")
    flow = getattr(importlib.import_module(module), name)
    if toys:
        from tests import toy

        for given in toys:
            target, _, folder = given.partition("=")
            toy.SYSTEMS[target] = toy.FileSystem(target, Path(folder))
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(run_id))
    try:
        run_flow(flow, flow_run=run, parameters=run.parameters, return_type="state")
    except Pause:
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
