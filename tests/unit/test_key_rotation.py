"""Rotation of the ledger's key: what was written stays proved, an old key proves nothing new."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import astuple, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pyotp
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from deployments.cli.app import call
from tasks.guardrails import anchors, approvers, codes, faults, key_in_force, ledger_setup
from tasks.guardrails.approvers import Enrolment
from tasks.guardrails.entries import Entry
from tasks.guardrails.errors import ApprovalRefused, LedgerBroken, RemediationError, TargetBusy
from tasks.guardrails.key_rotation import Rotation, rotate
from tasks.guardrails.keys import Keys, Retired, key_file, load_keys
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.ledger_schema import APPROVERS, ENTRIES
from tasks.guardrails.settings import Settings
from tasks.guardrails.verify import verify
from tests.ledger_fixtures import without_waiting_for_the_disk

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 11, 24, 12, 0, 15, tzinfo=UTC)
POINTS = ("key-written", "key-recorded", "key-rotated", "key-in-place")
ROTATOR = """
import sys
from pathlib import Path
from tasks.guardrails import codes
from tasks.guardrails.key_rotation import rotate
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import Settings
home, url, code = sys.argv[1:]
ledger = Ledger(Settings(home=Path(home), ledger_url=url))
who, mark = codes.authenticate(ledger, "ann", code, role="policy", source=codes.HOST)
rotate(ledger, who.name, mark)
"""


def enrolled(ledger: Ledger, name: str = "ann") -> Enrolment:
    """Add an approver with both roles."""
    return approvers.add(ledger, name, ("approve", "policy"), "test")


def try_code(ledger: Ledger, name: str, code: str, at: datetime = NOW) -> str:
    """Authenticate; gives the code's mark."""
    return codes.authenticate(ledger, name, code, role="policy", source=codes.HOST, at=at)[1]


def rotated(ledger: Ledger, who: Enrolment, step: int = 0) -> Rotation:
    """Rotate the key as an approver who gives the code of a step of time."""
    at = NOW + timedelta(seconds=30 * step)
    return rotate(ledger, who.name, try_code(ledger, who.name, pyotp.TOTP(who.secret).at(at), at))


def put(ledger: Ledger, entry: Entry) -> None:
    """Write an entry past the ledger."""
    with ledger.engine.connect().execution_options(writes=True) as connection, connection.begin():
        connection.execute(ENTRIES.insert().values(**vars(entry)))


def forged(entry: Entry, keys: Keys, **changes: object) -> Entry:
    """Change an entry, hash it anew and sign it."""
    changed = replace(entry, **changes)  # type: ignore[arg-type] # values of its columns
    digest = changed.computed_hash()
    return replace(changed, hash=digest, signature=keys.sign(digest))


def in_place_of(home: Path, entries: list[Entry]) -> None:
    """Put other entries into the file, as somebody does who can write to it."""
    with closing(sqlite3.connect(home / "ledger.db")) as connection:
        for event in ("update", "delete", "replace"):
            connection.execute(f"DROP TRIGGER entries_no_{event}")
        connection.execute("DELETE FROM entries")
        marks = ", ".join("?" * 10)
        connection.executemany(
            f"INSERT INTO entries VALUES ({marks})", [astuple(one) for one in entries]
        )
        connection.commit()


