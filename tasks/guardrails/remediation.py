"""The decorator that makes a planning function a Prefect flow carried out by the engine."""

import inspect
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from tasks.guardrails import requests, surface
from tasks.guardrails.case import Case
from tasks.guardrails.engine import Ending, Outcome, carry_out
from tasks.guardrails.errors import BadInput
from tasks.guardrails.holders import remediation_resource
from tasks.guardrails.leases import held
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Plan, Stage

StagePlanner = Callable[..., Stage]

_planning: ContextVar[str] = ContextVar("remedy_planning")
_catalogue: dict[str, "Remediation"] = {}
_OWN = (
    inspect.Parameter(
        "dry_run", inspect.Parameter.POSITIONAL_OR_KEYWORD, default=False, annotation=bool
    ),
    inspect.Parameter(
        "reason", inspect.Parameter.POSITIONAL_OR_KEYWORD, default="", annotation=str
    ),
)
_OWN_ARGS = """
    dry_run: Look and plan only; nothing is changed.
    reason: Why this is done; goes into the ledger and the report."""
_GOOD = (Outcome.UNCHANGED, Outcome.PLANNED, Outcome.ADVISED, Outcome.REMEDIATED)


def remediation_id() -> str:
    """Give the id of the remediation that is being planned.

    Returns:
        The id; it goes into the names of what the plan makes.

    Raises:
        LookupError: Nothing is being planned.
    """
    return _planning.get()


def seen_so_far(kind: str) -> tuple[str, ...]:
    """Give what was seen of the changes of a kind when they were done, for a later stage's plan.

    Args:
        kind: The kind of change.

    Returns:
        What each `observe` said, in the order in which they were done, as the ledger has it.

    Raises:
        LookupError: Nothing is being planned.
    """
    case = Case.read(Ledger(), remediation_id())
    kinds = {
        (record.digest, index): change.kind
        for record in case.stages
        for index, change in enumerate(record.stage.changes)
    }
    return tuple(
        str(entry.facts["seen"])
        for entry in case.of_kind("done")
        if kinds.get((entry.facts["digest"], entry.facts["index"])) == kind
    )


@contextmanager
def planning_for(remediation: str) -> Iterator[None]:
    """Say which remediation is being planned while the block runs."""
    token = _planning.set(remediation)
    try:
        yield
    finally:
        _planning.reset(token)


class Remediation(Flow[..., Any]):
    """A Prefect flow that hands what its function plans to the engine.

    Args:
        planner: The planning function.
        guide: The part of the troubleshooting guide it carries out.
    """

    def __init__(self, planner: Callable[..., Plan], guide: str) -> None:
        """Make the flow, with the parameters that every remediation has."""
        self.planner, self.guide = planner, guide
        self.planners: dict[str, StagePlanner] = {}
        super().__init__(
            _as_flow_function(planner, self._run),
            name=planner.__name__.replace("_", "-"),
            flow_run_name=f"{planner.__name__.replace('_', '-')} on {{target}}",
            persist_result=False,
        )

    def stage(self, name: str) -> Callable[[StagePlanner], StagePlanner]:
        """Register the planning function of a later stage, called when it is reached.

        It gets the earlier stages as recorded, then the flow's parameters.

        Args:
            name: Name of the stage, as in the first plan's outline.
        """

        def register(planner: StagePlanner) -> StagePlanner:
            self.planners[name] = planner
            return planner

        return register

    def plan(self, case: Case) -> Plan:
        """Call the planning function for a case."""
        with planning_for(case.id):
            return self.planner(**self._parameters(case))

    def later_stage(self, case: Case, name: str, earlier: tuple[Stage, ...]) -> Stage:
        """Call the planning function of a later stage for a case."""
        with planning_for(case.id):
            return self.planners[name](earlier, **self._parameters(case))

    def _parameters(self, case: Case) -> dict[str, Any]:
        """Read the parameters from the ledger, in the types that the function names."""
        typed = self.validate_parameters(case.request["parameters"])
        return {key: value for key, value in typed.items() if key not in {"dry_run", "reason"}}

    def _run(self, parameters: dict[str, Any]) -> State[Any]:
        """Carry the run of the flow out; what Prefect calls."""
        ledger = Ledger()
        run = surface.run_id()
        remediation = requests.opened(ledger, self.planner.__name__, run, parameters)
        return run_case(ledger, self, remediation, run)


def remediation(guide: str) -> Callable[[Callable[..., Plan]], Remediation]:
    """Make a planning function a remediation: a flow that the engine carries out.

    Args:
        guide: The part of the troubleshooting guide that it carries out, as
            'Database Issues / Database Corruption / Restore from Backup'.

    Returns:
        The decorator.
    """

    def decorate(planner: Callable[..., Plan]) -> Remediation:
        made = Remediation(planner, guide)
        _catalogue[planner.__name__] = made
        return made

    return decorate


def find(name: str) -> Remediation:
    """Find a remediation that this process has imported.

    Args:
        name: Name of its function.

    Raises:
        BadInput: There is none by that name.
    """
    if name not in _catalogue:
        raise BadInput(
            expected=f"a remediation: {', '.join(sorted(_catalogue))}.",
            found=f"{name!r}.",
            todo="See `remedy run --help`, or use the version of remedy that has it.",
        )
    return _catalogue[name]


def catalogue() -> dict[str, Remediation]:
    """Give all remediations that this process has imported, by name."""
    return dict(sorted(_catalogue.items()))


def run_case(ledger: Ledger, planner: Remediation, remediation: str, run: str) -> State[Any]:
    """Carry a case on, as the one process that does, and give the run's final state."""
    with held(ledger, remediation_resource(remediation), remediation, run) as lease:
        ending = carry_out(ledger, remediation, planner, run, lease)
    return final_state(ending)


def final_state(ending: Ending) -> State[Any]:
    """Give the state that Prefect shows: only a good outcome is green."""
    message = f"{ending.outcome}: {ending.why}"
    name = ending.outcome.value.capitalize()
    if ending.outcome in _GOOD:
        return Completed(name=name, message=message)
    return Failed(name=name, message=message)


def _as_flow_function(
    planner: Callable[..., Plan], run: Callable[[dict[str, Any]], State[Any]]
) -> Callable[..., Any]:
    """Make the function that Prefect sees: the planner's parameters and our own."""
    signature = inspect.signature(planner)
    signature = signature.replace(
        parameters=[*signature.parameters.values(), *_OWN], return_annotation=Any
    )

    def flow_function(*args: Any, **kwargs: Any) -> State[Any]:  # noqa: ANN401 - any flow's parameters
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return run(dict(bound.arguments))

    flow_function.__signature__ = signature  # type: ignore[attr-defined] # read by inspect
    flow_function.__annotations__ = {
        **{key: value for key, value in planner.__annotations__.items() if key != "return"},
        **{own.name: own.annotation for own in _OWN},
    }
    flow_function.__name__ = planner.__name__
    flow_function.__qualname__ = planner.__qualname__
    flow_function.__module__ = planner.__module__
    flow_function.__doc__ = _with_own_args(inspect.getdoc(planner) or "", planner.__name__)
    return flow_function


def _with_own_args(doc: str, name: str) -> str:
    """Add our parameters to the docstring: Prefect's form takes descriptions from there."""
    section = re.search(r"^Args:\n(?:[ \t]+.*\n?|\n(?=[ \t]))+", doc, re.MULTILINE)
    if section is None:
        message = f"the docstring of {name} has no Args section"
        raise TypeError(message)
    end = section.start() + len(section.group().rstrip())
    return doc[:end] + _OWN_ARGS + doc[end:]
