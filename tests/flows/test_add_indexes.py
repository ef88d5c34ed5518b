"""add_indexes on a sandbox under load, on which indexes are missing for real."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import sql

from flows.help.undo_remediation import undo_remediation
from flows.performance.add_indexes import add_indexes
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from infra.sandbox.settings import HOST
from tasks.database.indexes.costs import Measured, read_unjudged, unjudged
from tasks.database.indexes.create_index import CreateIndex, name_of_index
from tasks.database.indexes.judge_index import JudgeIndex
from tasks.database.indexes.key_widths import find_long
from tasks.database.indexes.made import find_made, write_comment
from tasks.database.indexes.missing_indexes import find_missing_indexes
from tasks.database.indexes.statistics import find_covering, list_heaps
from tasks.guardrails.case import Case
from tasks.guardrails.errors import Transient, WorldMoved
from tasks.guardrails.plan import Standing, Work
from tasks.platforms import targets
from tests.approving import carry_out
from tests.prefect_fixtures import Runs
from tests.snapshots import snapshot
from tests.users import under_load
from tests.waiting import until

SECRET = "Erika-Mustermann-1964"
ODD_TABLE, ODD_COLUMN = "Odd \"Table's", 'The "Column %s'
ID = "abcde23456"
LOST = "ix_actuals_worker_id"


@pytest.fixture(autouse=True)
def no_superuser(request: pytest.FixtureRequest) -> None:
    """Have remediations connect as a user that is no superuser."""
    of_platform = "planner" in request.fixturenames
    system: Planner = request.getfixturevalue("planner" if of_platform else "sandbox")
    block = type(targets.load(system.settings.name))
    targets.give(block(**system.target_settings(limited=True)))


def as_owner(sandbox: Planner, *statements: str | sql.Composed) -> None:
    """Run statements as the owner of the tables."""
    with sandbox.connect() as session:
        session.execute("SET ROLE planner")
        for statement in statements:
            session.execute(statement.encode() if isinstance(statement, str) else statement)


def as_application(sandbox: Sandbox, query: sql.Composed | str, times: int = 5) -> None:
    """Run a query as the application does, with its values in its text."""
    with psycopg.connect(
        host=HOST,
        port=sandbox.settings.ports["postgresql"],
        dbname=sandbox.settings.database,
        user="planner",
        password=sandbox.settings.application_password,
    ) as session:
        for _ in range(times):
            session.execute(query.encode() if isinstance(query, str) else query)


def lose_an_index(sandbox: Planner) -> None:
    """Let a table grow, and drop the index of one of its foreign keys."""
    columns = "project_id, worker_id, actual_date, hours, cost, created_at, updated_at"
    as_owner(
        sandbox,
        # A vacuum that comes at some moment would change what the planner thinks it costs.
        "ALTER TABLE actuals SET (autovacuum_enabled = false)",
        f"INSERT INTO actuals (id, {columns}) SELECT md5(id::text || n)::uuid, {columns} "
        "FROM actuals, generate_series(1, 6) n",
        f"DROP INDEX {LOST}",
        "ANALYZE actuals",
    )


def indexes(sandbox: Planner) -> dict[str, tuple[object, ...]]:
    """Read the indexes: name -> valid, definition, comment."""
    with sandbox.connect() as session:
        rows = session.execute(
            "SELECT indexrelid::regclass::text, indisvalid, pg_get_indexdef(indexrelid), "
            "obj_description(indexrelid, 'pg_class') FROM pg_index WHERE indrelid >= 16384"
        ).fetchall()
    return {str(row[0]): tuple(row[1:]) for row in rows}


def rows_of(case: Case, number: int = 0) -> tuple[tuple[str, ...], ...]:
    """Give the table of a finding; the first is that of the candidates."""
    return case.stages[0].stage.findings[number].rows


def plan_of(sandbox: Planner, query: str) -> str:
    """Ask for a plan as an administrator would."""
    with sandbox.connect() as session:
        return "\n".join(str(row[0]) for row in session.execute(f"EXPLAIN {query}".encode()))


def test_a_lost_index_is_made_again_and_undone_under_load(runs: Runs, planner: Planner) -> None:
    """It is found by its foreign key, used by the planner, and its undo leaves nothing."""
    lose_an_index(planner)
    before, original = indexes(planner), snapshot(planner, without_load=True)
    query = "SELECT * FROM actuals WHERE worker_id = (SELECT id FROM workers LIMIT 1)"
    assert "Seq Scan on actuals" in plan_of(planner, query)
    with under_load(planner):
        case, state = carry_out(runs, planner, add_indexes)
    assert state.name == "Remediated", state.message
    after = indexes(planner)
    (name,) = set(after) - set(before)
    assert name.endswith(f"_{case.id}_1")
    valid, definition, comment = after[name]
    assert valid
    assert str(definition).endswith("ON public.actuals USING btree (worker_id)")
    told = rf"remedy {case.id} kept: added \d{{4}}-\d\d-\d\d for foreign key .*; kept, as .*"
    assert re.fullmatch(told, str(comment)), comment
    assert [one for one in case.of_kind("done") if "is kept: cost" in str(one.facts["note"])]
    assert name in plan_of(planner, query)
    assert {one: after[one] for one in before} == before
    assert snapshot(planner, without_load=True).rows == original.rows
    (watched,) = case.of_kind("watched")
    assert watched.facts["failed"] == 0

    with under_load(planner):
        _, ended = carry_out(runs, planner, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    assert indexes(planner) == before
    assert snapshot(planner, without_load=True) == original


def test_nothing_is_made_without_need(runs: Runs, sandbox: Sandbox) -> None:
    """Every foreign key has its index: unused ones and tables are shown, nothing differs."""
    before, original = indexes(sandbox), snapshot(sandbox)
    case, state = carry_out(runs, sandbox, add_indexes)
    assert state.name == "Unchanged", state.message
    assert (indexes(sandbox), snapshot(sandbox)) == (before, original)
    said = [one.what for one in case.stages[0].stage.findings]
    assert "0 indexes might be missing" in said[0]
    assert [one for one in said if "that no scan has used since" in one]
    assert not [row for row in rows_of(case, -1) if "_pkey" in row[0] or "_key" in row[0]]


def make_odd_table(sandbox: Sandbox) -> sql.Composed:
    """Make a table with odd names; gives a commented query that reads all of it for one row."""
    table, column = sql.Identifier(ODD_TABLE), sql.Identifier(ODD_COLUMN)
    as_owner(
        sandbox,
        sql.SQL("CREATE TABLE {} (id int PRIMARY KEY, {} varchar(60), day date)").format(
            table, column
        ),
        sql.SQL(
            "INSERT INTO {} SELECT n, 'name ' || n, date '2024-01-01' + n % 300 "
            "FROM generate_series(1, 20000) n"
        ).format(table),
        sql.SQL("ANALYZE {}").format(table),
    )
    return sql.SQL(
        "/* {} */ SELECT * FROM {} WHERE {} = {} AND day >= '2024-03-01' ORDER BY 1"
    ).format(sql.SQL(SECRET), table, column, sql.Literal(SECRET))


def test_a_slow_query_gets_its_index_and_shows_no_value(runs: Runs, sandbox: Sandbox) -> None:
    """By pg_stat_statements, whatever its names are; what users looked for is shown nowhere."""
    query = make_odd_table(sandbox)
    as_application(sandbox, query)
    before = indexes(sandbox)
    case, state = carry_out(runs, sandbox, add_indexes, tables=[ODD_TABLE])
    assert state.name == "Remediated", state.message
    ((name, made),) = [one for one in indexes(sandbox).items() if one[0] not in before]
    assert made[0]
    assert f"({sql.Identifier(ODD_COLUMN).as_string()}, day)" in str(made[1])
    with sandbox.connect() as session:
        plan = session.execute(sql.SQL("EXPLAIN {}").format(query)).fetchall()
    assert name.strip('"').replace('""', '"').removeprefix("public.") in str(plan).replace(
        '""', '"'
    ).replace("\\'", "'")
    told = case.stages[0].stage.model_dump_json()
    assert "$1" in told
    assert SECRET not in told

    _, ended = carry_out(runs, sandbox, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    assert indexes(sandbox) == before


def test_what_may_be_too_long_is_advised_and_not_made(runs: Runs, sandbox: Sandbox) -> None:
    """A later row's text may be beyond what an entry holds: no write may fail for our index."""
    as_owner(
        sandbox,
        "CREATE TABLE parcels (id int PRIMARY KEY, code text, day date)",
        "INSERT INTO parcels SELECT n, 'code ' || n, date '2024-01-01' + n % 300 "
        "FROM generate_series(1, 30000) n",
        "ANALYZE parcels",
    )
    as_application(sandbox, "SELECT id FROM parcels WHERE code = 'x'")
    before = indexes(sandbox)
    case, state = carry_out(runs, sandbox, add_indexes, tables=["parcels"])
    assert state.name == "Advised", state.message
    assert indexes(sandbox) == before
    (row,) = rows_of(case)
    assert row[0] == "public.parcels (code)"
    assert "code may be longer than an index can hold" in row[4]
    (told,) = [one for one in case.stages[0].stage.findings if "2,700 bytes" in one.what]
    assert 'CREATE INDEX CONCURRENTLY ON "public"."parcels" ("code")' in told.patch
    as_owner(
        sandbox,
        "INSERT INTO parcels SELECT 0, string_agg(md5(n::text), ''), date '2024-01-01' "
        "FROM generate_series(1, 300) n",
    )

    as_application(sandbox, "SELECT id FROM parcels WHERE code = 'x' AND day = '2024-02-01'", 50)
    case, state = carry_out(runs, sandbox, add_indexes, tables=["parcels"])
    assert state.name == "Remediated", state.message
    ((_, made),) = [one for one in indexes(sandbox).items() if one[0] not in before]
    assert str(made[1]).endswith("ON public.parcels USING btree (day)")