@given(steps=st.lists(st.sampled_from(["append", "add", "rotate", "anchor", "open"]), max_size=14))
@hypothesis_settings(max_examples=40)
def test_history_and_rotations_stay_sound(steps: list[str]) -> None:
    """However often the key is rotated, all entries and anchors verify and all codes work."""
    with TemporaryDirectory() as folder:
        config = Settings(home=Path(folder), ledger_anchors=f"{folder}/anchor")
        ledger = without_waiting_for_the_disk(Ledger(config))
        people, with_recovery = [enrolled(ledger)], {"ann"}
        for number, step in enumerate(steps):
            if step == "append":
                ledger.append("noted", {"number": number})
            elif step == "add":
                people.append(enrolled(ledger, f"person{number}"))
                with_recovery.add(people[-1].name)
            elif step == "rotate":
                done = rotated(ledger, people[number % len(people)], number)
                assert set(done.void) == with_recovery
                assert done.carried == tuple(sorted(who.name for who in people))
                with_recovery = set()
            elif step == "anchor":
                ledger.anchor()
            else:
                ledger = Ledger(config)
            found = verify(ledger)
            assert (found.fault, found.foreign_anchors) == (None, 0)
            later = NOW + timedelta(hours=1)
            for who in people:
                assert try_code(ledger, who.name, pyotp.TOTP(who.secret).at(later), later)
                if who.name in with_recovery:
                    assert try_code(ledger, who.name, who.recovery_codes[0])
                else:
                    with pytest.raises(ApprovalRefused):
                        try_code(ledger, who.name, who.recovery_codes[0])
        assert len(ledger.entries(kinds=("key_rotated",))) == steps.count("rotate")
        ledger.engine.dispose()
    ledger_setup.open_engine.cache_clear()


def test_a_stolen_old_key_signs_nothing_new(sqlite_ledger: Ledger) -> None:
    """What the old key signs behind the rotation is named, and counts for nothing."""
    stolen, ann = sqlite_ledger.keys, enrolled(sqlite_ledger)
    done = rotated(sqlite_ledger, ann)
    last = sqlite_ledger.append("noted", {})
    put(sqlite_ledger, forged(last, stolen, seq=last.seq + 1, previous=last.hash, kind="decided"))
    fault = verify(sqlite_ledger).fault
    assert fault is not None
    assert (fault.seq, fault.kind) == (last.seq + 1, "signature")
    assert f"a key that was rotated behind entry {done.entry - 1}" in fault.why
    with pytest.raises(LedgerBroken, match="as it was written and signed"):
        sqlite_ledger.entries(kinds=("decided",))


def test_a_stolen_old_key_cannot_write_the_rotation_away(sqlite_ledger: Ledger, home: Path) -> None:
    """Where all from before the rotation on is written anew, the key file tells that it was."""
    stolen, ann = sqlite_ledger.keys, enrolled(sqlite_ledger)
    sqlite_ledger.append("noted", {})
    rotated(sqlite_ledger, ann)
    first, second, _rotation = sqlite_ledger.entries()
    in_place_of(home, [first, forged(second, stolen, kind="decided")])
    fault = verify(sqlite_ledger).fault
    assert fault is not None
    assert (fault.seq, fault.kind) == (3, "truncated")
    assert "its key was rotated behind entry 2" in fault.why
    with pytest.raises(LedgerBroken, match="more than the 2 entries before the key was rotated"):
        sqlite_ledger.append("noted", {})


def test_a_stolen_old_key_cannot_write_history_anew(sqlite_ledger: Ledger, home: Path) -> None:
    """What is changed of the time before does not lead to the entry of the rotation any more."""
    stolen, ann = sqlite_ledger.keys, enrolled(sqlite_ledger)
    sqlite_ledger.append("noted", {})
    rotated(sqlite_ledger, ann)
    first, second, rotation = sqlite_ledger.entries()
    in_place_of(home, [first, forged(second, stolen, kind="decided"), rotation])
    fault = verify(sqlite_ledger).fault
    assert fault is not None
    assert (fault.seq, fault.kind) == (3, "order")


def test_the_new_key_vouches_for_nothing_of_before(sqlite_ledger: Ledger, home: Path) -> None:
    """Neither does a role count that the old key gave, nor an old signature of the new one."""
    stolen, ann = sqlite_ledger.keys, enrolled(sqlite_ledger)
    eve = approvers.add(sqlite_ledger, "eve", ("approve",), "test")
    rotated(sqlite_ledger, ann)
    first, second, rotation = sqlite_ledger.entries()
    body = second.body.replace('"approve"', '"approve","policy"')
    in_place_of(home, [first, forged(second, stolen, body=body), rotation])
    assert approvers.approvers(sqlite_ledger)["eve"].roles == ("approve",)
    with pytest.raises(ApprovalRefused, match="has not the role"):
        try_code(sqlite_ledger, "eve", pyotp.TOTP(eve.secret).at(NOW))
    in_place_of_new = forged(second, sqlite_ledger.keys, actor="eve")
    assert not sqlite_ledger.keys.is_signed(in_place_of_new.hash, in_place_of_new.signature, 2)


