"""Entries of the ledger, and what is hashed of them."""

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from tasks.guardrails.plan import canonical_json

GENESIS = "0" * 64


@dataclass(frozen=True)
class Entry:
    """An entry of the ledger, as it is hashed and signed."""

    seq: int
    at: str
    kind: str
    remediation: str
    run: str
    actor: str
    body: str
    previous: str
    hash: str
    signature: str

    @property
    def facts(self) -> dict[str, Any]:
        """The body as JSON."""
        loaded: dict[str, Any] = json.loads(self.body)
        return loaded

    @property
    def when(self) -> datetime:
        """The time of the entry (UTC)."""
        return datetime.fromisoformat(self.at)

    def computed_hash(self) -> str:
        """Hash what the entry says now; '' where it is nothing that we can have written."""
        try:
            return hash_of(
                self.seq,
                self.at,
                self.kind,
                self.remediation,
                self.run,
                self.actor,
                self.body,
                self.previous,
            )
        except TypeError:  # bytes, which SQLite keeps in a column of text
            return ""


def hash_of(*parts: str | int) -> str:
    """Hash the parts of an entry; their boundaries are part of what is hashed."""
    return hashlib.sha256(canonical_json(list(parts)).encode()).hexdigest()
