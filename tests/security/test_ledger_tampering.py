"""Tampering with the ledger by somebody who owns its disk: the first bad entry is named."""

import base64
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from deployments.cli.app import call
from tasks.guardrails import anchors, ledger_setup
from tasks.guardrails.entries import GENESIS, Entry
from tasks.guardrails.errors import LedgerBroken
from tasks.guardrails.keys import Keys
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import Settings
from tasks.guardrails.verify import stream, verify
from tests.ledger_fixtures import without_waiting_for_the_disk
from tests.postgres_fixtures import Cluster

# The first bad entry and what is wrong with it; None where nobody can tell.
Expected = tuple[int, str] | None
KEY = base64.b64encode(os.urandom(32)).decode()
THEIRS = Keys(os.urandom(32))
COLUMNS = ("at", "kind", "remediation", "run", "actor", "body", "previous", "hash")
_TRIGGERS = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'entries'"
_INSERT = f"INSERT INTO entries VALUES ({', '.join('?' * 10)})"


@dataclass(frozen=True)
class World:
    """A ledger as it was written, with what its keeper and an attacker know.

    Args:
        rows: Its entries.
        anchored: Numbers of the entries that an anchor saw as the last.
        ours: The key that signed them.
    """

    rows: tuple[Entry, ...]
    anchored: frozenset[int]
    ours: Keys

    @property
    def end(self) -> int:
        """Number of the last entry."""
        return len(self.rows)

    def exchanged(self, *entries: Entry) -> list[Entry]:
        """Give the rows with other entries in the place of those of the same number."""
        others = {entry.seq: entry for entry in entries}
        return [others.get(entry.seq, entry) for entry in self.rows]

    def cut(self, end: int) -> Expected:
        """Say what is found of a ledger that ends earlier."""
        return (end + 1, "truncated") if max(self.anchored, default=0) > end else None

    def another_at(self, seq: int) -> Expected:
        """Say what is found where an entry is another that fits in and is signed by us."""
        if seq in self.anchored:
            return seq, "anchor"
        return (seq + 1, "order") if seq < self.end else None


Tampering = Callable[[World, int, int], tuple[list[Entry], Expected]]


def forged(entry: Entry, keys: Keys, **changes: Any) -> Entry:  # noqa: ANN401 - of any column
    """Change an entry, hash it anew and sign it."""
    changed = replace(entry, **changes)
    digest = changed.computed_hash()
    return replace(changed, hash=digest, signature=keys.sign(digest))


def linked(entries: Iterable[Entry], previous: str, keys: Keys) -> list[Entry]:
    """Link entries to a chain behind a hash, each hashed and signed anew."""
    made = []
    for entry in entries:
        made.append(forged(entry, keys, previous=previous))
        previous = made[-1].hash
    return made


def head_of(world: World, seq: int) -> str:
    """Give the hash before an entry."""
    return world.rows[seq - 2].hash if seq > 1 else GENESIS


def nothing(world: World, _one: int, _other: int) -> tuple[list[Entry], Expected]:
    """Leave all as it was written."""
    return list(world.rows), None


def edit(world: World, one: int, other: int) -> tuple[list[Entry], Expected]:
    """Edit a column."""
    column = COLUMNS[other % len(COLUMNS)]
    entry = world.rows[one - 1]
    value = getattr(entry, column)
    changed = value[:-1] + ("0" if value[-1:] != "0" else "1")
    return world.exchanged(replace(entry, **{column: changed})), (one, "edited")


def edit_and_hash(world: World, one: int, _other: int) -> tuple[list[Entry], Expected]:
    """Edit an entry and hash it anew, keeping its signature."""
    changed = replace(world.rows[one - 1], actor="eve")
    return world.exchanged(replace(changed, hash=changed.computed_hash())), (one, "signature")


def sign_by_another_key(world: World, one: int, _other: int) -> tuple[list[Entry], Expected]:
    """Sign an entry with another key."""
    entry = world.rows[one - 1]
    return world.exchanged(replace(entry, signature=THEIRS.sign(entry.hash))), (one, "signature")


def rewrite_by_another_key(world: World, one: int, _other: int) -> tuple[list[Entry], Expected]:
    """Write the rest anew from an entry on: a sound chain, signed with another key."""
    rest = [replace(entry, actor="eve") for entry in world.rows[one - 1 :]]
    made = [*world.rows[: one - 1], *linked(rest, head_of(world, one), THEIRS)]
    return made, (one, "signature")


def edit_with_our_key(world: World, one: int, _other: int) -> tuple[list[Entry], Expected]:
    """Edit an entry with the stolen key: those behind it still carry the old hash."""
    entry = forged(world.rows[one - 1], world.ours, actor="eve")
    return world.exchanged(entry), world.another_at(one)


