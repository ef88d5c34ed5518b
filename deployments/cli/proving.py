"""Proof that somebody with the role `policy` asks, for what changes the rules."""

from typing import Annotated

from cyclopts import Parameter

from deployments.cli.secrets import code_of
from tasks.guardrails import codes
from tasks.guardrails.errors import BadInput
from tasks.guardrails.ledger import Ledger

As = Annotated[str, Parameter(name="--as", help="Your name as an approver with the role policy.")]
Code = Annotated[str, Parameter(help="Your authenticator's code; asked for if not given.")]


def prove(ledger: Ledger, name: str, code: str) -> str:
    """Authenticate somebody with the role `policy`, and use their code up.

    Args:
        ledger: The ledger.
        name: Who they say they are.
        code: Their code; asked for where it was not given.

    Returns:
        Their name.

    Raises:
        BadInput: No name was given.
        ApprovalRefused: The code is wrong, or they have not the role.
    """
    who, mark = authenticate(ledger, name, code)
    with ledger.writing() as chain:
        codes.use_code(chain, who, mark, codes.HOST)
    return who


def authenticate(ledger: Ledger, name: str, code: str) -> tuple[str, str]:
    """Authenticate somebody with the role `policy`; their code is used up where it counts.

    Args:
        ledger: The ledger.
        name: Who they say they are.
        code: Their code; asked for where it was not given.

    Returns:
        Their name, and the mark under which `codes.use_code` uses the code up.

    Raises:
        BadInput: No name was given.
        ApprovalRefused: The code is wrong, or they have not the role.
    """
    if not name:
        raise BadInput(
            expected="--as with the name of an approver who has the role policy.",
            found="nothing.",
            todo="See `remedy approver list`.",
        )
    who, mark = codes.authenticate(
        ledger, name, code_of(name, code), role="policy", source=codes.HOST
    )
    return who.name, mark
