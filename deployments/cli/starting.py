"""`remedy run`, `undo` and `recover`."""

import json
from typing import Annotated, Any
from uuid import uuid4

from cyclopts import Parameter
from rich.text import Text

from deployments.cli import client
from deployments.cli.lookup import find_case
from deployments.cli.output import AsJson, emit
from deployments.cli.secrets import code_of
from deployments.cli.waiting import NO_WAIT, Wait, wait_for
from tasks.guardrails.case import id_of_run
from tasks.guardrails.errors import BadInput
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.requests import ticket

_LONGEST_NUMBER = 20  # characters of one of 64 bits

As = Annotated[
    str,
    Parameter(
        name="--as",
        help="Your name as an approver: the request is then yours, and not anybody's, "
        "which asks for one approver more.",
    ),
]
Code = Annotated[
    str,
    Parameter(
        help="Your authenticator's code; `=-` reads a line of input; asked for if not given."
    ),
]
Run = Annotated[
    str, Parameter(help="A remediation's id, the beginning of it, or a Prefect run's id or name.")
]


def run(  # noqa: PLR0913 - the options of the command
    name: Annotated[str, Parameter(help="Its name, as restore-from-backup.")],
    /,
    *,
    target: Annotated[str, Parameter(help="Name of the target.")],
    param: Annotated[
        tuple[str, ...],
        Parameter(help="A parameter as key=value; may be given again.", negative=""),
    ] = (),
    dry_run: Annotated[bool, Parameter(negative="", help="Look and plan only.")] = False,
    reason: Annotated[str, Parameter(help="Why; goes into the ledger and the report.")] = "",
    as_: As = "",
    code: Code = "",
    wait: Wait = NO_WAIT,
    as_json: AsJson = False,
) -> int:
    """Start a remediation, by its deployment in Prefect."""
    parameters = {"target": target, **read_parameters(param)}
    return _start(
        name,
        parameters,
        {"dry_run": dry_run, "reason": reason},
        who=(as_, code),
        wait=wait,
        as_json=as_json,
    )


def undo(
    run: Run,
    /,
    *,
    reason: Annotated[str, Parameter(help="Why; goes into the ledger and the report.")] = "",
    dry_run: Annotated[bool, Parameter(negative="", help="Look and plan only.")] = False,
    as_: As = "",
    code: Code = "",
    wait: Wait = NO_WAIT,
    as_json: AsJson = False,
) -> int:
    """Take an earlier remediation back; a remediation itself, planned and approved."""
    case = find_case(Ledger(), run)
    return _start(
        "undo-remediation",
        {"target": case.target, "remediation": case.id},
        {"dry_run": dry_run, "reason": reason},
        who=(as_, code),
        wait=wait,
        as_json=as_json,
    )


def recover(run: Run, /, *, wait: Wait = NO_WAIT, as_json: AsJson = False) -> int:
    """Carry on a remediation whose process is gone, now and not when the reaper sees it."""
    ledger = Ledger()
    case = find_case(ledger, run)
    if case.outcome:
        raise BadInput(
            expected="a remediation that has not ended.",
            found=f"{case.id} ended as {case.outcome}.",
            todo=f"See `remedy show {case.id}`.",
        )
    started = client.start("recover-remediation", {"remediation": case.id}, uuid4().hex)
    return _told(ledger, case.id, str(started.id), wait, as_json=as_json)


def read_parameters(given: tuple[str, ...]) -> dict[str, Any]:
    """Read `key=value` words; a value that is JSON is taken as such.

    Raises:
        BadInput: A word has no '=', or a number has more than 64 bits.
    """
    found: dict[str, Any] = {}
    for word in given:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise BadInput(
                expected="--param key=value.", found=f"{word!r}.", todo="Correct --param."
            )
        try:
            found[key.strip().replace("-", "_")] = json.loads(value, parse_int=_number)
        except ValueError:
            found[key.strip().replace("-", "_")] = value
    return found


def _number(text: str) -> int:
    """Read a whole number; with a larger one Prefect 3.8.8 cannot list its runs any more."""
    if len(text) > _LONGEST_NUMBER or abs(int(text)) >= 2**63:
        raise BadInput(
            expected="a number of at most 64 bits.",
            found=f"one of {len(text)} characters.",
            todo="Correct --param.",
        )
    return int(text)


def _start(
    name: str,
    parameters: dict[str, Any],
    own: dict[str, Any],
    *,
    who: tuple[str, str],
    wait: Wait,
    as_json: bool,
) -> int:
    ledger = Ledger()
    started = start(ledger, name, parameters, own, *who)
    return _told(ledger, id_of_run(started), started, wait, as_json=as_json)


def start(
    ledger: Ledger,
    name: str,
    parameters: dict[str, Any],
    own: dict[str, Any],
    approver: str = "",
    code: str = "",
) -> str:
    """Start a remediation through Prefect's API.

    Args:
        ledger: The ledger.
        name: Name of the deployment.
        parameters: Its parameters.
        own: `dry_run` and `reason`.
        approver: Who asks, where they say so.
        code: Their code; asked for where it is needed and not given.

    Returns:
        Id of the run.
    """
    given = {**parameters, **own}
    key = uuid4().hex
    if approver:
        client.deployment_for(name, given)  # a mistyped name does not cost a code
        function = client.slug(name).replace("-", "_")
        key = ticket(ledger, function, given, approver, code_of(approver, code))
    return str(client.start(name, given, key).id)


def _told(ledger: Ledger, remediation: str, run: str, wait: Wait, *, as_json: bool) -> int:
    said = {"remediation": remediation, "run": run, "url": client.url_of(run)}
    if not (as_json and wait.wait):
        shown = Text.assemble(
            "Started ",
            (remediation, "bold"),
            f"   {said['url']}\nSee: remedy show {remediation}",
        )
        emit(said, shown, as_json=as_json)
    return wait_for(ledger, remediation, wait, as_json=as_json)
