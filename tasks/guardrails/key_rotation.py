"""Rotation of the ledger's key: everybody's authenticator works on, a stolen old key signs nothing.

Recovery codes are known by their fingerprints only, so that they cannot be carried over.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from tasks.guardrails import approvers, codes, faults, key_in_force
from tasks.guardrails.keys import Keys, key_file, write_keys
from tasks.guardrails.ledger import Ledger, Writing
from tasks.guardrails.ledger_schema import APPROVERS


@dataclass(frozen=True)
class Rotation:
    """What a rotation did.

    Args:
        entry: Sequence number of the first entry that the new key signed.
        file: Where the new key lies.
        in_place: Whether it is read from there; else REMEDY_LEDGER_KEY has to be set to it.
        carried: Approvers whose authenticator works on.
        lost: Approvers whose secret was not the one that the chain knows: it is void.
        void: Approvers whose recovery codes are void.
    """

    entry: int
    file: Path
    in_place: bool
    carried: tuple[str, ...]
    lost: tuple[str, ...]
    void: tuple[str, ...]

    def sentence(self) -> str:
        """Say what was done and what is left to do."""
        said = [f"The key is rotated: from entry {self.entry} on the new one signs."]
        if self.in_place:
            said.append(f"It lies in {self.file}; keep a copy of it apart from the database.")
            said.append("Start anew whatever is at work with the old one: remedy down; remedy up")
        else:
            said.append(
                f"REMEDY_LEDGER_KEY still has the old one: set it to what is in {self.file} "
                "wherever it is set, remove that file, and start anew what reads it. Until then "
                "nothing is recorded."
            )
        if self.void:
            said.append(
                f"The recovery codes of {', '.join(self.void)} are void; for new ones: remedy "
                "approver revoke NAME, then remedy approver add NAME"
            )
        if self.lost:
            said.append(
                f"The secret of {', '.join(self.lost)} was not the one that the ledger knows, and "
                "is void: find out who writes to the database, then revoke and add them."
            )
        return "\n".join(said)


def rotate(ledger: Ledger, who: str, mark: str) -> Rotation:
    """Replace the ledger's master key.

    Args:
        ledger: The ledger; it goes on with the new key.
        who: The approver with the role `policy` who asks for it.
        mark: Their code's, from `codes.authenticate`.

    Returns:
        What was done.

    Raises:
        TargetBusy: Another rotation is at work on this host.
        LedgerBroken: It was rotated elsewhere meanwhile.
        ApprovalRefused: The code was used meanwhile.
    """
    config = ledger.config
    draft = key_in_force.draft_of(config)
    with key_in_force.rotating(config, wait=False):
        with ledger.writing() as chain:
            codes.use_code(chain, who, mark, codes.HOST)
            people = approvers.approvers(ledger)  # nobody else changes one until this has ended
            before, after = ledger.keys, chain.rotate_key()
            write_keys(draft, after)
            faults.point("key-written")
            active = {name: one for name, one in people.items() if not one.revoked}
            renewed = _renew(chain, before, after, active)
            entry = chain.append(
                key_in_force.ROTATED,
                {"key": after.public, "before": before.public, "approvers": renewed},
                actor=who,
            )
            faults.point("key-recorded")
        faults.point("key-rotated")
        in_place = not config.ledger_key
        if in_place:
            key_in_force.put_in_place(config)
        faults.point("key-in-place")
    ledger.keys = after
    return Rotation(
        entry=entry.seq,
        file=key_file(config) if in_place else draft,
        in_place=in_place,
        carried=tuple(renewed),
        lost=tuple(name for name in active if name not in renewed),
        void=tuple(name for name, one in active.items() if one.recovery),
    )


def _renew(
    chain: Writing, before: Keys, after: Keys, people: dict[str, approvers.Approver]
) -> dict[str, dict[str, Any]]:
    """Encrypt everybody's secret with the new key, and say who they are under it."""
    renewed = {}
    query = sa.select(APPROVERS.c.name, APPROVERS.c.secret).order_by(APPROVERS.c.name)
    for name, sealed in chain.connection.execute(query).all():
        secret, known, row = before.decrypt(sealed), people.get(name), APPROVERS.c.name == name
        if known is None or before.fingerprint(secret) != known.secret_fingerprint:
            # It was exchanged behind the chain's back; the new key vouches for none of that.
            chain.connection.execute(APPROVERS.delete().where(row))
            continue
        fingerprint = after.fingerprint(secret)
        chain.connection.execute(APPROVERS.update().where(row).values(secret=after.encrypt(secret)))
        codes.renew_marks(chain, name, known.secret_fingerprint, fingerprint)
        renewed[name] = {"roles": list(known.roles), "secret_fingerprint": fingerprint}
    return renewed
