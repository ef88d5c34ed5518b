"""`remedy ledger`: what verification finds, and what it says of it."""

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tasks.guardrails.entries import Entry, hash_of
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import Settings
from tasks.guardrails.verify import verify
from tests.integration.test_services_fixtures import remedy

ENTRIES = 12
_TRIGGERS = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'entries'"


@pytest.fixture
def ledger(home: Path) -> Ledger:
    """A ledger with some entries."""
    made = Ledger(Settings(home=home))
    for number in range(ENTRIES):
        made.append("noted", {"number": number}, remediation="abc")
    return made


def attack(home: Path, *statements: str) -> None:
    """Change the file behind the ledger's back, as who owns the disk can."""
    connection = sqlite3.connect(home / "ledger.db")
    for (name,) in connection.execute(_TRIGGERS).fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


EXCHANGE = (
    "UPDATE entries SET seq = 100 WHERE seq = 5",
    "UPDATE entries SET seq = 5 WHERE seq = 6",
    "UPDATE entries SET seq = 6 WHERE seq = 100",
)
COPY = (
    "INSERT INTO entries SELECT 13, at, kind, remediation, run, actor, body, previous,"
    " substr(hash, 1, 63) || 'x', signature FROM entries WHERE seq = 12"
)


@pytest.mark.parametrize(
    ("statements", "seq", "kind", "why"),
    [
        (("UPDATE entries SET body = '{\"number\":99}' WHERE seq = 4",), 4, "edited", "edited"),
        (("UPDATE entries SET actor = 'nobody' WHERE seq = 7",), 7, "edited", "edited"),
        (("DELETE FROM entries WHERE seq = 5",), 5, "missing", "entry 5 is missing"),
        (("DELETE FROM entries WHERE seq < 4",), 1, "missing", "entries 1 to 3 are missing"),
        (EXCHANGE, 5, "edited", "hash differs"),
        ((COPY,), 13, "edited", "hash differs"),
        (("UPDATE entries SET signature = 'AAAA' WHERE seq = 3",), 3, "signature", "our key"),
    ],
)
def test_the_first_bad_entry_is_named(
    ledger: Ledger, home: Path, statements: tuple[str, ...], seq: int, kind: str, why: str
) -> None:
    """An edit, a gap, another order or a foreign entry is found where it is."""
    assert verify(ledger).is_sound
    attack(home, *statements)
    fault = verify(ledger).fault
    assert fault is not None
    assert (fault.seq, fault.kind) == (seq, kind)
    assert why in fault.why


def test_an_entry_signed_elsewhere_does_not_fit_in(ledger: Ledger, home: Path) -> None:
    """Even with the key, an entry made for another place in the chain does not follow."""
    parts = (13, "2026-01-01T00:00:00.000000+00:00", "noted", "abc", "", "x", "{}", "f" * 64)
    digest = hash_of(*parts)
    values = ", ".join(repr(part) for part in (*parts, digest, ledger.keys.sign(digest)))
    attack(home, f"INSERT INTO entries VALUES ({values})")
    fault = verify(ledger).fault
    assert fault is not None
    assert (fault.seq, fault.kind) == (13, "order")


@pytest.fixture
def anchored(home: Path) -> Callable[[], Ledger]:
    """A ledger with an anchor in a file elsewhere."""
    config = Settings(home=home, ledger_anchors=str(home / "anchor"))
    return lambda: Ledger(config)


def test_a_truncated_ledger_is_found_by_its_anchor(
    anchored: Callable[[], Ledger], home: Path
) -> None:
    """The end that was cut off is missing; without an anchor nobody could tell."""
    ledger = anchored()
    for number in range(ENTRIES):
        ledger.append("noted", {"number": number})
    ledger.anchor()
    found = verify(ledger)
    assert (found.is_sound, found.anchored, found.unanchored_since) == (True, ENTRIES, "")
    attack(home, "DELETE FROM entries WHERE seq > 9")
    fault = verify(ledger).fault
    assert fault is not None
    assert (fault.seq, fault.kind) == (10, "truncated")
    assert "older copy" in fault.why


def test_a_rewritten_ledger_is_found_by_its_anchor(
    anchored: Callable[[], Ledger], home: Path
) -> None:
    """Who has the key can write another history, but not the anchor."""
    ledger = anchored()
    ledger.append("noted", {"number": 1})
    ledger.anchor()
    attack(home, "DELETE FROM entries")
    ledger.append("noted", {"number": 2})
    fault = verify(ledger).fault
    assert fault is not None
    assert (fault.seq, fault.kind) == (1, "anchor")


