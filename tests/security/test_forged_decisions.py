"""Decisions written into the ledger's database past the engine: they count for nothing."""

from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from tasks.guardrails.entries import Entry, hash_of
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.ledger_schema import ENTRIES
from tasks.guardrails.plan import canonical_json
from tasks.guardrails.verify import verify
from tests.approving import Person
from tests.security.attacked import Attacked


def hashed(entry: Entry) -> Entry:
    """Give an entry the hash of what it says: anybody can compute it."""
    return replace(entry, hash=entry.computed_hash())


def insert(ledger: Ledger, entry: Entry) -> None:
    """Insert a row, as whoever may write to the database can."""
    with ledger.engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(ENTRIES.insert().values(**vars(entry)))


def remove(ledger: Ledger, seq: int) -> None:
    """Remove a row, as only the owner of the tables can."""
    with ledger.engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(sa.text("DROP TRIGGER entries_no_delete"))
        connection.execute(ENTRIES.delete().where(ENTRIES.c.seq == seq))


def forged(attacked: Attacked, how: str) -> Entry:
    """Make an entry by which bob approves as well, who did not."""
    real = attacked.case.of_kind("decided")[-1]
    head = attacked.ledger.head()
    assert head is not None
    copy = replace(real, seq=head.seq + 1, previous=head.hash)
    if how == "copied":
        return hashed(copy)
    if how == "copied far behind":
        return hashed(replace(copy, seq=10**6))
    body = canonical_json({**real.facts, "approver": "bob"})
    made = hashed(replace(copy, actor="bob", body=body))
    if how == "unsigned":
        return replace(made, signature="")
    return made if how == "signed for another" else replace(made, hash=hash_of("anything"))


@pytest.mark.parametrize(
    ("how", "kind"),
    [
        ("copied", "signature"),
        ("copied far behind", "missing"),
        ("unsigned", "signature"),
        ("signed for another", "signature"),
        ("with any hash", "edited"),
    ],
)
def test_a_decision_written_past_the_chain(attacked: Attacked, how: str, kind: str) -> None:
    """The run does nothing on it and says so, the check names it, and without it all goes on."""
    attacked.start()
    bob = Person(attacked.ledger, "bob")
    Person(attacked.ledger, "ada").decide(attacked.case)
    entry = forged(attacked, how)
    insert(attacked.ledger, entry)
    state = attacked.runs.wake(attacked.run)
    assert state is not None
    assert state.is_failed()
    assert "Run `remedy ledger verify`" in (state.message or "")
    assert attacked.files() == {}
    found = verify(attacked.ledger).fault
    assert found is not None
    assert found.kind == kind
    remove(attacked.ledger, entry.seq)
    assert attacked.recover() is None
    attacked.assert_untouched()
    bob.decide(attacked.case)
    attacked.assert_approval_works()
    assert verify(attacked.ledger).is_sound


def test_a_decision_copied_as_it_is(attacked: Attacked) -> None:
    """The very entry under another number is not even taken by the database."""
    attacked.start()
    Person(attacked.ledger, "ada").decide(attacked.case)
    real = attacked.case.of_kind("decided")[-1]
    with pytest.raises(IntegrityError, match="append-only"):
        insert(attacked.ledger, replace(real, seq=real.seq + 1))
    attacked.assert_untouched()
    attacked.assert_approval_works()
    assert verify(attacked.ledger).is_sound