def test_an_anchor_of_the_old_key_counts_for_its_time(sqlite_ledger: Ledger, home: Path) -> None:
    """What the old key anchored before vouches on; what it anchors afterwards proves nothing."""
    config = sqlite_ledger.config.model_copy(update={"ledger_anchors": str(home / "anchor")})
    ledger = Ledger(config)
    stolen, ann = ledger.keys, enrolled(ledger)
    ledger.anchor()
    done = rotated(ledger, ann)
    text = anchors.signed_text(done.entry, "0" * 64)
    anchors.append(config.ledger_anchors, done.entry, "0" * 64, stolen.sign(text))
    found = verify(ledger)
    assert (found.is_sound, found.anchored, found.foreign_anchors) == (True, 1, 1)


def test_who_still_has_the_old_key_writes_nothing(ledger: Ledger) -> None:
    """A process from before fails with a sentence that says why; the chain stays sound."""
    ann, worker = enrolled(ledger), Ledger(ledger.config)
    done = rotated(ledger, ann)
    entry = ledger.entries(kinds=("key_rotated",))[0]
    told = (
        "Expected: the key that signs the ledger now. "
        f"Found: an older one: ann rotated it at {entry.at} (entry {done.entry}). "
        "State: Nothing was changed. Do next: Start this process anew, so that it reads the new "
        "key; on another host, or where REMEDY_LEDGER_KEY is set, put it there first. If nobody "
        "rotated it: `remedy ledger verify`."
    )
    for attempt in (
        lambda: worker.append("begun", {}),
        lambda: approvers.add(worker, "bob", ("approve",), "test"),
        worker.entries,
        worker.anchor,
    ):
        with pytest.raises(LedgerBroken) as refused:
            attempt()
        assert str(refused.value) == told
    assert ledger.head() == entry
    assert verify(ledger).is_sound
    Ledger(ledger.config).append("begun", {})


def test_a_used_code_stays_used(ledger: Ledger) -> None:
    """A code that counted before the rotation does not count again after it."""
    ann = enrolled(ledger)
    code = pyotp.TOTP(ann.secret).at(NOW)
    rotated(ledger, ann)
    with pytest.raises(ApprovalRefused):
        try_code(ledger, "ann", code)


def test_a_secret_from_before_is_no_secret_of_now(ledger: Ledger) -> None:
    """A row that is put back as the old key encrypted it lets nobody in."""
    ann = enrolled(ledger)
    before = ledger.keys.encrypt(ann.secret)
    rotated(ledger, ann)
    with ledger.writing() as chain:
        chain.connection.execute(APPROVERS.update().values(secret=before))
    with pytest.raises(ApprovalRefused):
        try_code(ledger, "ann", pyotp.TOTP(ann.secret).at(NOW + timedelta(seconds=30)))


def test_an_exchanged_secret_is_not_carried_over(ledger: Ledger) -> None:
    """The new key vouches for no secret that the chain did not know; revoked ones stay revoked."""
    ann, eve = enrolled(ledger), enrolled(ledger, "eve")
    enrolled(ledger, "bob")
    approvers.revoke(ledger, "bob", "left", "test")
    theirs = ledger.keys.encrypt(pyotp.random_base32())
    with ledger.writing() as chain:
        mine = APPROVERS.c.name == "eve"
        chain.connection.execute(APPROVERS.update().where(mine).values(secret=theirs))
    done = rotated(ledger, ann)
    assert (done.carried, done.lost, done.void) == (("ann",), ("eve",), ("ann", "eve"))
    known = approvers.approvers(ledger)
    assert known["bob"].revoked
    assert known["eve"].roles == ()
    with ledger.engine.connect() as connection:
        assert connection.scalars(sa.select(APPROVERS.c.name)).all() == ["ann"]
    with pytest.raises(ApprovalRefused):
        try_code(ledger, "eve", pyotp.TOTP(eve.secret).at(NOW))