def rewrite_with_our_key(world: World, one: int, _other: int) -> tuple[list[Entry], Expected]:
    """Write the rest anew with the stolen key: only an anchor can tell."""
    rest = [replace(entry, actor="eve") for entry in world.rows[one - 1 :]]
    seen = sorted(seq for seq in world.anchored if seq >= one)
    made = [*world.rows[: one - 1], *linked(rest, head_of(world, one), world.ours)]
    return made, (seen[0], "anchor") if seen else None


def unlink_with_our_key(world: World, one: int, _other: int) -> tuple[list[Entry], Expected]:
    """Have an entry follow another than the one before it, with the stolen key."""
    entry = forged(world.rows[one - 1], world.ours, previous="f" * 64)
    return world.exchanged(entry), (one, "order")


def delete(world: World, one: int, other: int) -> tuple[list[Entry], Expected]:
    """Delete some entries."""
    kept = [entry for entry in world.rows if not one <= entry.seq <= other]
    return kept, (one, "missing") if other < world.end else world.cut(one - 1)


def delete_and_number(world: World, one: int, _other: int) -> tuple[list[Entry], Expected]:
    """Delete an entry and number those behind it anew."""
    behind = [replace(entry, seq=entry.seq - 1) for entry in world.rows[one:]]
    made = [*world.rows[: one - 1], *behind]
    return made, (one, "edited") if behind else world.cut(one - 1)


def cut_off(world: World, one: int, _other: int) -> tuple[list[Entry], Expected]:
    """Put an older copy in place, or cut the end off, which is the same."""
    return list(world.rows[: one - 1]), world.cut(one - 1)


def insert(world: World, one: int, _other: int) -> tuple[list[Entry], Expected]:
    """Insert an entry that fits in, signed with another key."""
    entry = forged(world.rows[one - 1], THEIRS, actor="eve", previous=head_of(world, one))
    behind = [replace(entry, seq=entry.seq + 1) for entry in world.rows[one - 1 :]]
    return [*world.rows[: one - 1], entry, *behind], (one, "signature")


def insert_with_our_key(world: World, one: int, _other: int) -> tuple[list[Entry], Expected]:
    """Insert an entry that fits in, signed with the stolen key."""
    entry = forged(world.rows[one - 1], world.ours, actor="eve", previous=head_of(world, one))
    behind = [replace(entry, seq=entry.seq + 1) for entry in world.rows[one - 1 :]]
    expected = (one, "anchor") if one in world.anchored else (one + 1, "edited")
    return [*world.rows[: one - 1], entry, *behind], expected


def insert_before_all(world: World, one: int, _other: int) -> tuple[list[Entry], Expected]:
    """Insert an entry where no reader looks, before the first."""
    entry = forged(world.rows[0], world.ours, seq=1 - one, previous=GENESIS)
    return [entry, *world.rows], (1 - one, "order")


def append(world: World, one: int, _other: int) -> tuple[list[Entry], Expected]:
    """Append an entry that fits in, with the signature of another."""
    entry = forged(world.rows[one - 1], THEIRS, seq=world.end + 1, previous=world.rows[-1].hash)
    borrowed = replace(entry, signature=world.rows[one - 1].signature)
    return [*world.rows, borrowed], (world.end + 1, "signature")


def reorder(world: World, one: int, other: int) -> tuple[list[Entry], Expected]:
    """Exchange two entries."""
    first, second = world.rows[one - 1], world.rows[other - 1]
    made = world.exchanged(replace(first, seq=other), replace(second, seq=one))
    return made, (one, "edited") if one != other else None


def exchange_signatures(world: World, one: int, other: int) -> tuple[list[Entry], Expected]:
    """Exchange the signatures of two entries."""
    first, second = world.rows[one - 1], world.rows[other - 1]
    made = world.exchanged(
        replace(first, signature=second.signature), replace(second, signature=first.signature)
    )
    return made, (one, "signature") if one != other else None


def break_signature(world: World, one: int, other: int) -> tuple[list[Entry], Expected]:
    """Break a signature."""
    broken = ("", "no signature", world.rows[one - 1].signature[:-4], "é")[other % 4]
    return world.exchanged(replace(world.rows[one - 1], signature=broken)), (one, "signature")


def fork(world: World, one: int, other: int) -> tuple[list[Entry], Expected]:
    """Put an entry of a copy, written on since entry `one` by us too, into the ledger.

    Both copies have sound chains; from the second entry behind the fork on they do not fit.
    """
    template = world.rows[-1]
    own = [replace(template, seq=one + 1 + n, actor="other copy") for n in range(other - one + 1)]
    entry = linked(own, world.rows[one - 1].hash, world.ours)[-1]
    made = [*(row for row in world.rows if row.seq != entry.seq), entry]
    if entry.seq > one + 1:
        return made, (entry.seq, "order")
    return made, world.another_at(entry.seq)


