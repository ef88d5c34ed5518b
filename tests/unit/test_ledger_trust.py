"""What the ledger's trust rests on: hashes over every part, keys, signed heads elsewhere."""

import base64
import json
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tasks.guardrails import anchors, ledger_setup
from tasks.guardrails.entries import GENESIS, Entry, hash_of
from tasks.guardrails.errors import LedgerBroken
from tasks.guardrails.keys import Keys, load_keys
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
# What UTF-8 can hold; a lone surrogate it cannot.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
SCALARS = st.none() | st.booleans() | st.integers() | FLOATS | TEXT
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
BODIES = st.dictionaries(TEXT, JSON, max_size=4)
ENTRY = Entry(7, "2026-11-24T00:00:00", "planned", "r", "f", "a", "{}", GENESIS, "", "")
LOADER = """
import sys
from pathlib import Path
from tasks.guardrails.keys import load_keys
from tasks.guardrails.settings import Settings
print("ready", flush=True)
sys.stdin.readline()
for home in sys.argv[1:]:
    print(load_keys(Settings(home=Path(home))).fingerprint("x"), flush=True)
"""


@given(bodies=st.lists(BODIES, min_size=1, max_size=6))
@hypothesis_settings(max_examples=40)
def test_any_bodies_make_an_unbroken_chain(bodies: list[dict[str, Any]]) -> None:
    """Whatever JSON is recorded comes back equal, and the links hold from the first on."""
    with TemporaryDirectory() as folder:
        ledger = Ledger(Settings(home=Path(folder)))
        written = [ledger.append("any", body) for body in bodies]
        entries = ledger.entries()
        ledger.engine.dispose()
    ledger_setup.open_engine.cache_clear()
    assert entries == written
    assert [entry.facts for entry in entries] == bodies
    assert [entry.seq for entry in entries] == list(range(1, len(bodies) + 1))
    links = [GENESIS, *(entry.hash for entry in entries)]
    assert [entry.previous for entry in entries] == links[:-1]
    assert all(entry.computed_hash() == entry.hash for entry in entries)


@given(
    field=st.sampled_from(["seq", "at", "kind", "remediation", "run", "actor", "body", "previous"]),
    text=TEXT,
    number=st.integers(),
)
def test_every_part_of_an_entry_is_hashed(field: str, text: str, number: int) -> None:
    """An entry with any part changed has another hash."""
    changed = replace(ENTRY, **{field: number if field == "seq" else text})  # type: ignore[arg-type] # one of both
    assert (changed.computed_hash() == ENTRY.computed_hash()) == (changed == ENTRY)


@given(one=st.lists(TEXT, max_size=5), other=st.lists(TEXT, max_size=5))
def test_boundaries_between_parts_are_hashed(one: list[str], other: list[str]) -> None:
    """Parts that read the same when joined are told apart."""
    assert (hash_of(*one) == hash_of(*other)) == (one == other)
    assert hash_of("".join(one), "x") != hash_of("".join(one) + "x")


def test_key_is_made_for_its_owner_only(home: Path) -> None:
    """The first use makes the key, its folder and it are readable by nobody else."""
    made = load_keys(Settings(home=home))
    path = home / "keys" / "ledger.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [found.name for found in path.parent.iterdir()] == ["ledger.key"]
    assert load_keys(Settings(home=home)).sign("text") == made.sign("text")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_key_that_others_can_read_is_refused(home: Path, mode: int) -> None:
    """A key file with any right for group or others is not used."""
    load_keys(Settings(home=home))
    path = home / "keys" / "ledger.key"
    path.chmod(mode)
    with pytest.raises(LedgerBroken) as refused:
        load_keys(Settings(home=home))
    assert str(refused.value) == (
        f"Expected: a key file that only its owner reads: {path}. Found: mode {mode:04o}. "
        f"State: Nothing was changed. Do next: Run: chmod 600 {path}"
    )


