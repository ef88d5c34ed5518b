"""Targets by name: from their Prefect block, or given by a test or a program."""

import importlib
import re
from typing import Annotated, cast

from pydantic import Field

from tasks.guardrails import systems
from tasks.guardrails.errors import BadInput, PreconditionFailed
from tasks.platforms.protocols import System

TargetName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]

# Slug of the block type -> where its class is.
PLATFORMS = {
    "sandbox-target": "tasks.platforms.sandbox.target:SandboxTarget",
    "compose-target": "tasks.platforms.compose.target:ComposeTarget",
}

_given: dict[str, System] = {}


def give(system: System) -> None:
    """Make a system known to this process under its name, without a block."""
    _given[system.name] = system


def load(name: str) -> System:
    """Load a target by name.

    Args:
        name: Name of the target's block, whatever its platform.

    Returns:
        The system under care.

    Raises:
        BadInput: The name is malformed.
        PreconditionFailed: No target has that name; says which there are.
    """
    return cast("System", systems.load(name))


def _load(name: str) -> System:
    if name in _given:
        return _given[name]
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", name):
        raise BadInput(
            expected="a target's name: lower-case letters, digits and dashes, at most 40.",
            found=f"{name!r}.",
            todo="See the names with `remedy target list`.",
        )
    for path in PLATFORMS.values():
        module, _, attribute = path.partition(":")
        block = getattr(importlib.import_module(module), attribute)
        try:
            return cast("System", block.load(name))
        except ValueError as error:  # Prefect's answer for a block that is not there
            if "Unable to find block document" not in str(error):
                raise
    raise PreconditionFailed(
        expected=f"a target named {name!r}.",
        found="none among the blocks of this Prefect server.",
        todo="Add it with `remedy target add`, or see the names with `remedy target list`.",
    )


systems.use_loader(_load)
