"""What a server says of rows, as it is told."""

import psycopg
import pytest

from tasks.database.carry.refusals import without_values
from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.platforms.postgresql_errors import told


def fails(error: psycopg.Error) -> RemediationError:
    """Give what is told of an error of the server."""
    with pytest.raises(RemediationError) as raised, without_values("No row was carried over."):
        raise told(error, "database planner") from error
    return raised.value


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (psycopg.errors.InvalidTextRepresentation, PreconditionFailed),
        (psycopg.errors.IndeterminateDatatype, PreconditionFailed),
        (psycopg.errors.DataCorrupted, PreconditionFailed),
        (psycopg.errors.QueryCanceled, Transient),
    ],
)
def test_a_row_that_a_message_quotes_is_not_told(
    kind: type[psycopg.Error], expected: type[RemediationError]
) -> None:
    """Whatever the code: the CONTEXT of a COPY has the row; whether it may pass stays known."""
    text = 'it failed\nCONTEXT:  COPY remedy_rows_1, line 1, column name: "hunter2"'
    error = fails(kind(text))
    assert isinstance(error, expected)
    assert "hunter2" not in str(error)
    assert str(kind.sqlstate) in error.found
    assert error.__cause__ is None