TAMPERINGS: tuple[Tampering, ...] = (
    *(nothing, edit, edit_and_hash, sign_by_another_key, rewrite_by_another_key),
    *(edit_with_our_key, rewrite_with_our_key, unlink_with_our_key, delete, delete_and_number),
    *(cut_off, insert, insert_with_our_key, insert_before_all, append, reorder),
    *(exchange_signatures, break_signature, fork),
)
HISTORIES = st.lists(
    st.tuples(
        st.sampled_from(["requested", "planned", "decided", "begun", "done", "ended"]),
        st.sampled_from(["abc", "def", "ghi", ""]),
        st.dictionaries(st.sampled_from(["number", "what"]), st.integers() | st.text(max_size=5)),
        st.booleans(),
    ),
    min_size=1,
    max_size=9,
)


def write(ledger: Ledger, history: list[tuple[str, str, dict[str, Any], bool]]) -> World:
    """Write a history, with an anchor behind each entry that has one, and keep how it was."""
    anchored = set()
    for number, (kind, remediation, body, has_anchor) in enumerate(history, 1):
        ledger.append(kind, body, remediation=remediation, run="f", actor="engine")
        if has_anchor:
            ledger.anchor()
            anchored.add(number)
    return World(tuple(stream(ledger)), frozenset(anchored), ledger.keys)


def put_on_disk(home: Path, rows: Iterable[Entry]) -> None:
    """Put other rows in place, as somebody does who can write to the file."""
    with closing(sqlite3.connect(home / "ledger.db")) as connection:
        for (name,) in connection.execute(_TRIGGERS).fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        connection.execute("DELETE FROM entries")
        connection.executemany(_INSERT, [astuple(row) for row in rows])
        connection.commit()


def said(ledger: Ledger) -> Expected:
    """Give what verification names."""
    fault = verify(ledger).fault
    return (fault.seq, fault.kind) if fault else None


def unanchored_since(rows: Iterable[Entry], anchored: frozenset[int]) -> str:
    """Give the time of the first entry behind all anchors."""
    behind = [row.at for row in rows if row.seq > max(anchored, default=0)]
    return behind[0] if behind else ""


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a ledger without entries."""
    home = tmp_path_factory.mktemp("empty")
    Ledger(Settings(home=home, ledger_key=KEY)).engine.dispose()
    return home / "ledger.db"


@given(
    history=HISTORIES,
    tampering=st.sampled_from(TAMPERINGS),
    places=st.tuples(st.integers(0, 99), st.integers(0, 99)),
)
@hypothesis_settings(max_examples=150)
def test_the_first_bad_entry_is_named(
    empty: Path,
    history: list[tuple[str, str, dict[str, Any], bool]],
    tampering: Tampering,
    places: tuple[int, int],
) -> None:
    """Whatever history was written and however it was changed, verification says where."""
    one, other = sorted(place % len(history) + 1 for place in places)
    with TemporaryDirectory() as folder:
        home = Path(folder)
        shutil.copy(empty, home)
        anchor = str(home / "anchor")
        ledger = without_waiting_for_the_disk(
            Ledger(Settings(home=home, ledger_key=KEY, ledger_anchors=anchor))
        )
        world = write(ledger, history)
        rows, expected = tampering(world, one, other)
        put_on_disk(home, rows)
        assert said(ledger) == expected
        if expected is None:
            found = verify(ledger)
            seen = frozenset(seq for seq in world.anchored if seq <= len(rows))
            assert (found.entries, found.anchored) == (len(rows), max(seen, default=0))
            assert found.unanchored_since == unanchored_since(rows, seen)
        ledger.engine.dispose()
    ledger_setup.open_engine.cache_clear()


FIXED = [("noted", "abc", {"number": number}, number in (2, 4)) for number in range(1, 7)]


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_the_first_bad_entry_is_named_on_postgresql(
    postgresql_ledger: Ledger, postgres_cluster: Cluster, home: Path, tampering: Tampering
) -> None:
    """A superuser who switches the triggers off is found out the same."""
    config = postgresql_ledger.config.model_copy(update={"ledger_anchors": str(home / "anchor")})
    ledger = Ledger(config)
    rows, expected = tampering(write(ledger, FIXED), 3, 5)
    name = ledger.engine.url.database
    assert name
    with postgres_cluster.connect(name) as session, session.transaction():
        session.execute("ALTER TABLE entries DISABLE TRIGGER ALL")
        session.execute("DELETE FROM entries")
        insert_row = psycopg.sql.SQL(_INSERT.replace("?", "%s"))
        for row in rows:
            session.execute(insert_row, astuple(row))
    assert said(ledger) == expected


@pytest.mark.parametrize(
    ("tampering", "sentence"),
    [
        (edit, "NOT SOUND at entry 3: its contents were edited after "),
        (delete, "NOT SOUND at entry 3: entries 3 to 4 are missing."),
        (insert, "NOT SOUND at entry 3: it is not signed with our key: somebody else wrote it."),
        (
            insert_before_all,
            "NOT SOUND at entry -2: nothing comes before entry 1: it was inserted.",
        ),
        (fork, "NOT SOUND at entry 5: it does not follow entry 4: one was inserted, exchanged or "),
        (cut_off, "NOT SOUND at entry 3: the ledger ends at entry 2, and the anchor in "),
        (rewrite_with_our_key, "NOT SOUND at entry 4: the anchor in "),
    ],
)
def test_the_command_names_it(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tampering: Tampering,
    sentence: str,
) -> None:
    """`remedy ledger verify` says which entry it is and ends with 9; with 0 before."""
    monkeypatch.setenv("REMEDY_LEDGER_ANCHORS", str(home / "anchor"))
    monkeypatch.setenv("COLUMNS", "400")
    ledger = Ledger()
    world = write(ledger, FIXED)
    assert call(["ledger", "verify"]) == 0
    assert capsys.readouterr().out.startswith("6 entries, one unbroken chain")
    put_on_disk(home, tampering(world, 3, 4)[0])
    assert call(["ledger", "verify"]) == 9
    assert capsys.readouterr().out.startswith(sentence)


def test_an_older_copy_without_an_anchor_is_said_to_be_possible(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where no anchor is kept the sentence names since when nobody would notice."""
    monkeypatch.setenv("COLUMNS", "400")
    ledger = Ledger()
    world = write(ledger, FIXED)
    put_on_disk(home, world.rows[:4])
    assert call(["ledger", "verify"]) == 0
    assert capsys.readouterr().out == (
        "4 entries, one unbroken chain, each signed with our key. No anchor is configured "
        "(REMEDY_LEDGER_ANCHORS): an older copy of the whole would not be noticed, since "
        f"{world.rows[0].at}.\n"
    )


