"""What is wrong with a database's data is found and told, and nothing is changed."""

import os
import re
import time
from itertools import product
from typing import Any

import pytest
from psycopg import Connection

from flows.database.check_integrity import check_integrity
from flows.database.rebuild_indexes import rebuild_indexes
from infra.sandbox.damage import Damage, damage
from infra.sandbox.load import USER, Load
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from tasks.database.integrity import foreign_keys
from tasks.database.integrity.foreign_keys import verify_foreign_keys
from tasks.database.integrity.heaps import verify_tables
from tasks.database.integrity.numbered_columns import list_numbered
from tasks.database.sequences import raise_sequences
from tasks.guardrails.plan import Finding
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import carry_out
from tests.prefect_fixtures import Runs

JOINS = (
    *("enable_nestloop", "enable_hashjoin", "enable_mergejoin"),
    *("enable_indexscan", "enable_bitmapscan"),
)
ODD = """
    CREATE SCHEMA "Odd one";
    CREATE TABLE "Odd one"."Pa""rent" (a int, b int, PRIMARY KEY (a, b));
    CREATE TABLE "Odd one".child (
      x int, "Y" int, up int REFERENCES "Odd one".child, id int PRIMARY KEY,
      FOREIGN KEY (x, "Y") REFERENCES "Odd one"."Pa""rent" MATCH FULL);
    CREATE TABLE "Odd one".parts (k int, up int REFERENCES "Odd one".child) PARTITION BY LIST (k);
    CREATE TABLE "Odd one".part PARTITION OF "Odd one".parts DEFAULT;
    SET session_replication_role = replica;
    INSERT INTO "Odd one".child VALUES (1, NULL, NULL, 1), (NULL, NULL, 9, 2), (7, 8, 1, 3);
    INSERT INTO "Odd one".parts VALUES (1, 1), (2, 77)
"""

INHERITED = """
    CREATE SCHEMA heirs;
    CREATE TABLE heirs.parent (id int PRIMARY KEY);
    CREATE TABLE heirs.child () INHERITS (heirs.parent);
    CREATE TABLE heirs.points (up int REFERENCES heirs.parent);
    SET session_replication_role = replica;
    INSERT INTO heirs.child VALUES (1);
    INSERT INTO heirs.points SELECT generate_series(1, 8)
"""
PERIODS = """
    CREATE SCHEMA lent;
    CREATE TABLE lent.prices (item int4range, at tsrange,
      CONSTRAINT prices_key PRIMARY KEY (item, at WITHOUT OVERLAPS));
    CREATE TABLE lent.sales (item int4range, at tsrange,
      CONSTRAINT has_price FOREIGN KEY (item, PERIOD at) REFERENCES lent.prices (item, PERIOD at));
    CREATE TABLE lent.numbers (id int PRIMARY KEY);
    CREATE TABLE lent.notes (item int REFERENCES lent.numbers NOT ENFORCED);
    SET session_replication_role = replica;
    INSERT INTO lent.prices VALUES ('[1,2)', '[2020-01-01, 2021-01-01)'),
      ('[1,2)', '[2021-01-01, 2022-01-01)');
    INSERT INTO lent.sales VALUES ('[1,2)', '[2020-06-01, 2021-06-01)'),
      ('[1,2)', '[2021-06-01, 2022-06-01)'), ('[2,3)', '[2020-06-01, 2020-07-01)'),
      (NULL, '[2020-06-01, 2020-07-01)');
    INSERT INTO lent.notes VALUES (7)
"""


def make_older(session: Connection[Any], table: str) -> None:
    """Have a table admit no row that is as old as those in it; they can be read all the same."""
    if session.info.server_version < 140000:
        pytest.skip("verify_heapam, which alone sees it, came with PostgreSQL 14")
    session.execute(
        "UPDATE pg_class SET relfrozenxid = pg_current_xact_id()::xid WHERE oid = %s::regclass",
        [table],
    )


def findings(runs: Runs, sandbox: Planner, outcome: str) -> list[Finding]:
    """Check it while users work; none of their requests fails."""
    load = Load(sandbox.url, sandbox.settings.accounts[USER], rate=10)
    load.start()
    try:
        case, state = carry_out(runs, sandbox, check_integrity)
    finally:
        seen = load.stop()
    assert state.name == outcome, state.message
    assert (seen.failed, seen.missing) == (0, []), seen.answers
    return list(case.stages[0].stage.findings)


def test_a_sound_database(runs: Runs, planner: Planner) -> None:
    """All of it was looked at: tables, indexes, foreign keys, and nothing is to be run."""
    found = findings(runs, planner, "Unchanged")
    assert "none is damaged; pages have checksums." in found[0].what
    assert re.match(r"Of (\d+) indexes \1 are sound", found[1].what)
    assert "none has rows that point at nothing" in found[2].what
    assert not any(one.rows for one in found)