def test_which_columns_may_be_too_long(sandbox: Sandbox) -> None:
    """By type and by what all columns of a key may take together, whatever rows are there."""
    as_owner(
        sandbox,
        "CREATE DOMAIN code AS varchar(40)",
        "CREATE DOMAIN short_code AS code",
        "CREATE TABLE widths (a text, b varchar, c varchar(100), d varchar(2000), e bytea, "
        "f jsonb, g int[], h numeric, i uuid, j inet, k date, l short_code, m char(3), n bit(9), "
        "o varchar(600), p timestamptz, q varchar(9)[], r daterange)",
    )
    with targets.load("sandbox").database.connect() as session:
        (heap,) = [one for one in list_heaps(session) if one.name == "widths"]
        for column in "abdefgq":
            assert find_long(session, heap, (column,)) == (column,)
        for column in "chijklmnopr":
            assert find_long(session, heap, (column,)) == ()
        assert find_long(session, heap, ("o", "c", "i")) == ("o",)
        assert find_long(session, heap, ("a", "i", "k")) == ("a",)


def test_an_index_that_does_not_help_is_dropped_again(runs: Runs, sandbox: Sandbox) -> None:
    """All rows have one value: the planner goes on reading the table, and the record says so."""
    as_owner(
        sandbox,
        "CREATE TABLE deliveries (id int PRIMARY KEY, program_id uuid REFERENCES programs)",
        "INSERT INTO deliveries SELECT n, (SELECT min(id::text)::uuid FROM programs) "
        "FROM generate_series(1, 30000) n",
        "ANALYZE deliveries",
    )
    before, original = indexes(sandbox), snapshot(sandbox)
    case, state = carry_out(runs, sandbox, add_indexes)
    assert state.name == "Remediated", state.message
    notes = [str(entry.facts["note"]) for entry in case.of_kind("done")]
    assert "did not help and is dropped" in notes[-1]
    assert "the planner does not use it" in notes[-1]
    assert (indexes(sandbox), snapshot(sandbox)) == (before, original)