@pytest.mark.parametrize("number", [2, 900])
def test_an_entrys_signature_is_no_anchor(home: Path, number: int) -> None:
    """Without the key nobody makes an anchor of what lies in the database, for a false alarm."""
    ledger = Ledger(Settings(home=home, ledger_anchors=str(home / "anchor")))
    row = write(ledger, FIXED).rows[4]
    anchors.append(ledger.config.ledger_anchors, number, row.hash, row.signature)
    found = verify(ledger)
    assert (found.fault, found.anchored, found.foreign_anchors) == (None, 4, 1)


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b"[]",
        b'{"at": 1, "seq": "x", "hash": "y", "signature": "z"}',
        b'{"at": 1, "seq": 1, "hash": 2, "signature": 3}',
        b'{"at": 1, "seq": 99999999999999999999, "hash": "", "signature": ""}',
    ],
)
def test_rubbish_among_the_anchors_proves_nothing(home: Path, line: bytes) -> None:
    """Whatever somebody writes among the anchors, verification reads on."""
    ledger = Ledger(Settings(home=home, ledger_anchors=str(home / "anchor")))
    write(ledger, FIXED)
    with (home / "anchor").open("ab") as file:
        file.write(line + b"\n")
    found = verify(ledger)
    assert (found.fault, found.anchored) == (None, 4)


@pytest.mark.parametrize("value", ["x'7b7d'", "CAST(x'7bff7d' AS TEXT)"])
@pytest.mark.parametrize("column", COLUMNS)
def test_what_is_no_text_is_an_edited_entry(home: Path, column: str, value: str) -> None:
    """SQLite keeps bytes in a column of text: they are named, and end nobody who reads them."""
    ledger = Ledger(Settings(home=home))
    write(ledger, FIXED)
    with closing(sqlite3.connect(home / "ledger.db")) as connection:
        connection.execute("DROP TRIGGER entries_no_update")
        connection.execute(f"UPDATE entries SET {column} = {value} WHERE seq = 3")
        connection.commit()
    assert said(ledger) == (3, "edited")
    if column != "kind":
        with pytest.raises(LedgerBroken, match="entry 3 as it was written and signed"):
            ledger.entries(kinds=("noted",))


def test_a_damaged_file_is_told_from_a_sound_one(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pages that are no pages any more end the command with a sentence, and not with 0."""
    ledger = Ledger()
    with ledger.writing() as chain:
        for number in range(500):
            chain.append("noted", {"number": number})
    with closing(sqlite3.connect(home / "ledger.db")) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    ledger.engine.dispose()
    ledger_setup.open_engine.cache_clear()
    with (home / "ledger.db").open("r+b") as file:
        for page in range(20, 60):
            file.seek(page * 4096)
            file.write(b"\xff" * 4096)
    assert call(["ledger", "verify"]) == 6
    assert "a ledger that can be read" in capsys.readouterr().err