@pytest.mark.parametrize(
    ("kind", "place", "said", "run"),
    [
        (Damage.INDEX_ORDER, 1, "ix_actuals_project_id", "rebuild_indexes"),
        (Damage.FOREIGN_KEYS_VIOLATED, 2, "projects", "restore_from_backup"),
    ],
)
def test_damage_is_told_with_what_to_run(
    runs: Runs, sandbox: Sandbox, kind: Damage, place: int, said: str, run: str
) -> None:
    """In its own finding; the others stay clean."""
    damage(sandbox, kind)
    case, state = carry_out(runs, sandbox, check_integrity)
    assert state.name == "Advised", state.message
    found = case.stages[0].stage.findings
    assert run in found[place].patch
    assert said in str(found[place].rows)
    assert [one.patch for one in found if one is not found[place]] == [""] * (len(found) - 1)


def test_what_could_not_be_looked_at_is_told_with_what_lets_it(
    runs: Runs, sandbox: Sandbox
) -> None:
    """Without amcheck, and with no right to the server's files; what it says to run is enough."""
    targets.give(SandboxTarget(**sandbox.target_settings(limited=True)))
    with sandbox.connect() as session:
        session.execute("DROP EXTENSION amcheck")
    case, state = carry_out(runs, sandbox, check_integrity)
    assert state.name == "Advised", state.message
    found = case.stages[0].stage.findings
    assert "0 are sound" in found[1].what
    assert "CREATE EXTENSION amcheck" in found[1].patch
    assert "cannot be looked for" in found[3].what
    with sandbox.connect() as session:
        for line in (found[1].patch + "\n" + found[3].patch).splitlines():
            if line.endswith(";"):
                session.execute(line.encode())
    assert not any(one.rows for one in findings(runs, sandbox, "Unchanged"))


def test_amcheck_that_may_not_be_used_is_told_where_indexes_are_rebuilt(
    runs: Runs, sandbox: Sandbox
) -> None:
    """It does not end as if all of them were sound."""
    targets.give(SandboxTarget(**sandbox.target_settings(limited=True)))
    with sandbox.connect() as session:
        for arguments in ("regclass", "regclass, boolean"):
            session.execute(
                f"REVOKE EXECUTE ON FUNCTION bt_index_check({arguments}) FROM "
                f"{sandbox.settings.maintenance_user}".encode()
            )
    case, state = carry_out(runs, sandbox, rebuild_indexes)
    assert state.name == "Advised", state.message
    assert "GRANT EXECUTE ON FUNCTION" in case.stages[0].stage.findings[0].patch


def test_tables_are_verified_where_only_that_is_granted(sandbox: Sandbox) -> None:
    """A row that reads well, and is older than its table admits, is seen by verify_heapam alone."""
    with sandbox.connect() as session:
        session.autocommit = True
        session.execute("CREATE TABLE older (n int)")
        session.execute("INSERT INTO older VALUES (1)")
        make_older(session, "older")
        for arguments in ("regclass", "regclass, boolean"):
            session.execute(
                f"REVOKE EXECUTE ON FUNCTION bt_index_check({arguments}) FROM "
                f"{sandbox.settings.maintenance_user}".encode()
            )
    limited = SandboxTarget(**sandbox.target_settings(limited=True))
    damaged = [one for one in verify_tables(limited.database) if one.damage]
    assert [one.table for one in damaged] == ["public.older"]


def test_a_damaged_materialised_view_is_made_anew(runs: Runs, sandbox: Sandbox) -> None:
    """No backup is needed for it; one that holds nothing yet is no finding."""
    with sandbox.connect() as session:
        session.autocommit = True
        session.execute('CREATE SCHEMA "Odd one"')
        session.execute('CREATE MATERIALIZED VIEW "Odd one".seen AS SELECT 1 AS n')
        session.execute('CREATE MATERIALIZED VIEW "Odd one".empty AS SELECT 1 AS n WITH NO DATA')
        make_older(session, '"Odd one".seen')
    (pages,) = [one for one in findings(runs, sandbox, "Advised") if one.patch]
    assert [name for name, _ in pages.rows] == ["Odd one.seen"]
    command = pages.patch.partition(";")[0]
    assert command == 'REFRESH MATERIALIZED VIEW "Odd one"."seen"'
    with sandbox.connect() as session:
        session.execute(command.encode())
    assert not any(one.rows for one in findings(runs, sandbox, "Unchanged"))