def test_only_so_many_are_made_and_small_tables_are_left(runs: Runs, sandbox: Sandbox) -> None:
    """The one that may save most comes first; the others are listed, and why."""
    lose_an_index(sandbox)
    as_owner(
        sandbox,
        "CREATE TABLE few (program_id uuid REFERENCES programs)",
        "CREATE TABLE many (id int, program_id uuid REFERENCES programs)",
        "INSERT INTO many SELECT n, p.id FROM generate_series(1, 6000) n, programs p",
        "ANALYZE",
    )
    before = indexes(sandbox)
    case, state = carry_out(runs, sandbox, add_indexes, at_most=1)
    assert state.name == "Remediated", state.message
    assert len(indexes(sandbox)) == len(before) + 1
    assert [row[4] for row in rows_of(case)] == ["made", "not in this run: at most 1 index"]
    small = [one for one in case.stages[0].stage.findings if "read faster as a whole" in one.what]
    assert ("public.few (program_id)",) in small[0].rows


def test_a_table_that_is_not_there(runs: Runs, sandbox: Sandbox) -> None:
    """The error names it, and nothing was touched."""
    before = indexes(sandbox)
    _, state = carry_out(runs, sandbox, add_indexes, tables=["projcts"])
    assert state.name == "Refused", state.message
    assert "'projcts': no such table" in (state.message or "")
    assert indexes(sandbox) == before


