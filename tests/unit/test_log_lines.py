"""Statements with their durations are found in a server's log, in each form that it writes."""

import csv
import io
import json

import pytest

from tasks.database.queries.log_lines import Logged, parse, sum_up
from tasks.database.queries.log_setting import milliseconds
from tasks.guardrails.errors import PreconditionFailed

CANARY = "canary-91be"
PREFIX = "%m [%p] %u@%d %a "
STDERR = f"""\
\tthe end of an entry that began before
2026-11-26 14:00:00.123 UTC [41] planner@planner api LOG:  duration: 1203.250 ms  statement: \
SELECT *
\tFROM tasks
\tWHERE name = '{CANARY}'
2026-11-26 14:00:00.200 UTC [42] planner@planner api LOG:  duration: 80.5 ms  execute <unnamed>: \
SELECT name FROM owners WHERE id = $1
2026-11-26 14:00:00.200 UTC [42] planner@planner api DETAIL:  parameters: $1 = '{CANARY}'
2026-11-26 14:00:00.300 UTC [42] planner@planner api LOG:  duration: 9.1 ms  parse s1: SELECT 1
2026-11-26 14:00:00.300 UTC [42] planner@planner api LOG:  duration: 9.2 ms  bind s1/p: SELECT 1
2026-11-26 14:00:00.400 UTC [42] planner@planner api LOG:  duration: 9.3 ms  execute s1/p: SELECT 2
2026-11-26 14:00:00.500 UTC [42] planner@other api LOG:  duration: 5.0 ms  statement: SELECT 3
2026-11-26 14:00:00.600 UTC [43] planner@planner remedy:sandbox:7 LOG:  duration: 5.0 ms  \
statement: SELECT 4
2026-11-26 14:00:00.700 UTC [1] @  LOG:  parameter "log_min_duration_statement" changed to "5"
2026-11-26 14:00:00.800 UTC [44] planner@planner api ERROR:  duration: 5.0 ms  statement: SELECT 5
2026-11-26 14:00:00.800 UTC [44] planner@planner api STATEMENT:  SELECT 5
2026-11-26 14:00:00.900 UTC [42] planner@planner my app LOG:  duration: 7.0 ms  statement: SELECT 6
"""


def test_statements_of_many_lines_are_whole() -> None:
    """What the server shifts belongs to the line before; parameters and errors are passed over."""
    found = list(parse(STDERR, "stderr", PREFIX))
    assert found[0] == Logged(
        f"SELECT *\nFROM tasks\nWHERE name = '{CANARY}'", 1203.25, "planner", "planner", "api"
    )
    assert [(one.text, one.milliseconds) for one in found[1:]] == [
        ("SELECT name FROM owners WHERE id = $1", 80.5),
        ("SELECT 2", 9.3),
        ("SELECT 3", 5.0),
        ("SELECT 4", 5.0),
        ("SELECT 6", 7.0),
    ]
    assert found[-1].application == "my app"


def test_only_the_database_counts_and_not_remediations() -> None:
    """Other databases and our own sessions are left out, and literals are gone."""
    found = sum_up(parse(STDERR, "stderr", PREFIX), "planner", "planner_admin")
    assert [(one.text, one.calls) for one in found] == [
        ("SELECT * FROM tasks WHERE name = $1", 1),
        ("SELECT name FROM owners WHERE id = $1", 1),
        ("SELECT $1", 2),
    ]
    assert found[2].slowest == 9.3
    assert CANARY not in str(found)


@pytest.mark.parametrize(
    ("prefix", "before"),
    [
        ("%m [%p] ", "2026-11-26 14:00:00.123 CET [41] "),
        (
            "%t [%p]: [%l-1] user=%u,db=%d ",
            "2026-11-26 14:00:00 -03 [41]: [7-1] user=a b,db=planner ",
        ),
        ("%n %c %q%u@%d ", "1795701600.123 6929.1f planner@planner "),
        ("%-10a|%5p|%d%% ", "api       |   41|planner% "),
        ("", ""),
        ("%m %d %h %d: ", "2026-11-26 14:00:00.123 +0530 planner 10.0.0.1 planner: "),
        ("%r %b %Q ", "127.0.0.1(5000) client backend -812 "),
    ],
)
def test_prefixes(prefix: str, before: str) -> None:
    """Entries are found behind any log_line_prefix, in any time zone."""
    text = f"{before}LOG:  duration: 12.5 ms  statement: SELECT 1\n\t+ 1\n{before}LOG:  done\n"
    (found,) = parse(text, "stderr", prefix)
    assert (found.text, found.milliseconds) == ("SELECT 1\n+ 1", 12.5)
    assert found.database == ("planner" if "%d" in prefix else None)


