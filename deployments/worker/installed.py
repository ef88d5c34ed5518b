"""The catalogue as this process has it installed: all that the worker will ever run."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from prefect import Flow

from flows.catalogue import load

Catalogue = Mapping[str, Flow[..., Any]]

# A flow file that cannot be imported keeps none of the others out; its runs are refused.
FLOWS: Catalogue = {flow.name: flow for flow in load().flows.values()}


def catalogue(module: str = __name__) -> Catalogue:
    """Give the flows by their name in Prefect.

    Args:
        module: The module that holds them as FLOWS; tests have one of their own.

    Returns:
        The flows, imported once.
    """
    found: Catalogue = import_module(module).FLOWS
    return found


def entrypoint_of(flow: Flow[..., Any]) -> str:
    """Give the entrypoint that registration writes: shown in the UI, never loaded."""
    return f"{flow.fn.__module__.replace('.', '/')}.py:{flow.fn.__name__}"
