"""The page that `make faults` writes keeps what was not attacked this time."""

from tests.faults.__main__ import page

KILL = {
    "remediation": "vacuum",
    "platform": "compose",
    "direction": "forward",
    "among": 9,
    "boundary": "begun#1",
}


def test_what_was_attacked_is_written_anew_and_the_rest_stays() -> None:
    """A second page has the rows of the first, but those of the second attack are its own."""
    bad = {**KILL, "problems": ["a lease is left"]}
    other = {**KILL, "remediation": "restore", "problems": ["the schema differs"]}
    first = page("", [bad, bad, other], {"disk | `test_full[a-b]`": "failure"}, "monday")
    assert "| vacuum | compose | forward | 9 | 2 | 0 | monday |" in first
    assert "vacuum, compose, forward, begun#1: a lease is left" in first
    second = page(first, [{**KILL, "problems": []}], {"ledger | `test_away`": "passed"}, "tuesday")
    assert "| vacuum | compose | forward | 9 | 1 | 1 | tuesday |" in second
    assert "vacuum, compose, forward, begun#1" not in second
    assert "| restore | compose | forward | 9 | 1 | 0 | monday |" in second
    assert "restore, compose, forward, begun#1: the schema differs" in second
    assert "| disk | `test_full[a-b]` | failure | monday |" in second
    assert "| ledger | `test_away` | passed | tuesday |" in second