def test_it_says_since_when_nothing_is_anchored(anchored: Callable[[], Ledger], home: Path) -> None:
    """Entries after the last anchor are as good as none, for an older copy."""
    ledger = anchored()
    ledger.append("noted", {"number": 1})
    ledger.anchor()
    later = ledger.append("noted", {"number": 2})
    (home / "anchor").open("a").write('{"not": "ours"}\n')
    found = verify(ledger)
    assert found.unanchored_since == later.at
    assert later.at in found.sentence()


def test_a_foreign_anchor_proves_nothing(anchored: Callable[[], Ledger], home: Path) -> None:
    """A line that we did not sign is counted and not believed."""
    ledger = anchored()
    entry = ledger.append("noted", {"number": 1})
    line = {"at": entry.at, "seq": 900, "hash": "0" * 64, "signature": "AAAA"}
    (home / "anchor").write_text(json.dumps(line) + "\n")
    found = verify(ledger)
    assert (found.is_sound, found.anchored, found.foreign_anchors) == (True, 0, 1)


def test_the_command_tells_it_and_exits_with_nine(ledger: Ledger, home: Path) -> None:
    """0 for a sound ledger, 9 for any other; JSON for programs."""
    assert ledger.head()
    sound = remedy(home, "ledger", "verify")
    assert (sound.returncode, "12 entries" in sound.stdout) == (0, True)
    assert "No anchor is configured" in sound.stdout
    attack(home, "UPDATE entries SET body = '{}' WHERE seq = 4")
    broken = remedy(home, "ledger", "verify", "--json")
    assert broken.returncode == 9
    assert json.loads(broken.stdout)["fault"]["seq"] == 4


def test_what_is_exported_is_the_chain(ledger: Ledger, home: Path) -> None:
    """Each line holds all that was hashed: it can be verified without the database."""
    assert ledger.head()
    file = home / "export.jsonl"
    assert remedy(home, "ledger", "export", str(file)).returncode == 0
    lines = [Entry(**json.loads(line)) for line in file.read_text().splitlines()]
    assert len(lines) == ENTRIES
    assert all(entry.computed_hash() == entry.hash for entry in lines)
    printed = remedy(home, "ledger", "export", "--after", "10")
    assert len(printed.stdout.splitlines()) == 2


def test_a_big_ledger_is_read_in_pages(ledger: Ledger) -> None:
    """More entries than a page holds are walked all the same."""
    with ledger.writing() as chain:
        for number in range(2500):
            chain.append("noted", {"number": number})
    assert verify(ledger).entries == ENTRIES + 2500


def test_lists_fit_a_terminal(home: Path) -> None:
    """Eighty columns: each remediation in one line, each entry in a head and its facts."""
    ledger = Ledger(Settings(home=home))
    asked = {
        "name": "restore_from_backup",
        "target": "production",
        "parameters": {"target": "production", "backup": "x" * 200},
        "reason": "a long reason " * 9,
        "requester": {"name": "somebody", "known": False, "how": "no code"},
    }
    ledger.append("requested", asked, remediation="abcdefghij", actor="somebody")
    listed = remedy(home, "runs", COLUMNS="80").stdout.rstrip().splitlines()
    assert max(map(len, listed)) <= 80
    (line,) = (line for line in listed if "abcdefghij" in line)
    for word in ("restore_from_backup", "production", "at work"):
        assert word in line
    shown = remedy(home, "ledger", "show", COLUMNS="80").stdout.rstrip().splitlines()
    assert max(map(len, shown)) <= 80
    assert len(shown) == 3
    assert shown[0].startswith("    1  ")
    assert shown[0].endswith(" UTC  requested abcdefghij by somebody")
    whole = json.loads(remedy(home, "ledger", "show", "--json").stdout)
    assert whole[0]["body"]["reason"] == asked["reason"]


def test_a_password_on_the_command_line_is_refused(home: Path) -> None:
    """Everybody on the machine reads it there; it is not repeated in what is said either."""
    url = "postgresql://owner:hush-hush@127.0.0.1:1/ledger"
    done = remedy(home, "ledger", "install", "--owner-url", url, "--writer", "writer")
    assert done.returncode == 2
    assert "Set PGPASSWORD" in done.stderr
    assert "hush-hush" not in done.stdout + done.stderr