def test_a_locked_table_is_not_waited_for(sandbox: Sandbox) -> None:
    """Its size waits for the lock: a second, and it may be tried again."""
    with sandbox.connect() as holder, holder.transaction():
        holder.execute("LOCK TABLE projects")
        with pytest.raises(Transient, match="lock timeout"):
            find_missing_indexes("sandbox", 3, None, ID)


def test_a_table_of_somebody_else_is_advised(runs: Runs, sandbox: Sandbox) -> None:
    """The maintenance user may make no index on it: the statement is told, and who has to."""
    with sandbox.connect() as session:
        session.execute('CREATE TABLE "Theirs" (id int, "The Program" uuid REFERENCES programs)')
        session.execute(
            'INSERT INTO "Theirs" SELECT n, p.id FROM generate_series(1, 6000) n, programs p'
        )
        session.execute('GRANT SELECT ON "Theirs" TO PUBLIC')
        session.execute("ANALYZE")
    before = indexes(sandbox)
    case, state = carry_out(runs, sandbox, add_indexes)
    assert state.name == "Advised", state.message
    advice = case.stages[0].stage.findings[0].patch
    told = 'CREATE INDEX CONCURRENTLY ON "public"."Theirs" ("The Program")'
    assert advice == f"As the owner of the table or a superuser: {told}"
    assert rows_of(case)[0][4] == "the maintenance user may not make indexes on the table"
    assert indexes(sandbox) == before


def test_what_covers_columns(sandbox: Sandbox) -> None:
    """A valid B-tree over all rows whose first columns they are; nothing less."""
    as_owner(
        sandbox,
        "CREATE TABLE covered (a text, b int, c int, d int)",
        "CREATE INDEX one ON covered (b, c, d)",
        "CREATE INDEX two ON covered (a text_pattern_ops)",
        "CREATE INDEX three ON covered (d) WHERE c > 0",
        "CREATE INDEX four ON covered USING hash (d)",
        'CREATE INDEX five ON covered (a COLLATE "C", d)',
    )
    with targets.load("sandbox").database.connect() as session:
        row = session.execute("SELECT 'covered'::regclass::oid::bigint AS oid").fetchone()
        oid = int((row or {})["oid"])
        assert find_covering(session, oid, ("b",)) == "public.one"
        assert find_covering(session, oid, ("c", "b")) == "public.one"
        assert find_covering(session, oid, ("b", "c"), ("d",)) == "public.one"
        for equal in (("c",), ("a",), ("d",), ("d", "b")):
            assert find_covering(session, oid, equal) == ""
        assert find_covering(session, oid, ("c",), ("b",)) == ""


def wanted(sandbox: Sandbox) -> tuple[CreateIndex, JudgeIndex, Work]:
    """Lose an index; gives the changes that make one in its place."""
    lose_an_index(sandbox)
    with sandbox.connect() as session:
        row = session.execute("SELECT 'actuals'::regclass::oid::int").fetchone()
    assert row
    name = name_of_index("actuals", ("worker_id",), ID, 1)
    made = CreateIndex(
        schema_name="public",
        name=name,
        table="actuals",
        table_oid=row[0],
        equal=("worker_id",),
        why="a test",
    )
    query = Measured(query="SELECT 1 FROM ONLY actuals WHERE worker_id = $1", cost=10_000)
    judged = JudgeIndex(
        schema_name="public", name=name, table="actuals", on=made.on, queries=(query,)
    )
    return made, judged, Work(target="sandbox", remediation=ID)


