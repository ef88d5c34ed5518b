"""The ledger: one unbroken chain that refuses to be changed, whoever writes to it."""

import subprocess
import sys
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import DBAPIError

from tasks.guardrails import ledger_setup
from tasks.guardrails.entries import GENESIS, Entry
from tasks.guardrails.errors import LedgerBroken
from tasks.guardrails.leases import take
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.ledger_schema import ENTRIES
from tasks.guardrails.settings import Settings
from tests.postgres_fixtures import Cluster

ROOT = Path(__file__).resolve().parents[2]
MANY = 10_000
_OTHERS = "at, kind, remediation, run, 'eve', body, previous"
APPENDER = """
import sys
from pathlib import Path
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import Settings
name, many, home, url = sys.argv[1:]
ledger = Ledger(Settings(home=Path(home), ledger_url=url))
for number in range(int(many)):
    ledger.append("counted", {"number": number}, actor=name)
"""


def appended(ledger: Ledger, many: int = 3) -> list[Entry]:
    """Append some entries, and read them."""
    for number in range(many):
        ledger.append("counted", {"number": number}, remediation="r", run="f", actor="a")
    return ledger.entries()


def breaks(entries: Iterable[Entry], ledger: Ledger) -> list[int]:
    """Give the numbers of the entries at which the chain breaks."""
    broken, seq, last = [], 0, GENESIS
    for entry in entries:
        if (
            (entry.seq, entry.previous) != (seq + 1, last)
            or entry.computed_hash() != entry.hash
            or not ledger.keys.is_signed(entry.hash, entry.signature)
        ):
            broken.append(entry.seq)
        seq, last = entry.seq, entry.hash
    return broken


def past_the_ledger(ledger: Ledger, *statements: str) -> None:
    """Run statements on the ledger's database as whoever has got hold of it."""
    with ledger.engine.connect().execution_options(writes=True) as connection, connection.begin():
        for statement in statements:
            connection.execute(sa.text(statement))


def without_triggers(ledger: Ledger, statement: str) -> None:
    """Change a SQLite file as somebody would who can write to it."""
    names = ("entries_no_update", "entries_no_delete")
    past_the_ledger(ledger, *(f"DROP TRIGGER {name}" for name in names), statement)


def test_entries_come_back_as_they_were_appended(ledger: Ledger) -> None:
    """An entry holds what was said, and each carries the hash of the one before."""
    entries = appended(ledger)
    assert [entry.facts for entry in entries] == [{"number": n} for n in range(3)]
    assert {(e.kind, e.remediation, e.run, e.actor) for e in entries} == {
        ("counted", "r", "f", "a")
    }
    assert breaks(entries, ledger) == []
    assert ledger.head() == entries[-1]


def test_entries_are_found_by_what_they_belong_to(ledger: Ledger) -> None:
    """Remediation, kind, run and place each narrow what is read."""
    appended(ledger)
    other = ledger.append("other", {}, remediation="s", run="g")
    assert ledger.entries(remediation="s") == [other]
    assert ledger.entries(kinds=("other", "never")) == [other]
    assert ledger.entries(run="g") == [other]
    assert ledger.entries(after=3) == [other]
    assert ledger.entries(remediation="s", kinds=("counted",)) == []


def test_transaction_lands_together_or_not_at_all(ledger: Ledger) -> None:
    """What was appended in a transaction that fails is not there, and the chain goes on."""
    appended(ledger, 1)

    def fail_half_way() -> None:
        with ledger.writing() as chain:
            chain.append("first", {})
            chain.append("second", {})
            message = "the step failed"
            raise RuntimeError(message)

    with pytest.raises(RuntimeError):
        fail_half_way()
    with ledger.writing() as chain:
        chain.append("third", {})
        chain.append("fourth", {})
    entries = ledger.entries()
    assert [entry.kind for entry in entries] == ["counted", "third", "fourth"]
    assert breaks(entries, ledger) == []


def test_what_is_no_json_is_not_recorded(ledger: Ledger) -> None:
    """A body that would read differently elsewhere (NaN) is refused before it is written."""
    with pytest.raises(ValueError, match="Out of range float"):
        ledger.append("counted", {"number": float("nan")})
    assert ledger.head() is None


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = '{}' WHERE seq = 1",
        "UPDATE entries SET seq = 7 WHERE seq = 2",
        "DELETE FROM entries",
        "DELETE FROM entries WHERE seq = 3",
        f"INSERT OR REPLACE INTO entries SELECT 1, {_OTHERS}, 'x', signature FROM entries",
        f"REPLACE INTO entries SELECT 9, {_OTHERS}, hash, signature FROM entries",
    ],
)
def test_sqlite_refuses_to_change_an_entry(sqlite_ledger: Ledger, statement: str) -> None:
    """Triggers refuse whatever would change or remove an entry, also by replacing it."""
    before = appended(sqlite_ledger)
    with pytest.raises(DBAPIError, match="the ledger is append-only"):
        past_the_ledger(sqlite_ledger, statement)
    assert sqlite_ledger.entries() == before


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entries SET body = '{}' WHERE seq = 1",
        "DELETE FROM entries",
        "DELETE FROM entries WHERE false",
        "TRUNCATE entries",
        "INSERT INTO entries SELECT * FROM entries ON CONFLICT (seq) DO UPDATE SET actor = 'eve'",
    ],
)
def test_postgresql_refuses_even_the_owner(
    postgresql_ledger: Ledger, postgres_cluster: Cluster, statement: str
) -> None:
    """Triggers refuse the superuser as well as the owner of the tables."""
    before = appended(postgresql_ledger)
    name = postgresql_ledger.engine.url.database
    assert name
    for role in ("postgres", f"{name}_owner"):
        with pytest.raises(Exception, match="the ledger is append-only"):
            postgres_cluster.run(f"SET ROLE {role}; {statement}", name)
    assert postgresql_ledger.entries() == before


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ("UPDATE entries SET body = '{}'", "permission denied for table entries"),
        ("DELETE FROM entries", "permission denied for table entries"),
        ("TRUNCATE entries", "permission denied for table entries"),
        ("DROP TABLE entries", "must be owner of table entries"),
        ("DROP TRIGGER entries_append_only ON entries", "must be owner of relation entries"),
        ("ALTER TABLE entries DISABLE TRIGGER ALL", "must be owner of table entries"),
        ("DROP FUNCTION entries_refuse() CASCADE", "must be owner of function entries_refuse"),
        ("UPDATE ledger_version SET version_num = '9'", "permission denied"),
        ("SET session_replication_role = replica", "permission denied to set parameter"),
    ],
)
def test_writer_does_not_own_the_tables(
    postgresql_ledger: Ledger, statement: str, refusal: str
) -> None:
    """The role of the engine may append and read, and nothing beyond."""
    before = appended(postgresql_ledger)
    with pytest.raises(DBAPIError, match=refusal):
        past_the_ledger(postgresql_ledger, statement)
    assert postgresql_ledger.entries() == before


