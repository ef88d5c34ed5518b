"""Statements are shown without literals, whatever form these have."""

import pytest

from tasks.database.queries.normal_text import first_word, shown, with_parameters

CANARY = "canary-7f3a"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("SELECT 1;", "SELECT $1"),
        (
            f"select *\n  from t\n where a = '{CANARY}' and b = $2",
            "select * from t where a = $3 and b = $2",
        ),
        (
            "SELECT 'it''s', E'a\\'b', $$x$$, $q$y$q$, B'01', x'ff', -1.5e3",
            "SELECT $1, $2, $3, $4, $5, $6, -$7",
        ),
        (f"/* {CANARY} */ SELECT a -- {CANARY}\nFROM t", "SELECT a FROM t"),
        (f"ALTER ROLE x PASSWORD '{CANARY}'", "ALTER ROLE x PASSWORD $1"),
        (
            'SELECT "Käse" FROM "o\'clock" WHERE é = \'ü\'',
            'SELECT "Käse" FROM "o\'clock" WHERE é = $1',
        ),
        ("", ""),
    ],
)
def test_literals_are_parameters(given: str, expected: str) -> None:
    """Each literal is a parameter with a number of its own; names stay."""
    assert with_parameters(given) == expected


@pytest.mark.parametrize(
    "given",
    [
        f"SELECT '{CANARY}",
        f"SELECT $${CANARY}",
        f"SELECT /* {CANARY}",
        # Read with standard_conforming_strings off the string goes on behind the backslash.
        f"SELECT 'a\\', b, ' {CANARY} '",
    ],
)
def test_what_cannot_be_read_is_not_shown(given: str) -> None:
    """Cut in a literal, or with a backslash before the quote: the first word is all."""
    assert with_parameters(given) == "SELECT (text that cannot be read)"


def test_lists_of_parameters_are_one() -> None:
    """Statements that differ in the lengths of their lists are shown alike; long ones end."""
    for many in (2, 3, 50):
        literals = ", ".join(str(n) for n in range(many))
        text = with_parameters(f"SELECT a FROM t WHERE b IN ({literals})")
        assert shown(text) == "SELECT a FROM t WHERE b IN ($1, ...)"
    rows = with_parameters("INSERT INTO t VALUES (1, 2), (3, 4), (5, 6)")
    assert shown(rows) == "INSERT INTO t VALUES ($1, ...), ..."
    assert len(shown("SELECT " + "a, " * 1000)) < 310


def test_first_word() -> None:
    """What a statement does is read from its beginning, also in brackets."""
    assert first_word("  (select 1)") == "SELECT"
    assert first_word("with a as (select 1) select 2") == "WITH"
    assert first_word("$1") == ""
