"""Requests: who asked for what; recorded before anything is looked at."""

import inspect
from typing import Any
from uuid import uuid4

from prefect import Flow
from prefect.context import FlowRunContext
from prefect.exceptions import ParameterBindError, ParameterTypeError
from pydantic_core import to_jsonable_python

from tasks.guardrails import codes, surface
from tasks.guardrails.case import Case, Requester, id_of_run
from tasks.guardrails.errors import BadInput
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import canonical_json
from tasks.guardrails.version import code_version

_TICKET = "remedy-ticket-"
_OWN = ("dry_run", "reason")  # what every remediation takes beside its own parameters


def opened(ledger: Ledger, name: str, run: str, parameters: dict[str, Any]) -> str:
    """Find the remediation that a run carries out, or record its request.

    Args:
        ledger: Where it is recorded.
        name: Name of the remediation.
        run: Id of the Prefect run: the same remediation at each of its executions.
        parameters: The flow's parameters, with target, dry_run and reason.

    Returns:
        Id of the remediation.

    Raises:
        BadInput: The run's parameters are others than at its first execution.
    """
    asked = to_jsonable_python(parameters)
    given = _without_own(asked)
    remediation = id_of_run(run or uuid4().hex)
    case = Case.read(ledger, remediation)
    if case.request:
        if canonical_json(case.request["parameters"]) != canonical_json(given):
            edited = BadInput(
                expected="the parameters that were planned and approved.",
                found="others: the run was edited in between.",
                todo="Start a new run with the new parameters.",
            )
            ledger.append("woken", {"note": str(edited)}, remediation=remediation, run=run)
            raise edited
        return remediation
    requester = _requester(ledger, name, asked)
    ledger.append(
        "requested",
        {
            "name": name,
            "target": given["target"],
            "parameters": given,
            **{key: asked[key] for key in _OWN},
            "requester": requester.model_dump(),
            "code_version": code_version(),
            "ticket": _ticket_of(run),
        },
        remediation=remediation,
        run=run,
        actor=requester.name,
    )
    return remediation


def ticket(ledger: Ledger, name: str, parameters: dict[str, Any], approver: str, code: str) -> str:
    """Authenticate a requester before the run is created.

    Args:
        ledger: Where the ticket is recorded.
        name: Name of the remediation.
        parameters: All that are given, dry_run and reason among them; the others have their
            defaults.
        approver: Name of the requester, who needs a secret as approvers have.
        code: Their code.

    Returns:
        The ticket, to be given to Prefect as the run's idempotency key: it admits one run
        of this remediation with these parameters, and with no others.

    Raises:
        ApprovalRefused: The code is wrong.
    """
    who, mark = codes.authenticate(ledger, approver, code, role="approve", source=codes.HOST)
    key = _TICKET + uuid4().hex
    with ledger.writing() as chain:
        codes.use_code(chain, who.name, mark, codes.HOST)
        chain.append(
            "ticket",
            {"ticket": key, "name": name, "parameters": to_jsonable_python(parameters)},
            actor=who.name,
        )
    return key


def _ticket_of(run: str) -> str:
    found = surface.flow_run() if run else None
    key = (found.idempotency_key if found else "") or ""
    return key if key.startswith(_TICKET) else ""


def _is_used(ledger: Ledger, key: str) -> bool:
    """Say whether a ticket has admitted a run: Prefect forgets its key with the run."""
    return any(entry.facts.get("ticket") == key for entry in ledger.entries(kinds=("requested",)))


def _requester(ledger: Ledger, name: str, parameters: dict[str, Any]) -> Requester:
    """Find out who asked: an authenticated person, a schedule, or nobody known."""
    run = surface.flow_run()
    if run is None:
        return Requester(name="a direct call", known=False, how="no Prefect run")
    key = run.idempotency_key or ""
    if key.startswith(_TICKET):
        return _by_ticket(ledger, key, name, parameters)
    # Only Prefect's scheduler sets this; but any client of its API can add a schedule.
    if run.auto_scheduled and _is_registered(ledger, name, parameters):
        return Requester(name="schedule", known=True, how="a schedule of the catalogue")
    return Requester(name="somebody", known=False, how="started in Prefect without a code")


def _by_ticket(ledger: Ledger, key: str, name: str, parameters: dict[str, Any]) -> Requester:
    """Say who asked where a ticket does: whoever reads Prefect's API can take one."""
    if _is_used(ledger, key):
        return Requester(name="somebody", known=False, how="a ticket that was used before")
    for entry in ledger.entries(kinds=("ticket",)):
        facts = entry.facts
        if (facts["ticket"], facts["name"]) != (key, name):
            continue
        if canonical_json(_completed(facts["parameters"])) == canonical_json(parameters):
            return Requester(name=entry.actor, known=True, how="authenticated by code")
    return Requester(name="somebody", known=False, how="a ticket for another request")


def _completed(given: dict[str, Any]) -> dict[str, Any]:
    """Bring parameters into the types of the flow at work, with its defaults for the others."""
    context = FlowRunContext.get()
    if context is None or context.flow is None:
        message = "parameters are completed by the flow that runs, and none does"
        raise RuntimeError(message)
    return _completed_for(context.flow, given)


def _completed_for(flow: Flow[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    bound = inspect.signature(flow.fn).bind(**flow.validate_parameters(given))
    bound.apply_defaults()
    completed: dict[str, Any] = to_jsonable_python(bound.arguments)
    return completed


def _without_own(parameters: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in parameters.items() if key not in _OWN}


def own_parameters(flow: Flow[..., Any], given: dict[str, Any]) -> dict[str, Any]:
    """Give the parameters of a remediation as they are recorded with its request.

    Args:
        flow: The remediation.
        given: Those that are given; the others have their defaults.

    Returns:
        All but those that every remediation takes beside its own, as JSON values.

    Raises:
        BadInput: One is unknown or not usable.
    """
    try:
        return _without_own(_completed_for(flow, given))
    except (TypeError, ParameterTypeError, ParameterBindError) as error:
        raise BadInput(
            expected=f"parameters of {flow.name}.",
            found=" ".join(str(error).split()) + ".",
            todo="See the page of the remediation in docs/.",
        ) from error


def register_schedule(ledger: Ledger, name: str, parameters: dict[str, Any]) -> None:
    """Record a schedule of the catalogue, so that the runs it starts have a known requester.

    Args:
        ledger: Where it is recorded; a client of Prefect's API cannot write there.
        name: Name of the remediation.
        parameters: The parameters with which the schedule starts it.
    """
    facts = {"name": name, "parameters": parameters}
    if all(entry.facts != facts for entry in ledger.entries(kinds=("schedule_registered",))):
        ledger.append("schedule_registered", facts)


def _is_registered(ledger: Ledger, name: str, parameters: dict[str, Any]) -> bool:
    """Say whether the catalogue has a schedule that gives these parameters, and no others."""
    return any(
        entry.facts["name"] == name
        and canonical_json(_completed(entry.facts["parameters"])) == canonical_json(parameters)
        for entry in ledger.entries(kinds=("schedule_registered",))
    )
