"""All flows there are, imported; a file that cannot be keeps none of the others out."""

import importlib
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect import Flow

import flows
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.remediation import Remediation


@dataclass(frozen=True)
class Catalogue:
    """The flows by the name of their file, and the files that cannot be imported.

    Args:
        flows: Those whose file was imported.
        broken: Of each other file its name without `.py`, and why it cannot be imported.
    """

    flows: dict[str, Flow[..., Any]]
    broken: dict[str, str]

    def insist_on(self, *names: str) -> None:
        """Make sure that the files of flows were imported as a whole.

        Raises:
            PreconditionFailed: One was not; what it defined before it failed is not to be used.
        """
        broken = [f"{name}: {self.broken[name]}" for name in names if name in self.broken]
        if broken:
            raise PreconditionFailed(
                expected="every flow file that is needed to be importable.",
                found=f"{'; '.join(broken)}.",
                todo="Mend what is named, or go back to the version that worked, and try again; "
                "until then the other remediations work.",
            )


def load() -> Catalogue:
    """Import every flow file that can be: file name = function = flow's slug.

    Returns:
        The flows, and the files that cannot be imported.
    """
    found: dict[str, Flow[..., Any]] = {}
    broken: dict[str, str] = {}
    for file in (file for top in flows.__path__ for file in Path(top).glob("*/*.py")):
        if file.stem == "__init__":
            continue
        try:
            module = importlib.import_module(f"flows.{file.parent.name}.{file.stem}")
        except Exception as error:  # noqa: BLE001 - whatever a file does, the others are needed
            broken[file.stem] = _why(error)
            continue
        flow = getattr(module, file.stem, None)
        if isinstance(flow, Flow):
            found[file.stem] = flow
    return Catalogue(dict(sorted(found.items())), dict(sorted(broken.items())))


def load_all() -> dict[str, Flow[..., Any]]:
    """Import every flow file, and give its flow.

    Returns:
        The flows by the name of their file.

    Raises:
        PreconditionFailed: A file cannot be imported.
    """
    catalogue = load()
    catalogue.insist_on(*catalogue.broken)
    return catalogue.flows


def _why(error: Exception) -> str:
    """Say what failed, and where in our code: it may lie in a file that the flow imports."""
    places = [
        f"{name} line {line}"
        for frame, line in traceback.walk_tb(error.__traceback__)
        if (name := str(frame.f_globals.get("__name__"))).startswith(("flows.", "tasks."))
        and name != __name__
    ]
    where = f" ({places[-1]})" if places else ""
    return f"{type(error).__name__}: {error}{where}"


def section_of(flow: Flow[..., Any]) -> str:
    """Give the folder of a flow: its section of the guide."""
    return str(flow.fn.__module__).split(".")[1]


def guide_of(flow: Flow[..., Any]) -> str:
    """Give the part of the guide that a flow carries out, '' for the engine's own flows."""
    return flow.guide if isinstance(flow, Remediation) else ""
