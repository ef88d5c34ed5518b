"""`remedy approver`: who may approve."""

import io
from dataclasses import asdict
from typing import Annotated, Literal

import segno
from cyclopts import App, Parameter
from rich.text import Text

from deployments.cli.output import AsJson, console, emit, table
from deployments.cli.proving import As, Code, prove
from tasks.guardrails import approvers
from tasks.guardrails.errors import BadInput
from tasks.guardrails.ledger import Ledger

app = App(name="approver", help="Who may approve.", help_format="markdown")


@app.command
def add(
    name: Annotated[str, Parameter(help="Name of the new approver.")],
    /,
    *,
    role: Annotated[
        tuple[Literal["approve", "policy"], ...],
        Parameter(help="approve: decides; policy: adds approvers and sets policies.", negative=""),
    ] = ("approve",),
    as_: As = "",
    code: Code = "",
    as_json: AsJson = False,
) -> None:
    """Add an approver, and show the secret for their authenticator once.

    The first one needs nobody's leave and gets the role policy as well; later ones are
    added by an approver with that role.
    """
    ledger = Ledger()
    first = not policy_makers(ledger)
    actor = "bootstrap" if first else prove(ledger, as_, code)
    roles = tuple(dict.fromkeys((*role, "approve", "policy"))) if first else role
    made = approvers.add(ledger, name, roles, actor)
    if as_json:
        emit({**asdict(made), "roles": roles}, "", as_json=True)
        return
    picture = io.StringIO()
    segno.make(made.uri, error="m").terminal(picture, compact=True)
    console().print(Text(picture.getvalue()), soft_wrap=True)
    lines = Text.assemble(
        (f"{made.name}", "bold"),
        f" with the roles {', '.join(roles)}. Scan it with an authenticator, or type the secret:\n",
        (made.secret, "bold"),
        "\nRecovery codes, each good for once in place of a code:\n  ",
        "\n  ".join(made.recovery_codes),
        "\nNone of this is shown again.",
    )
    console().print(lines)


@app.command(name="list")
def list_(*, as_json: AsJson = False) -> None:
    """List the approvers, revoked ones included."""
    found = approvers.approvers(Ledger()).values()
    rows = [
        (who.name, ", ".join(who.roles), who.added[:19], who.revoked[:19] or "-") for who in found
    ]
    data = [
        {"name": who.name, "roles": who.roles, "added": who.added, "revoked": who.revoked or None}
        for who in found
    ]
    shown = table(("name", "roles", "added (UTC)", "revoked"), rows)
    emit(data, shown if rows else Text("None yet: remedy approver add NAME"), as_json=as_json)


@app.command
def revoke(
    name: Annotated[str, Parameter(help="Name of the approver.")],
    /,
    *,
    reason: Annotated[str, Parameter(help="Why; goes into the ledger.")],
    as_: As,
    code: Code = "",
) -> None:
    """Revoke an approver: their decisions count no more, not even those not yet used."""
    ledger = Ledger()
    if policy_makers(ledger) == {approvers.normalise(name)}:
        raise BadInput(
            expected="another approver with the role policy to remain.",
            found=f"{name} is the only one.",
            todo="Add another one first: remedy approver add NAME --role policy",
        )
    actor = prove(ledger, as_, code)
    approvers.revoke(ledger, name, reason, actor)
    console().print(Text(f"{name} is revoked."))


def policy_makers(ledger: Ledger) -> set[str]:
    """Give the names of those who may add approvers and set policies."""
    found = approvers.approvers(ledger).values()
    return {who.name for who in found if "policy" in who.roles and not who.revoked}
