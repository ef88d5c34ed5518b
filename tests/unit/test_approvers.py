"""Approvers: a code proves who somebody is, once."""

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pyotp
import pytest
import sqlalchemy as sa

from tasks.guardrails import approvers, codes
from tasks.guardrails.approvers import Enrolment
from tasks.guardrails.codes import HOST
from tasks.guardrails.errors import ApprovalRefused, BadInput
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.ledger_schema import APPROVERS, WRONG_CODES

NOW = datetime(2026, 11, 24, 12, 0, 15, tzinfo=UTC)
WRONG = "the name or the code is wrong, or the code was used before"


@pytest.fixture
def ann(ledger: Ledger) -> Enrolment:
    """An approver."""
    return approvers.add(ledger, "ann", ("approve",), "test")


def code_of(who: Enrolment, at: datetime = NOW) -> str:
    """Give the code that an authenticator shows at a time."""
    return pyotp.TOTP(who.secret).at(at)


def try_code(
    ledger: Ledger, name: str, code: str, source: str = HOST, at: datetime = NOW
) -> tuple[str, str]:
    """Authenticate; give the name and the mark of the code."""
    who, mark = codes.authenticate(ledger, name, code, role="approve", source=source, at=at)
    return who.name, mark


def use(ledger: Ledger, name: str, code: str, source: str = HOST) -> None:
    """Authenticate, and use the code up."""
    _, mark = try_code(ledger, name, code, source)
    with ledger.writing() as chain:
        codes.use_code(chain, name, mark, source)


def refusal(ledger: Ledger, name: str, code: str, source: str = HOST, at: datetime = NOW) -> str:
    """Give what was found wrong with a code that has to be refused."""
    with pytest.raises(ApprovalRefused) as refused:
        try_code(ledger, name, code, source, at)
    return refused.value.found.removesuffix(".")


def wrong_codes(ledger: Ledger, name: str, many: int, source: str) -> None:
    """Give wrong codes."""
    for _ in range(many):
        assert refusal(ledger, name, "000000", source, NOW - timedelta(days=9))


def test_code_counts_once(ledger: Ledger, ann: Enrolment) -> None:
    """A code that was used up is refused, and the next one counts."""
    use(ledger, "ann", code_of(ann))
    assert refusal(ledger, "ann", code_of(ann)) == WRONG
    later = NOW + timedelta(seconds=30)
    assert try_code(ledger, "ann", code_of(ann, later), at=later)[0] == "ann"


def test_code_given_twice_at_once_counts_once(ledger: Ledger, ann: Enrolment) -> None:
    """Of two that were authenticated with the same code, the second does not count."""
    _, mark = try_code(ledger, "ann", code_of(ann))
    assert try_code(ledger, "ann", code_of(ann)) == ("ann", mark)
    with ledger.writing() as chain:
        codes.use_code(chain, "ann", mark, HOST)
    with (
        pytest.raises(ApprovalRefused, match="the code was used before"),
        ledger.writing() as chain,
    ):
        codes.use_code(chain, "ann", mark, HOST)


@pytest.mark.parametrize(
    ("seconds", "counts"), [(-60, False), (-30, True), (30, True), (60, False)]
)
def test_clocks_may_differ_by_one_step(
    ledger: Ledger, ann: Enrolment, seconds: int, *, counts: bool
) -> None:
    """A code of the step before or after counts; one further away does not."""
    code = code_of(ann, NOW + timedelta(seconds=seconds))
    if counts:
        assert try_code(ledger, "ann", code)[0] == "ann"
    else:
        assert refusal(ledger, "ann", code) == WRONG


def test_code_is_judged_at_the_time_at_which_it_was_given(ledger: Ledger, ann: Enrolment) -> None:
    """A form that was filled in in time counts when the run wakes later, and not by then."""
    assert try_code(ledger, "ann", code_of(ann), source="ui", at=NOW)[0] == "ann"
    assert refusal(ledger, "ann", code_of(ann), "ui", NOW + timedelta(hours=1)) == WRONG


def test_recovery_code_counts_once_and_for_its_owner(ledger: Ledger, ann: Enrolment) -> None:
    """Each recovery code stands in for the authenticator once, typed in any case."""
    bob = approvers.add(ledger, "bob", ("approve",), "test")
    first, second = ann.recovery_codes[:2]
    assert refusal(ledger, "bob", first) == WRONG
    use(ledger, "ann", f" {first.upper()} ")
    assert refusal(ledger, "ann", first) == WRONG
    use(ledger, "ann", second)
    use(ledger, "bob", bob.recovery_codes[0])


@pytest.mark.parametrize(
    "name",
    [
        "\u0430nn",  # Cyrillic
        "\uff41nn",  # full width
        "an\u200bn",  # a blank of no width
        "an\u0301n",  # combining accent
        "\u2170.smith",  # one Roman numeral
        "a nn",
        "",
        "-ann",
        "a" * 41,
    ],
)
def test_names_that_look_alike_are_refused(ledger: Ledger, name: str) -> None:
    """No name can be added that looks like another and is not it."""
    with pytest.raises(BadInput, match="a name of plain letters"):
        approvers.add(ledger, name, ("approve",), "test")
    assert "the name" in refusal(ledger, name, "123456")
    assert approvers.approvers(ledger) == {}


