"""Codes by which approvers prove who they are: TOTP (RFC 6238) and single-use recovery codes.

A code counts once. Wrong codes slow an approver down by source; the ledger's own host is
never locked out.
"""

import hashlib
import time
from datetime import UTC, datetime

import pyotp
import sqlalchemy as sa

from tasks.guardrails.approvers import Approver, approvers, normalise
from tasks.guardrails.errors import ApprovalRefused, BadInput
from tasks.guardrails.ledger import Ledger, Writing
from tasks.guardrails.ledger_schema import APPROVERS, USED_CODES, WRONG_CODES

HOST = "host"  # the source of codes that are typed on the ledger's own host
_STEP_SECONDS = 30
_FREE_TRIES = 3
_LONGEST_WAIT = 300


def authenticate(
    ledger: Ledger, name: str, code: str, *, role: str, source: str, at: datetime | None = None
) -> tuple[Approver, str]:
    """Find out whether a code is an approver's, without using it up.

    A wrong code is recorded in a transaction of its own, so that it counts whatever the
    caller does next.

    Args:
        ledger: Where approvers are kept.
        name: Who they say they are.
        code: Six digits of the authenticator, or a recovery code.
        role: The role that is needed.
        source: Where the code came from: 'host', 'ui', an address.
        at: The time at which the code was given, if not now.

    Returns:
        The approver, and the mark under which `use_code` uses the code up.

    Raises:
        ApprovalRefused: The code is wrong, was used, came too fast, or the role is missing.
    """
    try:
        name = normalise(name)
    except BadInput as error:
        raise _refused(f"the name {error.found.rstrip('.')}") from error
    known = approvers(ledger).get(name)
    _insist_not_too_fast(ledger, name, source)
    mark = _match(ledger, known, code.strip().lower(), at or datetime.now(UTC)) if known else ""
    if known is None or known.revoked or not mark:
        _count_wrong(ledger, name, source)
        raise _refused("the name or the code is wrong, or the code was used before")
    if role not in known.roles:
        raise _refused(f"{name} has not the role {role!r}")
    return known, mark


def use_code(chain: Writing, approver: str, mark: str, source: str) -> None:
    """Use a code up in the transaction in which it counts.

    Raises:
        ApprovalRefused: Someone used it in between.
    """
    spent = sa.select(USED_CODES).where(
        USED_CODES.c.approver == approver, USED_CODES.c.code == mark
    )
    if chain.connection.execute(spent).first():
        raise _refused("the code was used before")
    chain.connection.execute(USED_CODES.insert().values(approver=approver, code=mark))
    chain.connection.execute(
        WRONG_CODES.delete().where(
            WRONG_CODES.c.approver == approver, WRONG_CODES.c.source == source
        )
    )


def renew_marks(chain: Writing, approver: str, before: str, after: str) -> None:
    """Keep the codes of a secret used up where its fingerprint becomes another.

    Args:
        chain: The transaction in which it does.
        approver: Whose secret it is.
        before: Its fingerprint so far.
        after: Its fingerprint from now on.
    """
    renewed = sa.func.replace(USED_CODES.c.code, _mark_of(before), _mark_of(after))
    mine = USED_CODES.c.approver == approver
    chain.connection.execute(USED_CODES.update().where(mine).values(code=renewed))


def _mark_of(fingerprint: str) -> str:
    return f"totp:{fingerprint[:16]}:"


def _refused(why: str) -> ApprovalRefused:
    return ApprovalRefused(
        expected="an approver's name and a fresh code.",
        found=f"{why}.",
        todo="Wait for the next code of the authenticator and try again.",
    )


def _match(ledger: Ledger, known: Approver, code: str, at: datetime) -> str:
    """Give the mark of a code that fits and was not used; '' for any other."""
    with ledger.engine.connect() as connection:
        row = connection.execute(
            sa.select(APPROVERS.c.secret).where(APPROVERS.c.name == known.name)
        ).first()
        used = set(
            connection.scalars(
                sa.select(USED_CODES.c.code).where(USED_CODES.c.approver == known.name)
            )
        )
    if row is None:
        return ""
    secret = ledger.keys.decrypt(row.secret)
    if ledger.keys.fingerprint(secret) != known.secret_fingerprint:
        return ""  # the row was exchanged behind the chain's back
    totp = pyotp.TOTP(secret)
    step_now = int(at.timestamp()) // _STEP_SECONDS
    marks = [
        f"{_mark_of(known.secret_fingerprint)}{step}"
        for step in (step_now, step_now - 1, step_now + 1)
        if pyotp.utils.strings_equal(totp.at(step * _STEP_SECONDS), code)
    ]
    recovery = ledger.keys.fingerprint(f"{known.name}/{code}")
    if recovery in known.recovery:
        marks.append(f"recovery:{hashlib.sha256(recovery.encode()).hexdigest()[:32]}")
    return next((mark for mark in marks if mark not in used), "")


def _insist_not_too_fast(ledger: Ledger, name: str, source: str) -> None:
    if source == HOST:
        return
    with ledger.engine.connect() as connection:
        row = connection.execute(
            sa.select(WRONG_CODES).where(
                WRONG_CODES.c.approver == name, WRONG_CODES.c.source == source
            )
        ).first()
    wait = row.not_before - time.time() if row else 0
    if wait > 0:
        raise _refused(f"{row.count if row else 0} wrong codes; the next counts in {wait:.0f} s")


def _count_wrong(ledger: Ledger, name: str, source: str) -> None:
    with ledger.writing() as chain:
        mine = sa.and_(WRONG_CODES.c.approver == name, WRONG_CODES.c.source == source)
        count = (chain.connection.scalar(sa.select(WRONG_CODES.c.count).where(mine)) or 0) + 1
        wait = min(_LONGEST_WAIT, 2 ** (count - _FREE_TRIES)) if count > _FREE_TRIES else 0
        chain.connection.execute(WRONG_CODES.delete().where(mine))
        chain.connection.execute(
            WRONG_CODES.insert().values(
                approver=name, source=source, count=count, not_before=time.time() + wait
            )
        )
        chain.append("code_refused", {"approver": name, "source": source, "count": count})
