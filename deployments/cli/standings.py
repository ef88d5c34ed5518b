"""`remedy standing`: approvals that let scheduled work run unattended, within bounds."""

from datetime import UTC, datetime
from typing import Annotated, Any

from cyclopts import App, Parameter
from prefect import Flow
from rich.text import Text

from deployments.cli.numbers import Count
from deployments.cli.output import AsJson, console, emit, table
from deployments.cli.proving import As, Code, authenticate
from deployments.cli.starting import read_parameters
from deployments.docs_kinds import kinds_of_change
from flows.catalogue import load
from tasks.guardrails import codes, standing, systems
from tasks.guardrails.errors import BadInput
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Risk
from tasks.guardrails.policy import policy_of
from tasks.guardrails.remediation import Remediation
from tasks.guardrails.requests import own_parameters
from tasks.guardrails.words import moment

app = App(
    name="standing",
    help="Approvals that let scheduled work run unattended, within bounds, until a date.",
    help_format="markdown",
)


@app.command
def add(  # noqa: PLR0913 - the bounds of an approval
    name: Annotated[str, Parameter(help="Name of the remediation, as vacuum-database.")],
    /,
    *,
    target: Annotated[str, Parameter(help="Name of the target.")],
    until: Annotated[datetime, Parameter(help="When it ends (UTC), as 2027-06-30.")],
    at_most: Annotated[Count, Parameter(help="The most objects that a stage may touch.")],
    reason: Annotated[str, Parameter(help="Why; goes into the ledger.")],
    param: Annotated[
        tuple[str, ...],
        Parameter(help="A parameter as key=value; the others have their defaults.", negative=""),
    ] = (),
    kind: Annotated[
        tuple[str, ...],
        Parameter(help="A kind of change that it may make; by default all of them.", negative=""),
    ] = (),
    risk: Annotated[Risk, Parameter(help="The highest risk of a stage.")] = Risk.DISRUPTIVE,
    as_: As = "",
    code: Code = "",
    as_json: AsJson = False,
) -> None:
    """Give a standing approval: within its bounds a run of a known requester asks nobody."""
    flow = _find_flow(name)
    given = read_parameters(param)
    if own := sorted(given.keys() & {"target", "dry_run", "reason"}):
        raise BadInput(
            expected="parameters of the remediation's own.",
            found=f"--param {own[0]}=...",
            todo="Use --target and --reason; a dry run needs no approval.",
        )
    known = [change.kind for change in kinds_of_change(flow)]
    if not known:
        raise BadInput(
            expected="a remediation that plans changes of its own.",
            found=f"{name}, which carries out what others planned.",
            todo="Approve each of its runs.",
        )
    if unknown := sorted(set(kind) - set(known)):
        raise BadInput(
            expected=f"kinds of change of {name}: {', '.join(known) or 'it has none'}.",
            found=f"{', '.join(unknown)}.",
            todo="Leave --kind out for all of them.",
        )
    bounds = {
        "remediation": flow.planner.__name__,
        "target": target,
        "parameters": own_parameters(flow, {"target": target, **given}),
        "kinds": kind or known,
        "at_most": at_most,
        "risk": risk,
        "until": until.replace(tzinfo=until.tzinfo or UTC),
        "fingerprint": systems.load(target).fingerprint(),
        "reason": reason,
    }
    ledger = Ledger()
    who, mark = authenticate(ledger, as_, code)
    with ledger.writing() as chain:
        codes.use_code(chain, who, mark, codes.HOST)
        made = standing.give(ledger, chain, bounds, who)
    line = f"Standing approval {made.id} until {moment(made.bounds.until)}."
    emit(_data(made, ""), Text(line), as_json=as_json)


@app.command(name="list")
def list_(*, as_json: AsJson = False) -> None:
    """List the standing approvals, with those that cover nothing any more, and why."""
    ledger = Ledger()
    found = [
        (
            one,
            standing.why_it_does_not_hold(
                ledger, one, policy_of(ledger, one.bounds.target).policy, datetime.now(UTC)
            ),
        )
        for one in standing.standing_approvals(ledger)
    ]
    rows = [
        (
            one.id,
            f"{one.bounds.remediation} on {one.bounds.target}",
            f"{', '.join(one.bounds.kinds)}; {one.bounds.at_most} objects, {one.bounds.risk}",
            moment(one.bounds.until),
            one.given_by,
            why or "holds",
        )
        for one, why in found
    ]
    shown = table(("id", "what", "at most", "until", "by", "state"), rows)
    emit([_data(*one) for one in found], shown if rows else Text("None."), as_json=as_json)


@app.command
def revoke(
    name: Annotated[str, Parameter(help="Id of the standing approval.")],
    /,
    *,
    reason: Annotated[str, Parameter(help="Why; goes into the ledger.")],
    as_: As,
    code: Code = "",
) -> None:
    """Revoke a standing approval: from now on what it covered asks."""
    ledger = Ledger()
    who, mark = authenticate(ledger, as_, code)
    with ledger.writing() as chain:
        codes.use_code(chain, who, mark, codes.HOST)
        standing.revoke(ledger, chain, name, reason, who)
    console().print(Text(f"Standing approval {name} is revoked."))


def _find_flow(name: str) -> Remediation:
    flows = load().flows
    found: Flow[..., Any] | None = flows.get(name.replace("-", "_"))
    if isinstance(found, Remediation):
        return found
    known = sorted(one.replace("_", "-") for one in flows if isinstance(flows[one], Remediation))
    raise BadInput(
        expected=f"the name of a remediation: {', '.join(known)}.",
        found=f"{name!r}.",
        todo="Correct the name.",
    )


def _data(one: standing.StandingApproval, why: str) -> dict[str, Any]:
    return {
        "id": one.id,
        **one.bounds.model_dump(mode="json"),
        "given_by": one.given_by,
        "given_at": one.given_at.isoformat(),
        "holds": not why,
        "why_not": why or None,
    }
