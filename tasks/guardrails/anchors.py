"""Signed heads of the ledger kept elsewhere: only against one is an older copy detectable."""

import json
import os
import syslog
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True)
class Anchor:
    """A head as it was when it was anchored."""

    where: str
    at: str
    seq: int
    hash: str
    signature: str


def signed_text(seq: int, head: str) -> str:
    """Give what is signed of a head: with the hash alone an entry's signature were an anchor."""
    return f"anchor {seq} {head}"


def append(places: str, seq: int, head: str, signature: str) -> None:
    """Append a signed head to each place.

    Args:
        places: Paths of files, or 'syslog', separated by spaces.
        seq: Sequence number of the head.
        head: Its hash.
        signature: Signature of what `signed_text` gives of both.

    Raises:
        OSError: A file cannot be written.
    """
    line = json.dumps(
        {
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "seq": seq,
            "hash": head,
            "signature": signature,
        }
    )
    for place in places.split():
        if place == "syslog":
            syslog.syslog(syslog.LOG_AUTH | syslog.LOG_NOTICE, f"remedy-ledger {line}")
            continue
        with Path(place).open("a") as file:
            file.write(line + "\n")
            file.flush()
            os.fsync(file.fileno())


def read(places: str) -> list[Anchor]:
    """Read the anchors back from files; syslog is for people to compare.

    Args:
        places: As in `append`.

    Returns:
        All anchors found, oldest first in each file. A line that is not one is skipped: it
        proves nothing.
    """
    found = []
    for place in places.split():
        path = Path(place)
        if place == "syslog" or not path.exists():
            continue
        for line in path.read_text(errors="replace").splitlines():
            try:
                anchor = Anchor(where=place, **json.loads(line))
            except (ValueError, TypeError):
                continue
            if (type(anchor.seq), type(anchor.hash), type(anchor.signature)) == (int, str, str):
                found.append(anchor)
    return found