@pytest.mark.parametrize("prefix", ["", "%a ", "%m [%p] %u@%d %a "])
def test_a_literal_that_looks_like_an_entry_is_none(prefix: str) -> None:
    """What the server has shifted goes on with the entry, whatever stands in it."""
    before = prefix.replace("%m", "2026-11-26 14:00:00.123 UTC")
    for name, value in {"%p": "41", "%u": "planner", "%d": "planner", "%a": "api"}.items():
        before = before.replace(name, value)
    lie = f"{before}LOG:  duration: 9.5 ms  statement: SELECT 2"
    text = f"{before}LOG:  duration: 1.5 ms  statement: SELECT '\n\t{lie}\n\t'\n"
    assert list(parse(text, "stderr", prefix)) == [
        Logged(
            f"SELECT '\n{lie}\n'",
            1.5,
            "planner" if "%d" in prefix else None,
            "planner" if "%u" in prefix else None,
            "api" if "%a" in prefix else None,
        )
    ]


def test_a_long_line_that_is_no_entry_is_passed_over() -> None:
    """It is not tried at each of its characters in turn for each piece of the prefix."""
    noise = "a b " * 100_000
    text = f"{noise}\n1 2 LOG:  duration: 1.5 ms  statement: SELECT 1\n"
    assert [one.text for one in parse(text, "stderr", "%a %h ")] == ["SELECT 1"]


def test_an_entry_with_its_code_is_found() -> None:
    """So the server writes it where log_error_verbosity is verbose."""
    text = "41 LOG:  00000: duration: 1.5 ms  statement: SELECT 1\n41 LOCATION:  exec, x.c:1\n"
    assert [one.text for one in parse(text, "stderr", "%p ")] == ["SELECT 1"]


def test_lines_of_no_session_fit_as_well() -> None:
    """Behind %q a process that is no session writes nothing."""
    text = "41 LOG:  duration: 1.5 ms  statement: SELECT 1\n"
    assert [one.text for one in parse(text, "stderr", "%p %q%u@%d ")] == ["SELECT 1"]


def csv_row(message: str, severity: str = "LOG", detail: str = "") -> list[str]:
    """Make an entry of the CSV form, as PostgreSQL 15 writes it."""
    row = [""] * 26
    row[0], row[1], row[2], row[11], row[13], row[14], row[22] = (
        "2026-11-26 14:00:00.123 CET",
        "planner",
        "planner",
        severity,
        message,
        detail,
        "api",
    )
    return row


def test_csv() -> None:
    """Quotes, newlines and a beginning that is cut off."""
    file = io.StringIO(newline="")
    statement = "SELECT \"a\",\n'b'\nFROM t"
    csv.writer(file, lineterminator="\n").writerows(
        [
            csv_row(f"duration: 12.500 ms  statement: {statement}", detail=CANARY),
            csv_row("duration: 1.0 ms  statement: SELECT 1", severity="ERROR"),
            csv_row("connection received"),
        ]
    )
    (found,) = parse(f'end of an entry,1,2\n{file.getvalue()}2026-11-26,"cut', "csvlog", "")
    assert found == Logged(statement, 12.5, "planner", "planner", "api")


def test_json() -> None:
    """One entry a line; what is cut off is passed over."""
    entry = {
        "user": "planner",
        "dbname": "planner",
        "application_name": "api",
        "error_severity": "LOG",
        "message": "duration: 12.5 ms  execute <unnamed>: SELECT\n1",
        "detail": CANARY,
    }
    text = f'cut off"}}\n{json.dumps(entry)}\n{json.dumps({"error_severity": "LOG"})}\n{{"cu'
    assert list(parse(text, "jsonlog", "")) == [
        Logged("SELECT\n1", 12.5, "planner", "planner", "api")
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("-1", -1), ("250", 250), ("250ms", 250), ("1s", 1000), (" 1.5 min ", 90_000), ("0", 0)],
)
def test_values_of_the_setting(value: str, expected: float) -> None:
    """Units as PostgreSQL takes them."""
    assert milliseconds(value) == expected


def test_a_value_that_is_none_is_refused() -> None:
    """It is said which value, before anything is changed."""
    with pytest.raises(PreconditionFailed, match="'soon'"):
        milliseconds("soon")
