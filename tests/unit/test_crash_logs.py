"""What logs of services that ended say, without the values in them."""

import pytest

from tasks.containers.crash_logs import complaints

SETTINGS = """\
pydantic_core._pydantic_core.ValidationError: 2 validation errors for Settings
POSTGRES_PORT
  Input should be a valid integer [type=int_parsing, input_value='s3cret', input_type=str]
SECRET_KEY
  Field required [type=missing, input_value={'POSTGRES_PASSWORD': 's3cret'}, input_type=dict]
"""


@pytest.mark.parametrize(
    ("log", "cause", "what"),
    [
        ("ModuleNotFoundError: No module named 'app.x'\n", "module", "lacks the Python module"),
        ("ImportError: cannot import name 'a' from 'b.c' (/opt/b)\n", "module", "version of b.c"),
        ("Error: Cannot find module 'express'\n", "module", "lacks the module express"),
        ("KeyError: 'SECRET_KEY'\n", "environment", "variable SECRET_KEY"),
        ("ERROR: environment variable SECRET_KEY is not set\n", "environment", "SECRET_KEY is not"),
        (
            "alembic.util.exc.CommandError: Can't locate revision identified by 'c47d91ab02e5'\n",
            "migration",
            "at revision c47d91ab02e5",
        ),
        ('FATAL:  password authentication failed for user "x"\n', "credentials", "credentials"),
        ("OSError: [Errno 28] No space left on device: '/x'\n", "disk", "no space left"),
        ("sh: 1: Killed\n", "memory", "signal 9"),
        ("[Errno 98] Address already in use\n", "port", "listens at its port"),
        ("psycopg.OperationalError: connection refused\n", "dependency", "does not accept"),
        ("Traceback\nmy.own.StrangeError: s3cret\n", "error", "ends with my.own.StrangeError"),
    ],
)
def test_a_reason_is_read(log: str, cause: str, what: str) -> None:
    """The first is the most telling one."""
    first = complaints(log)[0]
    assert first.cause == cause
    assert what in first.what


def test_settings_are_named_and_their_values_are_not() -> None:
    """Each variable that is refused or missing, once."""
    found = complaints(SETTINGS * 2)
    assert [one.names for one in found] == [("POSTGRES_PORT",), ("SECRET_KEY",)]
    assert "s3cret" not in str(found)


@pytest.mark.parametrize("log", ["", "INFO: started\n", "ERROR: required field\n"])
def test_nothing_is_made_up(log: str) -> None:
    """Of a log that says nothing nothing is said."""
    assert complaints(log) == ()
