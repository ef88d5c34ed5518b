"""Approvers: Prefect knows no users, so the ledger does."""

import re
import secrets
import unicodedata
from dataclasses import dataclass, replace
from typing import Any

import pyotp

from tasks.guardrails.entries import Entry
from tasks.guardrails.errors import BadInput
from tasks.guardrails.key_in_force import ROTATED
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.ledger_schema import APPROVERS

ROLES = ("approve", "policy")
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,39}")
_RECOVERY_CODES = 8


@dataclass(frozen=True)
class Approver:
    """An approver as the chain has them."""

    name: str
    roles: tuple[str, ...]
    added: str
    revoked: str
    secret_fingerprint: str
    recovery: tuple[str, ...]


def normalise(name: str) -> str:
    """Bring a name to the one spelling under which a person is known.

    Args:
        name: As typed.

    Returns:
        The name in lower case without blanks around it.

    Raises:
        BadInput: It holds anything but plain letters, digits and `. _ @ -`: two names that
            look alike cannot both exist.
    """
    plain = unicodedata.normalize("NFKC", name).strip().casefold()
    if name.strip().casefold() != plain or not _NAME.fullmatch(plain):
        raise BadInput(
            expected="a name of plain letters, digits and . _ @ -, at most 40.",
            found=f"{name!r}.",
            todo="Type the name as `remedy approver list` shows it.",
        )
    return plain


def approvers(ledger: Ledger) -> dict[str, Approver]:
    """Read all approvers from the chain, revoked ones included."""
    return _fold(ledger.entries(kinds=("approver_added", "approver_revoked", ROTATED)))


def _fold(entries: list[Entry]) -> dict[str, Approver]:
    found: dict[str, Approver] = {}
    for entry in entries:
        facts = entry.facts
        if entry.kind == "approver_added":
            found[facts["name"]] = Approver(
                facts["name"],
                tuple(facts["roles"]),
                entry.at,
                "",
                facts["secret_fingerprint"],
                tuple(facts["recovery"]),
            )
        elif entry.kind == ROTATED:
            found = {
                name: _renewed(who, facts["approvers"].get(name)) for name, who in found.items()
            }
        elif facts["name"] in found:
            found[facts["name"]] = replace(found[facts["name"]], revoked=entry.at)
    return found


def _renewed(who: Approver, now: dict[str, Any] | None) -> Approver:
    """Give an approver as a new key knows them: what only the old one vouched for is void."""
    if now is None:
        return replace(who, roles=(), secret_fingerprint="", recovery=())
    return replace(
        who,
        roles=tuple(now["roles"]),
        secret_fingerprint=now["secret_fingerprint"],
        recovery=(),
    )


@dataclass(frozen=True)
class Enrolment:
    """What a new approver gets, once: nothing of it is shown again."""

    name: str
    uri: str
    secret: str
    recovery_codes: tuple[str, ...]


def add(ledger: Ledger, name: str, roles: tuple[str, ...], actor: str) -> Enrolment:
    """Add an approver, or give one that was revoked a new secret.

    Args:
        ledger: Where approvers are kept.
        name: The approver's name.
        roles: Of 'approve' and 'policy'.
        actor: Who adds them; the caller has checked that they may.

    Returns:
        The secret as a URI for an authenticator, and recovery codes.

    Raises:
        BadInput: The name or a role is not usable, or the approver exists.
    """
    name = normalise(name)
    unknown = set(roles) - set(ROLES)
    existing = approvers(ledger).get(name)
    if unknown or not roles or (existing and not existing.revoked):
        raise BadInput(
            expected=f"a new name, and roles of {', '.join(ROLES)}.",
            found=f"{name!r} with {', '.join(roles) or 'no role'}"
            + (", who is an approver already." if existing else "."),
            todo="Revoke the approver first, or choose another name.",
        )
    secret = pyotp.random_base32()
    codes = tuple(secrets.token_hex(5) for _ in range(_RECOVERY_CODES))
    keys = ledger.keys
    with ledger.writing() as chain:
        chain.connection.execute(APPROVERS.delete().where(APPROVERS.c.name == name))
        chain.connection.execute(APPROVERS.insert().values(name=name, secret=keys.encrypt(secret)))
        chain.append(
            "approver_added",
            {
                "name": name,
                "roles": list(roles),
                "secret_fingerprint": keys.fingerprint(secret),
                "recovery": [keys.fingerprint(f"{name}/{code}") for code in codes],
            },
            actor=actor,
        )
    uri = pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name="remedy")
    return Enrolment(name, uri, secret, codes)


def revoke(ledger: Ledger, name: str, reason: str, actor: str) -> None:
    """Revoke an approver: their decisions count no more, not even those made but not used.

    Raises:
        BadInput: There is no such approver.
    """
    name = normalise(name)
    known = approvers(ledger).get(name)
    if known is None or known.revoked:
        raise BadInput(
            expected="an approver who is not revoked.",
            found=f"{name!r}.",
            todo="See `remedy approver list`.",
        )
    with ledger.writing() as chain:
        chain.connection.execute(APPROVERS.delete().where(APPROVERS.c.name == name))
        chain.append("approver_revoked", {"name": name, "reason": reason}, actor=actor)