def test_a_sequence_that_may_not_be_read_is_not_called_behind(runs: Runs, sandbox: Sandbox) -> None:
    """Nothing was seen of it: that no insert fails is not said, nor that one does."""
    targets.give(SandboxTarget(**sandbox.target_settings(limited=True)))
    with sandbox.connect() as session:
        if session.info.server_version < 140000:
            pytest.skip("pg_read_all_data, which is taken away here, came with PostgreSQL 14")
        user = sandbox.settings.maintenance_user
        session.execute("CREATE TABLE hidden (id serial PRIMARY KEY)")
        session.execute(f"REVOKE pg_read_all_data FROM {user}".encode())
    case, state = carry_out(runs, sandbox, check_integrity)
    assert state.name == "Advised", state.message
    (told,) = [one for one in case.stages[0].stage.findings if "sequence" in one.what]
    assert told.what.startswith("No sequence is behind"), told.what
    assert "could not be looked at" in told.what
    assert "inserts fail" not in told.what


def test_amcheck_is_found_in_whatever_schema_it_is(runs: Runs, sandbox: Sandbox) -> None:
    """One whose name needs quotes as well: a damaged index is told, and every table is read."""
    with sandbox.connect() as session:
        session.execute('CREATE SCHEMA "Odd ""one"; ALTER EXTENSION amcheck SET SCHEMA "Odd ""one"')
    damage(sandbox, Damage.INDEX_ORDER)
    found = findings(runs, sandbox, "Advised")
    assert "ix_actuals_project_id" in str(found[1].rows)
    assert "not " not in found[0].what, found[0].what


def test_a_damaged_page_of_a_table(runs: Runs, sandbox: Sandbox) -> None:
    """The table is told; what needs its rows (its indexes, keys to it) cannot be looked at."""
    damage(sandbox, Damage.HEAP_PAGE)
    case, state = carry_out(runs, sandbox, check_integrity)
    assert state.name == "Advised", state.message
    pages = case.stages[0].stage.findings[0]
    assert "1 is damaged" in pages.what
    assert pages.rows[0][0] == "public.projects"
    assert pages.patch == "restore_from_backup"
    assert "not looked at" in str(case.stages[0].stage.findings[2].rows)


def test_sequences_and_left_files(runs: Runs, sandbox: Sandbox) -> None:
    """A copy by hand set no sequence; a server that was killed has left a file."""
    with sandbox.connect() as session:
        session.execute("CREATE TABLE numbered (id serial PRIMARY KEY, fine bigserial)")
        session.execute("INSERT INTO numbered (id) SELECT generate_series(1, 10)")
        session.execute("CREATE SEQUENCE shared")
        for name, most in (("one", 5), ("other", 8)):
            session.execute(
                f"CREATE TABLE {name} (id int PRIMARY KEY DEFAULT nextval('shared'))".encode()
            )
            session.execute(f"INSERT INTO {name} VALUES ({most})".encode())
        row = session.execute("SELECT oid FROM pg_database WHERE datname = 'planner'").fetchone()
    assert row
    file = sandbox.cluster.data / "base" / str(row[0]) / "999999"
    file.write_bytes(b"x" * 8192)
    past = time.time() - 3600
    os.utime(file, (past, past))
    try:
        case, state = carry_out(runs, sandbox, check_integrity)
    finally:
        file.unlink()
    assert state.name == "Advised", state.message
    sequences, files = case.stages[0].stage.findings[3:]
    assert sequences.rows == (
        ("numbered_id_seq", "numbered.id", "10"),
        ("shared", "one.id", "5"),
        ("shared", "other.id", "8"),
    )
    assert sequences.patch.splitlines() == [
        "SELECT setval('numbered_id_seq', 10);",
        "SELECT setval('shared', 8);",
    ]
    assert [name.rpartition("/")[2] for name, _ in files.rows] == ["999999"]


def test_sequences_are_found_in_whatever_order_the_catalogue_is_joined(sandbox: Sandbox) -> None:
    """The server may ask for a right before it knows whether it is a sequence's."""
    with targets.load("sandbox").database.connect() as session:
        session.execute("CREATE TABLE numbered (id serial PRIMARY KEY)")
        session.execute("INSERT INTO numbered VALUES (7)")
        session.execute("ANALYZE")
        for off in product(("on", "off"), repeat=len(JOINS)):
            for setting, value in zip(JOINS, off, strict=True):
                session.execute("SELECT set_config(%s, %s, false)", (setting, value))
            listed = list_numbered(session)
            assert ("numbered_id_seq", "numbered.id") in [
                (one["sequence"], one["shown"]) for one in listed
            ]
    assert sandbox.settings.name == "sandbox"