@pytest.mark.parametrize(
    "given_key", ["short", "not base64!", base64.b64encode(b"x" * 31).decode()]
)
def test_key_that_is_none_is_refused(home: Path, given_key: str) -> None:
    """A key that was cut off or mistyped is refused; no new one is made in its place."""
    with pytest.raises(LedgerBroken, match="something else in REMEDY_LEDGER_KEY"):
        load_keys(Settings(home=home, ledger_key=given_key))
    assert not (home / "keys").exists()


def test_key_of_the_environment_goes_first(home: Path) -> None:
    """A key that is given is the one that signs, and none is written to the disk."""
    master = b"k" * 32
    keys = load_keys(Settings(home=home, ledger_key=base64.b64encode(master).decode()))
    assert Keys(master).is_signed("text", keys.sign("text"))
    assert not (home / "keys").exists()


def test_processes_that_make_the_key_at_once_use_the_same(home: Path) -> None:
    """Of several first uses at the same time one makes the key, and all use it."""
    homes = [str(home / str(number)) for number in range(30)]
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", LOADER, *homes],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    loaded = {process.communicate(timeout=240)[0] for process in processes}
    kept = [load_keys(Settings(home=Path(one))).fingerprint("x") for one in homes]
    assert loaded == {"".join(f"{one}\n" for one in kept)}


def test_signatures_and_secrets_belong_to_one_key() -> None:
    """What one key signed, encrypted or fingerprinted is nothing to another."""
    ours, theirs = Keys(b"a" * 32), Keys(b"b" * 32)
    assert ours.is_signed("text", ours.sign("text"))
    assert not ours.is_signed("text", theirs.sign("text"))
    assert not ours.is_signed("other", ours.sign("text"))
    assert not ours.is_signed("text", "no signature")
    assert ours.decrypt(ours.encrypt("secret")) == "secret"
    assert "secret" not in ours.encrypt("secret")
    assert ours.fingerprint("value") != theirs.fingerprint("value")


def test_signed_heads_are_appended_to_every_anchor(home: Path) -> None:
    """Each anchor gets the head with a signature of it, behind those of before."""
    places = [home / "one", home / "two"]
    ledger = Ledger(Settings(home=home, ledger_anchors=" ".join(map(str, places))))
    ledger.anchor()
    assert anchors.read(ledger.config.ledger_anchors) == []
    first = ledger.append("first", {})
    ledger.anchor()
    second = ledger.append("second", {})
    ledger.anchor()
    for place in places:
        found = anchors.read(str(place))
        assert [(a.seq, a.hash) for a in found] == [(e.seq, e.hash) for e in (first, second)]
        assert all(
            ledger.keys.is_signed(anchors.signed_text(anchor.seq, anchor.hash), anchor.signature)
            for anchor in found
        )


def test_older_copy_of_the_ledger_is_behind_its_anchor(home: Path) -> None:
    """Whoever puts an older copy in place has a sound chain that its anchor contradicts."""
    ledger = Ledger(Settings(home=home, ledger_anchors=str(home / "anchor")))
    ledger.append("first", {})
    with closing(sqlite3.connect(home / "ledger.db")) as live:
        live.execute("VACUUM INTO ?", (str(home / "older.db"),))
    ledger.append("second", {})
    ledger.anchor()
    ledger.engine.dispose()
    for beside in home.glob("ledger.db-*"):
        beside.unlink()
    shutil.move(home / "older.db", home / "ledger.db")
    ledger_setup.open_engine.cache_clear()
    older = Ledger(ledger.config)
    head, anchored = older.head(), anchors.read(older.config.ledger_anchors)[-1]
    assert head is not None
    assert older.entries() == [head]
    assert (head.seq, anchored.seq) == (1, 2)


def test_lines_that_are_no_anchors_prove_nothing(home: Path) -> None:
    """A line cut off, of other fields or of no JSON is skipped, what is missing too."""
    place = home / "anchor"
    anchors.append(str(place), 1, "hash", "signature")
    line = place.read_text()
    other = json.dumps({"seq": 1})
    place.write_text(os.linesep.join(["", "{", other, "[]", "7", line]))
    assert [anchor.hash for anchor in anchors.read(f"{home / 'gone'} {place} syslog")] == ["hash"]
