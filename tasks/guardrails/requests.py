"""Requests: who asked for what; recorded before anything is looked at."""

from typing import Any
from uuid import uuid4

from pydantic_core import to_jsonable_python

from tasks.guardrails import codes, surface
from tasks.guardrails.case import Case, Requester, id_of_run
from tasks.guardrails.errors import BadInput
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import canonical_json
from tasks.guardrails.version import code_version

_TICKET = "remedy-ticket-"


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
    given = to_jsonable_python(parameters)
    dry_run, reason = bool(given.pop("dry_run")), str(given.pop("reason"))
    remediation = id_of_run(run or uuid4().hex)
    case = Case.read(ledger, remediation)
    if case.request:
        if canonical_json(case.request["parameters"]) != canonical_json(given):
            raise BadInput(
                expected="the parameters that were planned and approved.",
                found="others: the run was edited in between.",
                todo="Start a new run with the new parameters.",
            )
        return remediation
    requester = _requester(ledger, name, given)
    ledger.append(
        "requested",
        {
            "name": name,
            "target": given["target"],
            "parameters": given,
            "dry_run": dry_run,
            "reason": reason,
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
        parameters: Its parameters, without dry_run and reason.
        approver: Name of the requester, who needs a secret as approvers have.
        code: Their code.

    Returns:
        The ticket, to be given to Prefect as the run's idempotency key: it admits one run
        of this remediation with these parameters.

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
    if key.startswith(_TICKET) and not _is_used(ledger, key):
        for entry in ledger.entries(kinds=("ticket",)):
            facts = entry.facts
            asked = {key: parameters.get(key) for key in facts["parameters"]}
            if (
                facts["ticket"] == key
                and facts["name"] == name
                and canonical_json(asked) == canonical_json(facts["parameters"])
            ):
                return Requester(name=entry.actor, known=True, how="authenticated by code")
    # Only Prefect's scheduler sets this; but any client of its API can add a schedule.
    if run.auto_scheduled and _is_registered(ledger, name, parameters):
        return Requester(name="schedule", known=True, how="a schedule of the catalogue")
    return Requester(name="somebody", known=False, how="started in Prefect without a code")


def register_schedule(ledger: Ledger, name: str, parameters: dict[str, Any]) -> None:
    """Record a schedule of the catalogue, so that the runs it starts have a known requester.

    Args:
        ledger: Where it is recorded; a client of Prefect's API cannot write there.
        name: Name of the remediation.
        parameters: The parameters with which the schedule starts it.
    """
    if not _is_registered(ledger, name, parameters):
        ledger.append("schedule_registered", {"name": name, "parameters": parameters})


def _is_registered(ledger: Ledger, name: str, parameters: dict[str, Any]) -> bool:
    """Say whether the catalogue has a schedule that gives these parameters, defaults aside."""
    return any(
        entry.facts["name"] == name and entry.facts["parameters"].items() <= parameters.items()
        for entry in ledger.entries(kinds=("schedule_registered",))
    )