def test_what_a_kill_left_is_recognised_and_cleared(sandbox: Sandbox) -> None:
    """An invalid index, one without a comment, one that was judged and not dropped yet."""
    made, judged, work = wanted(sandbox)
    before = indexes(sandbox)
    database = targets.load("sandbox").database
    assert made.observe(work).standing is Standing.BEFORE
    with (
        ThreadPoolExecutor(1) as pool,
        database.connect(statement_timeout="0", lock_timeout="0") as session,
        sandbox.connect() as holder,
    ):
        holder.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        holder.execute("SELECT count(*) FROM users")
        build = pool.submit(session.execute, made.statement)
        until(lambda: made.name in indexes(sandbox) or build.done())
        with sandbox.connect() as other:
            other.execute("SELECT pg_cancel_backend(%s)", (session.info.backend_pid,))
        with pytest.raises(Exception, match="user request"):
            build.result()
        holder.rollback()
    assert indexes(sandbox)[made.name][0] is False
    assert made.observe(work).standing is Standing.HALF
    made.apply(work)
    assert made.observe(work).standing is Standing.AFTER
    assert judged.observe(work).standing is Standing.BEFORE

    write_comment(database, "public", made.name, "")
    assert made.observe(work).standing is Standing.HALF
    made.apply(work)
    assert made.observe(work).standing is Standing.AFTER

    write_comment(database, "public", made.name, f"remedy {ID} useless: it did not help")
    assert judged.observe(work).standing is Standing.HALF
    judged.apply(work)
    assert judged.observe(work).standing is Standing.AFTER
    assert indexes(sandbox) == before

    made.apply(work)
    for _ in range(2):
        made.revert(work)
        assert made.observe(work).standing is Standing.BEFORE
    assert indexes(sandbox) == before


def planned(sandbox: Sandbox) -> tuple[CreateIndex, JudgeIndex]:
    """Lose an index, and plan the run that makes it again."""
    lose_an_index(sandbox)
    made, judged = find_missing_indexes("sandbox", 1, ["actuals"], ID).changes
    assert isinstance(made, CreateIndex)
    assert isinstance(judged, JudgeIndex)
    return made, judged


def cost_of(sandbox: Sandbox, query: str) -> float:
    """Ask for the cost of a query for any value of its parameter."""
    with sandbox.connect() as session:
        session.execute("SET plan_cache_mode = 'force_generic_plan'")
        session.execute(f"PREPARE asked AS {query}".encode())
        row = session.execute("EXPLAIN (FORMAT JSON) EXECUTE asked (NULL)").fetchone()
    assert row
    return float(row[0][0]["Plan"]["Total Cost"])


def test_rows_that_came_between_plan_and_act_are_counted_on_both_sides(sandbox: Sandbox) -> None:
    """The table is much larger than when it was planned, and nobody's approval was quicker.

    With the index a query costs more than without it then, and much less than without it now.
    """
    made, judged = planned(sandbox)
    (query,) = judged.queries
    columns = "project_id, worker_id, actual_date, hours, cost, created_at, updated_at"
    as_owner(
        sandbox,
        f"INSERT INTO actuals (id, {columns}) SELECT md5(id::text || 'later' || n)::uuid, "
        f"{columns} FROM actuals, generate_series(1, 40) n",
        "ANALYZE actuals",
    )
    now = cost_of(sandbox, query.query)
    work = Work(target="sandbox", remediation=ID)
    made.apply(work)
    assert cost_of(sandbox, query.query) > query.cost
    told = judged.apply(work)
    assert "is kept" in told
    assert f"cost {now:,.2f} -> {cost_of(sandbox, query.query):,.2f}" in told
    assert f"without it when it was planned: {query.cost:,.2f}" in told
    assert judged.observe(work).standing is Standing.AFTER
    assert "without it" not in str(indexes(sandbox)[made.name][2])