@pytest.mark.parametrize("point", POINTS)
def test_killed_anywhere_one_key_works(ledger: Ledger, point: str) -> None:
    """Whoever opens the ledger next finishes the rotation or drops it, and goes on."""
    ann = enrolled(ledger)
    before, config = ledger.keys.public, ledger.config
    words = (str(config.home), config.ledger, pyotp.TOTP(ann.secret).now())
    done = subprocess.run(
        [sys.executable, "-c", ROTATOR, *words],
        cwd=ROOT,
        env={**os.environ, "REMEDY_FAULT": f"KILL={point}"},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    assert key_in_force.draft_of(config).exists() == (point != "key-in-place")
    after, finished = Ledger(config), point in {"key-rotated", "key-in-place"}
    assert (after.keys.public != before) == finished
    assert not key_in_force.draft_of(config).exists()
    after.append("noted", {})
    assert verify(after).is_sound
    later = datetime.now(UTC) + timedelta(hours=1)
    assert try_code(after, "ann", pyotp.TOTP(ann.secret).at(later), later)
    assert rotated(after, ann, 7).entry == 3 + finished


def test_a_new_key_that_was_not_written_whole_is_dropped(sqlite_ledger: Ledger) -> None:
    """What a full disk left of a new key is no key: the old one goes on."""
    draft = key_in_force.draft_of(sqlite_ledger.config)
    draft.write_text(Keys(os.urandom(32)).text()[:20])
    assert Ledger(sqlite_ledger.config).keys.public == sqlite_ledger.keys.public
    assert not draft.exists()


@pytest.mark.parametrize("point", POINTS[:3])
def test_who_opens_the_ledger_meanwhile_waits(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    """A rotation at work is no half-done one: its key is not dropped under its hands."""
    ann, opened = enrolled(ledger), []
    opener = threading.Thread(target=lambda: opened.append(Ledger(ledger.config)))

    def open_meanwhile(name: str) -> None:
        if name == point:
            opener.start()
            opener.join(0.5)

    monkeypatch.setattr(faults, "point", open_meanwhile)
    rotated(ledger, ann)
    opener.join(120)
    assert [one.keys.public for one in opened] == [ledger.keys.public]
    assert load_keys(ledger.config).public == ledger.keys.public


def test_a_second_rotation_at_the_same_time_is_refused(ledger: Ledger) -> None:
    """While one is at work another one changes nothing."""
    ann = enrolled(ledger)
    head = ledger.head()
    with (
        key_in_force.rotating(ledger.config, wait=False),
        pytest.raises(TargetBusy, match="nobody else to rotate the ledger's key"),
    ):
        rotated(ledger, ann)
    assert ledger.head() == head
    assert not key_in_force.draft_of(ledger.config).exists()


def test_of_two_rotations_at_once_one_is_done(ledger: Ledger) -> None:
    """Two that proved who they are at the same time end in one new key, which works."""
    ann, bob = enrolled(ledger), enrolled(ledger, "bob")
    both = [(Ledger(ledger.config), who) for who in (ann, bob)]
    start = threading.Barrier(2)
    ended: list[Rotation | RemediationError] = []

    def attempt(mine: Ledger, who: Enrolment) -> None:
        mark = try_code(mine, who.name, pyotp.TOTP(who.secret).at(NOW))
        start.wait(120)
        try:
            ended.append(rotate(mine, who.name, mark))
        except RemediationError as error:
            ended.append(error)

    threads = [threading.Thread(target=attempt, args=one) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    done = [one for one in ended if isinstance(one, Rotation)]
    refused = [one for one in ended if isinstance(one, TargetBusy | LedgerBroken)]
    assert (len(done), len(refused)) == (1, 1)
    now = Ledger(ledger.config)
    now.append("noted", {})
    assert verify(now).is_sound


def test_the_old_key_lies_nowhere(sqlite_ledger: Ledger, home: Path) -> None:
    """The key file is its owner's only and holds of the old key its public part."""
    path = key_file(sqlite_ledger.config)
    old = path.read_text().strip()
    ann = enrolled(sqlite_ledger)
    done = rotated(sqlite_ledger, ann)
    assert done.file == path
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    held = {file: file.read_bytes() for file in home.rglob("*") if file.is_file()}
    assert [file for file, content in held.items() if old.encode() in content] == []
    assert path.read_text().strip().endswith(f",1:{Keys.parse(old).public}")  # type: ignore[union-attr] # it is one


@given(
    master=st.binary(min_size=32, max_size=32),
    ends=st.lists(st.integers(1, 10**9), max_size=4, unique=True),
)
def test_keys_are_read_as_they_are_written(master: bytes, ends: list[int]) -> None:
    """The text of keys with any number of earlier ones gives the same keys."""
    earlier = [Retired(last, Keys(os.urandom(32)).public) for last in sorted(ends)]
    keys = Keys(master, tuple(earlier))
    read = Keys.parse(keys.text())
    assert read is not None
    assert (read.text(), read.public, read.rotated_after) == (
        keys.text(),
        keys.public,
        max(ends, default=0),
    )


@pytest.mark.parametrize("more", ["", "12", "x:y", "12:AAAA", ":"])
def test_what_is_no_earlier_key_is_refused(more: str) -> None:
    """A key file that was cut off or mistyped behind the key is no key file."""
    assert Keys.parse(f"{Keys(b'k' * 32).text()},{more}") is None


def test_the_command_rotates(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It needs the code of somebody with the role policy, and says what is left to do."""
    monkeypatch.setenv("COLUMNS", "400")
    ledger = Ledger()
    ann, eve = enrolled(ledger), approvers.add(ledger, "eve", ("approve",), "test")
    words = ["ledger", "rotate-key", "--as"]
    assert call([*words, "eve", "--code", pyotp.TOTP(eve.secret).now()]) == 3
    assert call([*words, "ann", "--code", "000000"]) == 3
    assert load_keys(ledger.config).public == ledger.keys.public
    capsys.readouterr()
    assert call([*words, "ann", "--code", pyotp.TOTP(ann.secret).now()]) == 0
    assert capsys.readouterr().out == (
        "The key is rotated: from entry 4 on the new one signs.\n"
        f"It lies in {home / 'keys' / 'ledger.key'}; keep a copy of it apart from the database.\n"
        "Start anew whatever is at work with the old one: remedy down; remedy up\n"
        "The recovery codes of ann, eve are void; for new ones: remedy approver revoke NAME, "
        "then remedy approver add NAME\n"
    )
    assert call(["ledger", "verify"]) == 0


def test_a_key_of_the_environment_is_written_to_a_file(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command names the file of the new value; until it is set nothing is recorded."""
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("REMEDY_LEDGER_KEY", Keys(os.urandom(32)).text())
    ann = enrolled(Ledger())
    code = pyotp.TOTP(ann.secret).now()
    assert call(["ledger", "rotate-key", "--as", "ann", "--code", code]) == 0
    file = home / "keys" / "ledger.key.new"
    printed = capsys.readouterr().out
    assert f"REMEDY_LEDGER_KEY still has the old one: set it to what is in {file} " in printed
    assert file.read_text().partition(",")[0] not in printed
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not key_file(Ledger().config).exists()
    with pytest.raises(LedgerBroken, match="the key that signs the ledger now"):
        Ledger().append("noted", {})
    monkeypatch.setenv("REMEDY_LEDGER_KEY", file.read_text())
    file.unlink()
    Ledger().append("noted", {})
    assert verify(Ledger()).is_sound