def test_a_person_has_one_spelling(ledger: Ledger, ann: Enrolment) -> None:
    """Case and blanks make no other person."""
    assert try_code(ledger, " Ann ", code_of(ann))[0] == "ann"
    with pytest.raises(BadInput, match="who is an approver already"):
        approvers.add(ledger, "ANN", ("approve",), "test")


@pytest.mark.parametrize("roles", [(), ("root",), ("approve", "root")])
def test_roles_are_those_there_are(ledger: Ledger, roles: tuple[str, ...]) -> None:
    """An approver without a role, or with an invented one, is not added."""
    with pytest.raises(BadInput, match="roles of approve, policy"):
        approvers.add(ledger, "ann", roles, "test")
    assert approvers.approvers(ledger) == {}


def test_role_is_asked_for(ledger: Ledger, ann: Enrolment) -> None:
    """Who may approve may not therefore change the policy."""
    with pytest.raises(ApprovalRefused, match="ann has not the role 'policy'"):
        codes.authenticate(ledger, "ann", code_of(ann), role="policy", source=HOST, at=NOW)


def test_unknown_name_and_wrong_code_are_not_told_apart(ledger: Ledger, ann: Enrolment) -> None:
    """The answer does not say who is an approver."""
    del ann
    assert refusal(ledger, "nobody", "000000") == refusal(ledger, "ann", "000000") == WRONG


def test_wrong_codes_slow_down_their_source_only(
    ledger: Ledger, ann: Enrolment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few wrong codes from a place, even the right one from there has to wait."""
    clock = [time.time()]  # it stands still, however long each line takes
    monkeypatch.setattr(codes, "time", SimpleNamespace(time=lambda: clock[0]))
    wrong_codes(ledger, "ann", 3, "ui")
    assert refusal(ledger, "ann", "000000", "ui") == WRONG  # three are free, the fourth waits
    assert refusal(ledger, "ann", code_of(ann), "ui").startswith("4 wrong codes; the next counts")
    assert try_code(ledger, "ann", code_of(ann), "10.0.0.7")[0] == "ann"
    assert try_code(ledger, "ann", code_of(ann), HOST)[0] == "ann"
    clock[0] += 2.1
    use(ledger, "ann", code_of(ann), "ui")
    wrong_codes(ledger, "ann", 3, "ui")  # counted from nothing again


def test_waits_grow_and_have_an_end(ledger: Ledger, ann: Enrolment) -> None:
    """Each wrong code doubles the wait, up to five minutes."""
    del ann
    waits = [0, 0, 0, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]
    for wait in waits:
        before = time.time()
        assert refusal(ledger, "ann", "000000", "ui") == WRONG
        after = time.time()
        with ledger.writing() as chain:
            until = chain.connection.scalar(sa.select(WRONG_CODES.c.not_before))
            chain.connection.execute(WRONG_CODES.update().values(not_before=0))
        assert until is not None
        assert before + wait <= until <= after + wait


def test_host_is_never_locked(ledger: Ledger, ann: Enrolment) -> None:
    """Wrong codes on the ledger's own host are recorded, and lock nobody out."""
    wrong_codes(ledger, "ann", 12, HOST)
    assert try_code(ledger, "ann", code_of(ann), HOST)[0] == "ann"
    refused = ledger.entries(kinds=("code_refused",))
    assert [entry.facts["count"] for entry in refused] == list(range(1, 13))


def test_revoked_approver_counts_no_more(ledger: Ledger, ann: Enrolment) -> None:
    """Code and recovery codes of a revoked approver are refused, also after a new start."""
    approvers.revoke(ledger, "Ann", "left", "test")
    assert approvers.approvers(ledger)["ann"].revoked
    for code in (code_of(ann), ann.recovery_codes[0]):
        assert refusal(ledger, "ann", code) == WRONG
    with pytest.raises(BadInput, match="an approver who is not revoked"):
        approvers.revoke(ledger, "ann", "again", "test")
    again = approvers.add(ledger, "ann", ("approve",), "test")
    for code in (code_of(ann), ann.recovery_codes[0]):
        assert refusal(ledger, "ann", code) == WRONG
    assert try_code(ledger, "ann", code_of(again))[0] == "ann"


def test_secret_exchanged_behind_the_chain_is_not_used(ledger: Ledger, ann: Enrolment) -> None:
    """A row beside the chain that holds another approver's secret makes nobody ann."""
    eve = approvers.add(ledger, "eve", ("approve",), "test")
    theirs = ledger.keys.encrypt(eve.secret)
    with ledger.writing() as chain:
        chain.connection.execute(
            APPROVERS.update().where(APPROVERS.c.name == "ann").values(secret=theirs)
        )
    assert refusal(ledger, "ann", code_of(eve)) == WRONG
    assert refusal(ledger, "ann", code_of(ann)) == WRONG


def test_no_secret_lies_open(sqlite_ledger: Ledger, home: Path) -> None:
    """Neither the secret nor a recovery code can be read from the ledger's file."""
    made = approvers.add(sqlite_ledger, "ann", ("approve",), "test")
    with closing(sqlite3.connect(home / "ledger.db")) as connection:
        held = "\n".join(connection.iterdump())
    assert "ann" in held
    assert not [code for code in (made.secret, *made.recovery_codes) if code in held]
