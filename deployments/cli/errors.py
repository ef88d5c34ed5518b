"""Errors as a person reads them, and the exit codes that scripts read."""

import enum
import os
from typing import Any

from rich.console import Console
from rich.text import Text

from tasks.guardrails.errors import (
    ApprovalExpired,
    ApprovalRefused,
    BadInput,
    CheckFailed,
    LedgerBroken,
    PreconditionFailed,
    RemediationError,
    TargetBusy,
    Transient,
    UndoFailed,
    WorldMoved,
)


class Unreachable(RemediationError):
    """The Prefect API, or what else a command needs, does not answer."""

    kind = "unreachable"


class Exit(enum.IntEnum):
    """Exit codes; their meaning is in `MEANINGS`."""

    OK = 0
    DEFECT = 1
    BAD_INPUT = 2
    REFUSED = 3
    UNDONE = 4
    STUCK = 5
    UNREACHABLE = 6
    PRECONDITION = 7
    BUSY = 8
    NOT_VERIFIED = 9
    TIMEOUT = 10
    UNPROVED = 11
    INTERRUPTED = 130


MEANINGS = {
    Exit.OK: "done; for `run --wait`: unchanged, planned, advised or remediated",
    Exit.DEFECT: "an error that remedy does not know: report it",
    Exit.BAD_INPUT: "the command line or a parameter is not usable",
    Exit.REFUSED: "an approver refused, a decision did not count, or its time was over",
    Exit.UNDONE: "the remediation failed and was taken back",
    Exit.STUCK: "a change could not be taken back: a person has to",
    Exit.UNREACHABLE: "the Prefect API, the ledger or a service does not answer",
    Exit.PRECONDITION: "things are not as they have to be; nothing was begun",
    Exit.BUSY: "somebody else is at work on it",
    Exit.NOT_VERIFIED: "the ledger is not what was written",
    Exit.TIMEOUT: "`--timeout` was over; the remediation goes on",
    Exit.UNPROVED: "something does not work as it should: `doctor`, `target check`, `status`",
    Exit.INTERRUPTED: "interrupted by Ctrl-C; what was started goes on",
}


_BY_KIND: tuple[tuple[type[RemediationError], Exit], ...] = (
    (BadInput, Exit.BAD_INPUT),
    (ApprovalRefused, Exit.REFUSED),
    (ApprovalExpired, Exit.REFUSED),
    (CheckFailed, Exit.UNDONE),
    (UndoFailed, Exit.STUCK),
    (Unreachable, Exit.UNREACHABLE),
    (Transient, Exit.UNREACHABLE),
    (LedgerBroken, Exit.UNREACHABLE),
    (TargetBusy, Exit.BUSY),
    (PreconditionFailed, Exit.PRECONDITION),
    (WorldMoved, Exit.PRECONDITION),
)
BY_OUTCOME = {
    "refused": Exit.REFUSED,
    "expired": Exit.REFUSED,
    "undone": Exit.UNDONE,
    "stuck": Exit.STUCK,
}


def exit_code(error: BaseException | None) -> int:
    """Give the exit code of an error; 0 for none."""
    if error is None:
        return Exit.OK.value
    for kind, code in _BY_KIND:
        if isinstance(error, kind):
            return code.value
    return Exit.DEFECT.value


def in_four_parts(error: Exception, console: Console) -> int:
    """Print an error as its four parts, without a traceback.

    Args:
        error: Any exception; foreign ones are turned into ours.
        console: Where it is printed.

    Returns:
        The exit code.
    """
    if os.environ.get("REMEDY_TRACEBACK") == "1":
        console.print_exception()
    told = as_ours(error)
    for head, text in (
        ("Expected", told.expected),
        ("Found", told.found),
        ("State", told.state),
        ("Do next", told.todo),
    ):
        style = "bold red" if head == "Found" else "bold"
        console.print(Text.assemble((f"{head + ':':<10}", style), text))
    return exit_code(told)


def as_ours(error: Exception) -> RemediationError:
    """Turn a foreign exception into ours; the one place for Prefect's client and httpx."""
    if isinstance(error, RemediationError):
        return error
    names = {cls.__name__ for cls in type(error).__mro__}
    response: Any = getattr(error, "response", None)
    if response is not None and "HTTPStatusError" in names:
        return _answered(response)
    if names & {"TransportError", "ConnectError"} or isinstance(error, ConnectionError):
        url = os.environ.get("PREFECT_API_URL", "")
        return Unreachable(
            expected=f"the Prefect API at {url or 'PREFECT_API_URL'} to answer.",
            found=f"{type(error).__name__}: {error}.",
            todo="Run `remedy status` and `remedy up`, or correct PREFECT_API_URL.",
        )
    cause = error
    while cause.__cause__ is not None:  # what a library wraps says less
        cause = cause.__cause__  # type: ignore[assignment] # an Exception here
    return RemediationError(
        expected="remedy to know what to do.",
        found=f"{type(cause).__name__}: {cause}.",
        state="Unknown: see `remedy runs` and `remedy status`.",
        todo="Run it again with REMEDY_TRACEBACK=1 and report what it prints.",
    )


def _answered(response: Any) -> RemediationError:  # noqa: ANN401 - an httpx response, not imported here
    status = int(response.status_code)
    detail = _detail(response)
    if status in (401, 403):
        return Unreachable(
            expected="the Prefect API to let us in.",
            found=f"{status}: {detail}.",
            todo="Set PREFECT_API_AUTH_STRING or PREFECT_API_KEY.",
        )
    if 400 <= status < 500:  # noqa: PLR2004 - HTTP's client errors
        return BadInput(
            expected="a request that Prefect accepts.",
            found=f"{status}: {detail}.",
            todo="Correct what it names, and run the command again.",
        )
    return Unreachable(
        expected="the Prefect API to answer.",
        found=f"{status}: {detail}.",
        todo="Read the server's log (`remedy status` names it), then try again.",
    )


def _detail(response: Any) -> str:  # noqa: ANN401 - as above
    try:
        said = response.json()
    except ValueError:
        return str(response.text)[:300]
    found = said.get("detail", said) if isinstance(said, dict) else said
    return str(found)[:600].rstrip(".")
