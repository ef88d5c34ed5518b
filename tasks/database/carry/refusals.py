"""What live says when it refuses rows, told without the values that its messages have."""

from collections.abc import Iterator
from contextlib import contextmanager

from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.platforms.postgresql_errors import sqlstate

# Class of what rows are refused for: values, constraints, checks of views, triggers' own errors.
_REFUSALS = ("22", "23", "44", "P0")
# What passes by itself, and what is wrong with a statement: their first line has no row's values.
_OF_NO_ROW = ("08", "53", "55", "57", "40", "42")


def is_refusal(error: RemediationError) -> bool:
    """Say whether live refuses rows for what they are."""
    return sqlstate(error).startswith(_REFUSALS)


def reason_of(error: RemediationError) -> str:
    """Name the constraint, never the values that the server's message has."""
    diagnosis = getattr(error.__cause__, "diag", None)
    name = getattr(diagnosis, "constraint_name", "") or ""
    return name or f"SQLSTATE {sqlstate(error)}"


def told_without_values(error: RemediationError) -> RemediationError:
    """Tell a refusal without the values that the server's message has."""
    kind = Transient if sqlstate(error).startswith("23") else PreconditionFailed
    return kind(
        expected="live to take the rows that are carried over.",
        found=f"it refused them together: {reason_of(error)}.",
        state="No row was carried over.",
        todo="Look at that constraint or trigger in live; the rows are in the kept database.",
    )


@contextmanager
def without_values(state: str) -> Iterator[None]:
    """Tell what a block fails of without the values that the server's message has.

    A COPY that fails or is ended says in its CONTEXT which row it was at.

    Args:
        state: What stands then, as a sentence.

    Raises:
        PreconditionFailed: The server refuses something.
        Transient: It may pass by itself.
    """
    try:
        yield
    except RemediationError as error:
        code = sqlstate(error)
        if not code:  # no answer of a server
            raise
        first = getattr(getattr(error.__cause__, "diag", None), "message_primary", "") or ""
        told = first if code.startswith(_OF_NO_ROW) else reason_of(error)
        raise type(error)(
            expected=error.expected,
            found=f"{told} (SQLSTATE {code})." if first == told else f"{told}.",
            state=state,
            todo=error.todo,
        ) from None