def test_what_serves_queries_since_the_plan_is_counted_on_both_sides(sandbox: Sandbox) -> None:
    """Somebody made a wider one after ours was begun: ours saves nothing more, and goes again."""
    made, judged = planned(sandbox)
    as_owner(sandbox, f"CREATE INDEX {LOST} ON actuals (worker_id, actual_date)")
    before = indexes(sandbox)
    work = Work(target="sandbox", remediation=ID, begun_at=datetime.now(UTC))
    made.apply(work)
    told = judged.apply(work)
    assert "did not help and is dropped" in told
    assert indexes(sandbox) == before


def test_where_nobody_measured_right_before_the_plan_counts_and_is_named(sandbox: Sandbox) -> None:
    """Its process died between the build and the comment: the record says what was compared."""
    made, judged = planned(sandbox)
    work = Work(target="sandbox", remediation=ID)
    made.apply(work)
    write_comment(targets.load("sandbox").database, "public", made.name, "")
    made.apply(work)
    told = judged.apply(work)
    assert f"cost {judged.queries[0].cost:,.2f} -> " in told
    assert "right before nobody has" in told


@pytest.mark.parametrize("costs", [(12.5, None), (None,), ()])
def test_costs_in_a_comment_are_read_as_written(costs: tuple[float | None, ...]) -> None:
    """Also beside texts that look like one; who finds none knows nothing."""
    text = "added for a; not judged yet; without it [1.0] and b"
    found = read_unjudged(unjudged(text, costs), 2)
    assert found == (text, (*costs, None, None)[:2])


def test_an_index_that_somebody_else_made_meanwhile_is_enough(sandbox: Sandbox) -> None:
    """Nothing is made beside it, nothing is judged, and an undo does not touch it."""
    made, judged, work = wanted(sandbox)
    as_owner(sandbox, f"CREATE INDEX {LOST} ON actuals (worker_id, actual_date)")
    before = indexes(sandbox)
    seen = made.observe(work)
    assert seen.standing is Standing.AFTER
    assert f"public.{LOST} serves the same" in seen.detail
    assert judged.observe(work).standing is Standing.AFTER
    made.revert(work)
    assert indexes(sandbox) == before


def test_one_that_somebody_else_made_after_ours_was_begun(sandbox: Sandbox) -> None:
    """Ours is built beside it: it is no reason to undo everything else; an undo leaves theirs."""
    made, _, work = wanted(sandbox)
    begun = replace(work, begun_at=datetime.now(UTC))
    as_owner(sandbox, f"CREATE INDEX {LOST} ON actuals (worker_id)")
    before = indexes(sandbox)
    assert made.observe(begun).standing is Standing.BEFORE
    made.apply(begun)
    assert made.observe(begun).standing is Standing.AFTER
    assert set(indexes(sandbox)) == {*before, made.name}
    made.revert(begun)
    assert indexes(sandbox) == before


def test_a_table_that_went_after_it_was_begun(sandbox: Sandbox) -> None:
    """An undo ends where there is no index; building it again says that the table is gone."""
    as_owner(sandbox, "CREATE TABLE passing (a int)")
    with sandbox.connect() as session:
        row = session.execute("SELECT 'passing'::regclass::oid::int").fetchone()
    assert row
    made = CreateIndex(
        schema_name="public",
        name=name_of_index("passing", ("a",), ID, 1),
        table="passing",
        table_oid=row[0],
        equal=("a",),
        why="a test",
    )
    work = Work(target="sandbox", remediation=ID)
    begun = replace(work, begun_at=datetime.now(UTC))
    made.apply(begun)
    as_owner(sandbox, "DROP TABLE passing")
    assert made.observe(work).standing is Standing.OTHER
    made.revert(begun)
    assert made.observe(begun).standing is Standing.BEFORE
    with pytest.raises(WorldMoved, match="it is gone, or another table has its name"):
        made.apply(begun)


def test_the_name_of_something_else_is_left_alone(sandbox: Sandbox) -> None:
    """Another index has the name: that is neither ours to drop nor to take for ours."""
    made, _, work = wanted(sandbox)
    as_owner(sandbox, f"CREATE UNIQUE INDEX {made.name} ON actuals (id)")
    before = indexes(sandbox)
    assert made.observe(work).standing is Standing.OTHER
    made.revert(work)
    assert indexes(sandbox) == before
    with targets.load("sandbox").database.connect() as session:
        assert find_made(session, "public", "no such name") is None
