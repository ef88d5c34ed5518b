"""SQL that people or the server give: what is shown of it, and what is taken."""

import pytest

from tasks.database.queries.hypothetical import read_index
from tasks.database.queries.normal_text import without_literals
from tasks.database.queries.query_statistics import parameterised
from tasks.guardrails.errors import BadInput

SECRET = "Erika-Mustermann-1964"


def test_an_index_is_one_index() -> None:
    """Whatever else is given as one is refused before anything is asked."""
    assert read_index("actuals (project_id, day)") == "CREATE INDEX ON actuals (project_id, day)"
    assert read_index("create index on t (a)") == "create index on t (a)"
    for text in ("t (a); DROP TABLE t", "DROP TABLE t", "create table t (a int)", "t", "x'"):
        with pytest.raises(BadInput, match="one CREATE INDEX statement"):
            read_index(text)


def test_values_and_comments_are_not_shown() -> None:
    """Whatever they are written as; names and parameters stay."""
    shown = without_literals(
        f"SELECT 'ä', 5, E'x', $${SECRET}$$ FROM \"T 'x'\" -- {SECRET}\nWHERE a = $1 /* x */"
    )
    assert shown == "SELECT ?, ?, ?, ? FROM \"T 'x'\" WHERE a = $1"
    assert SECRET not in without_literals(f"SELECT 'x\\' , {SECRET}")
    assert SECRET not in without_literals(f"SELECT '{SECRET}")
    assert without_literals("(NOT (hashed SubPlan 1))") == "(NOT (hashed SubPlan 1))"


def test_a_query_is_planned_with_a_parameter_for_each_value() -> None:
    """Also where the server kept it as it was sent; what cannot be read is not used."""
    sent = f"SELECT /* {SECRET} */ * FROM t WHERE a = $1 AND b = '{SECRET}' -- {SECRET}"
    assert " ".join(parameterised(sent).split()) == "SELECT * FROM t WHERE a = $1 AND b = $2"
    assert parameterised("SELECT * FROM t WHERE a = $1 ORDER BY 1 LIMIT 5").endswith("LIMIT $2")
    assert parameterised(f"SELECT '{SECRET}") == ""