@pytest.mark.parametrize("column", ["at", "kind", "remediation", "run", "actor", "body"])
def test_tampered_entry_is_refused_when_it_is_read(sqlite_ledger: Ledger, column: str) -> None:
    """Whoever changes the file past the triggers has changed an entry that counts no more."""
    appended(sqlite_ledger)
    without_triggers(sqlite_ledger, f"UPDATE entries SET {column} = {column} || ' ' WHERE seq = 2")
    with pytest.raises(LedgerBroken) as refused:
        sqlite_ledger.entries()
    assert str(refused.value) == (
        "Expected: entry 2 as it was written and signed. "
        "Found: other contents or a signature that is not ours. State: Nothing was changed. "
        "Do next: Run `remedy ledger verify`, and find out who writes to the database."
    )
    assert len(sqlite_ledger.entries(after=2)) == 1


def test_forged_entry_with_a_right_hash_is_refused(ledger: Ledger) -> None:
    """A hash can be computed by anybody; without the key there is no signature to it."""
    last = appended(ledger)[-1]
    forged = Entry(**{**vars(last), "seq": 4, "kind": "decided", "previous": last.hash, "hash": ""})
    row = {**vars(forged), "hash": forged.computed_hash()}
    with ledger.writing() as chain:
        chain.connection.execute(ENTRIES.insert().values(**row))
    with pytest.raises(LedgerBroken, match="entry 4"):
        ledger.entries(kinds=("decided",))


@pytest.mark.timeout(900)
def test_two_processes_end_in_one_unbroken_chain(ledger: Ledger) -> None:
    """Two processes that append 10,000 entries each at once never fork the chain."""
    ledger.append("counted", {"number": -1}, actor="first")
    url = ledger.config.ledger
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDER, name, str(MANY), str(ledger.config.home), url],
            cwd=ROOT,
        )
        for name in ("one", "two")
    ]
    assert [process.wait(timeout=800) for process in processes] == [0, 0]
    entries = ledger.entries()
    assert len(entries) == 2 * MANY + 1
    assert breaks(entries, ledger) == []
    for name in ("one", "two"):
        numbers = [entry.facts["number"] for entry in entries if entry.actor == name]
        assert numbers == list(range(MANY))
    turns = sum(one.actor != other.actor for one, other in pairwise(entries))
    assert turns > 10, "they were not at work at the same time"


def test_a_writer_that_stops_holds_nobody_up(
    postgresql_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its transaction is ended; it learns so where it goes on, and has written nothing."""
    monkeypatch.setattr(ledger_setup, "_IDLE_SECONDS", 1)
    stopped = Ledger(postgresql_ledger.config)

    def write() -> None:
        with stopped.writing() as chain:
            postgresql_ledger.append("other", {})  # waits until the transaction is ended
            chain.append("late", {})

    with pytest.raises(LedgerBroken):
        write()
    assert [entry.kind for entry in postgresql_ledger.entries()] == ["other"]


def test_older_database_is_brought_up_to_date(home: Path) -> None:
    """A ledger of an earlier version is migrated where it is opened, with all that is in it."""
    home.mkdir(parents=True, exist_ok=True)
    config = Config()
    config.set_main_option("script_location", str(ledger_setup.MIGRATIONS))
    engine = sa.create_engine(f"sqlite:///{home / 'ledger.db'}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.exec_driver_sql(
            "INSERT INTO leases VALUES ('target:demo', 7, 'abc', 'run', 'host', 1, 1.5, 0, '')"
        )
    engine.dispose()
    ledger = Ledger(Settings(home=home))
    assert ledger_setup.revision(ledger.engine) == ledger_setup.REVISION
    assert take(ledger, "target:demo", "next", "run").token == 8
    appended(ledger)


def test_a_session_cut_while_it_reads_is_opened_anew(
    postgresql_ledger: Ledger, postgres_cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that restarts between two reads is waited for: nothing is undone for it."""
    postgresql_ledger.append("requested", {}, remediation="a")
    cut = postgresql_ledger.engine.connect()
    pid = cut.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    postgres_cluster.run(f"SELECT pg_terminate_backend({pid}, 5000)")
    connections = iter([cut])
    connect = Ledger._connect  # noqa: SLF001 - given a session that was cut
    monkeypatch.setattr(
        Ledger, "_connect", lambda ledger: next(connections, None) or connect(ledger)
    )
    assert [entry.remediation for entry in postgresql_ledger.entries()] == ["a"]
