"""All flows there are, imported."""

import importlib
import pkgutil
from typing import Any

from prefect import Flow

import flows
from tasks.guardrails.remediation import Remediation


def load_all() -> dict[str, Flow[..., Any]]:
    """Import every flow file and give its flow: file name = function = flow's slug.

    Returns:
        The flows by the name of their file.
    """
    found: dict[str, Flow[..., Any]] = {}
    for module in pkgutil.walk_packages(flows.__path__, "flows."):
        name = module.name.rpartition(".")[2]
        flow = getattr(importlib.import_module(module.name), name, None)
        if isinstance(flow, Flow):
            found[name] = flow
    return dict(sorted(found.items()))


def section_of(flow: Flow[..., Any]) -> str:
    """Give the folder of a flow: its section of the guide."""
    return str(flow.fn.__module__).split(".")[1]


def guide_of(flow: Flow[..., Any]) -> str:
    """Give the part of the guide that a flow carries out, '' for the engine's own flows."""
    return flow.guide if isinstance(flow, Remediation) else ""
