"""Executes a flow run in a process of its own, as a worker does: it can be killed."""

import contextlib
import importlib
import json
import os
import signal
import sys
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow

from infra.sandbox.services import Sandbox
from tasks.guardrails import draining, systems
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tasks.platforms.sandbox.target import SandboxTarget
from tests import toy


def main(run_id: str, flow_path: str, target: str) -> None:
    """Run a flow on a target.

    Args:
        run_id: The flow run.
        flow_path: `module:flow`.
        target: `toy=<folder>` for a target made of files, `sandbox=<home>` for a sandbox,
            `sandbox=<home>@<port>` for one whose database is reached through another port,
            `compose=<file>` for a compose project whose target's fields are in a file, as those
            of a sandbox may be: `sandbox=<file>.json`.
    """
    module, _, name = flow_path.partition(":")
    flow = getattr(importlib.import_module(module), name)
    kind, _, path = target.partition("=")
    if kind == "toy":
        systems.use_loader(toy.SYSTEMS.__getitem__)
        toy.SYSTEMS[kind] = toy.FileSystem(kind, Path(path))
    elif kind == "compose":
        targets.give(ComposeTarget(**json.loads(Path(path).read_text())))
    elif path.endswith(".json"):
        targets.give(SandboxTarget(**json.loads(Path(path).read_text())))
    else:
        home, _, port = path.partition("@")
        fields = Sandbox(Path(home)).target_settings()
        targets.give(SandboxTarget(**{**fields, "port": int(port or fields["port"])}))
    with get_client(sync_client=True) as client:
        run = client.read_flow_run(UUID(run_id))
    signal.signal(signal.SIGUSR1, _hand_over)
    with contextlib.suppress(Pause):
        run_flow(flow, flow_run=run, parameters=run.parameters, return_type="state")


def _hand_over(*_: object) -> None:
    """Do as a child of a worker that drains, and say so."""
    draining.ask()
    os.write(1, b"asked to hand over\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