def test_sequences_are_set_forward_and_never_back(sandbox: Sandbox) -> None:
    """Up or down, used or not; one that may not be set is left out, and is no error."""
    with targets.load("sandbox").database.connect() as session:
        session.execute("CREATE SEQUENCE of_another")
        session.execute(f"SET ROLE {sandbox.settings.application_user}".encode())
        session.execute('CREATE SEQUENCE "Up %s"')
        session.execute("CREATE SEQUENCE down INCREMENT -1")
        session.execute("CREATE SEQUENCE far START 50")
        session.execute("SELECT setval('down', -5)")
        names = ("of_another", "Up %s", "down", "far")
        wanted = {("public", name): value for name, value in zip(names, (9, 7, -8, 3), strict=True)}
        assert raise_sequences(session, wanted) == 2
        assert raise_sequences(session, wanted | {("public", "down"): -2}) == 0
        nexts = [
            session.execute("SELECT nextval(%s::regclass) AS n", (f'"{name}"',)).fetchone()
            for name in names[1:]
        ]
    assert [row["n"] for row in nexts if row] == [8, -9, 50]


def test_keys_of_several_columns_and_odd_names(sandbox: Sandbox) -> None:
    """MATCH FULL, partitions, a table that points at itself, names that need quotes."""
    with sandbox.connect() as session:
        for statement in ODD.split(";"):
            session.execute(statement)
    found = {
        (one.table, one.columns): one.orphans
        for one in verify_foreign_keys(targets.load("sandbox").database)
        if one.table.startswith("Odd one")
    }
    assert found == {
        ("Odd one.child", ("x", "Y")): 2,
        ("Odd one.child", ("up",)): 1,
        ("Odd one.parts", ("up",)): 1,
    }


def test_keys_of_those_that_inherit_do_not_count_and_few_are_shown(sandbox: Sandbox) -> None:
    """A key in a child of the table that is pointed at is none of that table's."""
    with sandbox.connect() as session:
        for statement in INHERITED.split(";"):
            session.execute(statement.encode())
    (found,) = [
        one
        for one in verify_foreign_keys(targets.load("sandbox").database)
        if one.table == "heirs.points"
    ]
    assert (found.orphans, len(found.examples)) == (8, 5)


def test_a_large_table_is_read_in_batches(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a few pages each here: what points at nothing is counted once, wherever it lies."""
    monkeypatch.setattr(foreign_keys, "_BATCH", 3)
    with sandbox.connect() as session:
        session.execute("CREATE TABLE counted (id int PRIMARY KEY)")
        session.execute("INSERT INTO counted SELECT generate_series(1, 5000)")
        session.execute("CREATE TABLE points (id int REFERENCES counted)")
        session.execute("INSERT INTO points SELECT generate_series(1, 5000)")
        session.execute("SET session_replication_role = replica")
        session.execute("DELETE FROM counted WHERE id % 1000 = 7")
        pages = session.execute("SELECT pg_relation_size('points') / 8192").fetchone()
    assert pages
    assert pages[0] > 10
    (found,) = [
        one
        for one in verify_foreign_keys(targets.load("sandbox").database)
        if one.table == "public.points"
    ]
    assert (found.orphans, sorted(map(int, found.examples))) == (5, [7, 1007, 2007, 3007, 4007])


def test_rows_that_a_policy_hides_are_not_taken_for_missing(sandbox: Sandbox) -> None:
    """What only a part of can be seen counts as not looked at."""
    targets.give(SandboxTarget(**sandbox.target_settings(limited=True)))
    with sandbox.connect() as session:
        session.execute(f"SET ROLE {sandbox.settings.application_user}".encode())
        session.execute("CREATE POLICY none ON programs USING (false)")
        session.execute("ALTER TABLE programs ENABLE ROW LEVEL SECURITY")
        session.execute("ALTER TABLE programs FORCE ROW LEVEL SECURITY")
    found = [
        one
        for one in verify_foreign_keys(targets.load("sandbox").database)
        if one.points_at == "public.programs"
    ]
    assert found
    assert [one.orphans for one in found] == [0] * len(found)
    assert all("row-level security" in one.unread for one in found)


def test_keys_of_periods_and_keys_that_are_not_enforced(sandbox: Sandbox) -> None:
    """A range is covered by several rows together; what is not enforced may lead nowhere."""
    with sandbox.connect() as session:
        if session.info.server_version < 180000:
            pytest.skip("PostgreSQL 18 brought both")
        for statement in PERIODS.split(";"):
            session.execute(statement)
    found = {
        one.name: (one.orphans, len(one.examples))
        for one in verify_foreign_keys(targets.load("sandbox").database)
        if one.table.startswith("lent.")
    }
    assert found == {"has_price": (2, 2)}
