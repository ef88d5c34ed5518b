"""explain_queries on a sandbox: plans are read, and nothing is carried out."""

import pytest

from flows.performance.explain_queries import explain_queries
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from tasks.database.queries.plans import explain
from tasks.guardrails.errors import BadInput, PreconditionFailed, RemediationError
from tasks.platforms import targets
from tasks.platforms.protocols import Connection
from tests.approving import carry_out
from tests.prefect_fixtures import Runs
from tests.snapshots import snapshot

SECRET = "Erika-Mustermann-1964"
ODD = """CREATE TABLE "Odd ""Table's" (id serial PRIMARY KEY, "The ""Col %s" text, "other" int);
    INSERT INTO "Odd ""Table's" ("The ""Col %s", "other")
        SELECT 'text ' || n, n % 10 FROM generate_series(1, 20000) n;
    CREATE TABLE lines (id int, odd_id int);
    INSERT INTO lines SELECT n, n FROM generate_series(1, 20000) n;
    ANALYZE"""
TABLE = """"Odd ""Table's" """


@pytest.fixture(autouse=True)
def no_superuser(request: pytest.FixtureRequest) -> None:
    """Have remediations connect as a user that is no superuser, beside two large tables."""
    of_platform = "planner" in request.fixturenames
    system: Planner = request.getfixturevalue("planner" if of_platform else "sandbox")
    block = type(targets.load(system.settings.name))
    targets.give(block(**system.target_settings(limited=True)))
    with system.connect() as session:
        session.execute("SET ROLE planner")
        for statement in ODD.split(";"):
            session.execute(statement.encode())


def database() -> Connection:
    """Connect as a remediation does."""
    return targets.load("sandbox").database.connect()


def test_a_plan_and_what_is_wrong_with_it(runs: Runs, planner: Planner) -> None:
    """Table, rows and columns are named; what was looked for is not shown."""
    original = snapshot(planner)
    query = f"""SELECT * FROM {TABLE} WHERE "The ""Col %s" = '{SECRET}' -- {SECRET}"""
    case, state = carry_out(runs, planner, explain_queries, query=query)
    assert state.name == "Advised", state.message
    described, problem, index = case.stages[0].stage.findings
    assert described.rows[0][0] == "Seq Scan on public.Odd \"Table's"
    assert "It reads all of public.Odd \"Table's (20,000 rows" in problem.what
    assert "and keeps about 1 of them" in problem.what
    assert """CREATE INDEX ON "public"."Odd ""Table's" ("The ""Col %s")""" in index.what
    assert "cannot be foretold here" in index.what
    assert SECRET not in case.stages[0].stage.model_dump_json()
    assert snapshot(planner) == original


def test_a_query_that_has_its_index(runs: Runs, sandbox: Sandbox) -> None:
    """Nothing is wrong with it."""
    query = "SELECT * FROM projects WHERE id = $1"
    case, state = carry_out(runs, sandbox, explain_queries, query=query)
    assert state.name == "Unchanged", state.message
    (described,) = case.stages[0].stage.findings
    assert "for any values of its parameters" in described.what
    assert "0 problems" in described.what


WRITES = (
    f"DELETE FROM {TABLE}",
    f"UPDATE {TABLE} SET other = $1 WHERE id = $2",
    f"INSERT INTO {TABLE} (other) SELECT nextval('\"Odd \"\"Table''s_id_seq\"')",
    f"WITH gone AS (DELETE FROM {TABLE} RETURNING *) SELECT count(*) FROM gone",
    "SELECT setval('\"Odd \"\"Table''s_id_seq\"', 1)",
    "SELECT * FROM projects FOR UPDATE",
    "SELECT lo_unlink(oid) FROM pg_largeobject_metadata",
)


def test_what_writes_is_planned_and_not_done(sandbox: Sandbox) -> None:
    """Rows, sequences and large objects are what they were."""
    original = snapshot(sandbox)
    with sandbox.connect() as session, database() as ours:
        before = session.execute("SELECT * FROM pg_sequences").fetchall()
        for statement in WRITES:
            assert explain(ours, statement).nodes, statement
            assert ours.execute("SELECT * FROM pg_prepared_statements").fetchall() == []
        assert session.execute("SELECT * FROM pg_sequences").fetchall() == before
    assert snapshot(sandbox) == original


REFUSED = (
    "SELECT 1; SELECT 2",
    "SELECT 1; DROP TABLE projects",
    "SELECT 1) ; DROP TABLE projects; --",
    "DROP TABLE projects",
    "CREATE TABLE x AS SELECT 1",
    "COPY projects TO STDOUT",
    "COPY projects TO PROGRAM 'true'",
    "TRUNCATE projects",
    "VACUUM projects",
    "ANALYZE DELETE FROM projects",
    "EXPLAIN ANALYZE DELETE FROM projects",
    "DO $$ BEGIN DELETE FROM projects; END $$",
    "CALL nothing()",
    "PREPARE x AS SELECT 1",
    "EXECUTE remedy_plan",
    "SET work_mem = '1GB'",
    "COMMIT",
    ";",
    "",
    "-- nothing",
    "SELECT 'a\x00b'",
    "SELECT * FROM no_such_table",
    "SELECT * FROM projects WHERE $1 IS NULL",
    "SELECT no_such_schema.something(1)",
    f"SELECT {', '.join(['1'] * 1700)}",
)


def test_anything_else_is_refused(sandbox: Sandbox) -> None:
    """With an error that says what is taken; nothing is carried out."""
    original = snapshot(sandbox)
    with database() as session:
        for statement in REFUSED:
            with pytest.raises(BadInput, match="one statement of the kinds SELECT"):
                explain(session, statement)
            assert session.execute("SELECT 1 AS one").fetchone() == {"one": 1}
            assert session.execute("SELECT * FROM pg_prepared_statements").fetchall() == []
    assert snapshot(sandbox) == original


def test_a_refused_query_ends_the_run(runs: Runs, sandbox: Sandbox) -> None:
    """The run says why, in a sentence of the server's."""
    query = "SELECT 1; DROP TABLE projects"
    _, state = carry_out(runs, sandbox, explain_queries, query=query)
    assert state.name == "Refused", state.message
    assert "cannot insert multiple commands" in (state.message or "")


QUOTED = (
    f"SELECT * FROM projects WHERE id = '{SECRET}'",
    f"SELECT '{SECRET}'::int",
    f"SELECT '{SECRET}'::regclass",
    f"SELECT '\"{SECRET}\"'::regclass",
    f"SELECT '{SECRET}",
    f"SELECT 1 WHERE '{SECRET}' '{SECRET}'",
    f"SELECT * FROM no_such_table WHERE a = '{SECRET}'",
    f"SELECT no_such_schema.something('{SECRET}')",
    f"SELECT quotes('{SECRET}')",
    f"SELECT hides('{SECRET}')",
)


def test_an_error_quotes_no_value(sandbox: Sandbox) -> None:
    """Neither what the server says nor the lines of the statement that it shows get through."""
    with sandbox.connect() as session:
        session.execute("SET ROLE planner")
        for name, raised in (("quotes", "a"), ("hides", "'no row'")):
            session.execute(
                f"CREATE FUNCTION {name}(a text) RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
                f"$$ BEGIN RAISE EXCEPTION '%', {raised}; END $$".encode()
            )
    with database() as session:
        for statement in QUOTED:
            with pytest.raises(RemediationError) as caught:
                explain(session, statement)
            assert SECRET.lower() not in str(caught.value).lower(), statement
            assert "LINE" not in str(caught.value), statement
            assert caught.value.__suppress_context__, statement
        with pytest.raises(BadInput, match=r'relation "no_such_table" does not exist'):
            explain(session, QUOTED[6])
        with pytest.raises(BadInput, match=r"syntax error .*at its character 8\)"):
            explain(session, "SELECT ,")


def test_parameters_are_not_taken_for_nulls(sandbox: Sandbox) -> None:
    """A comparison with null would keep no row, and the planner would not even read the table."""
    assert sandbox
    with database() as session:
        plan = explain(session, f"SELECT * FROM {TABLE} WHERE other = $1 AND id < $2")
        assert plan.generic
        assert [node for node in plan.nodes if "other = $1" in str(node.conditions)]
        assert plan.rows > 1
        row = session.execute("SELECT current_setting('plan_cache_mode') AS mode").fetchone()
        assert row == {"mode": "auto"}


def test_a_function_that_lies_about_itself_writes_nothing(sandbox: Sandbox) -> None:
    """The planner calls what is said to be immutable: the transaction lets it write nothing."""
    with sandbox.connect() as session:
        session.execute("SET ROLE planner")
        session.execute(
            "CREATE FUNCTION hidden() RETURNS int VOLATILE LANGUAGE sql AS "
            "'DELETE FROM lines RETURNING 1'"
        )
        session.execute(
            "CREATE FUNCTION lies() RETURNS int IMMUTABLE LANGUAGE plpgsql AS "
            "'BEGIN RETURN hidden(); END'"
        )
    original = snapshot(sandbox)
    with database() as session, pytest.raises(PreconditionFailed, match="read-only transaction"):
        explain(session, "SELECT * FROM projects WHERE version = lies()")
    assert snapshot(sandbox) == original


def test_a_locked_table_is_not_waited_for(sandbox: Sandbox) -> None:
    """Planning gives up after a second: it may be tried again."""
    with sandbox.connect() as holder, holder.transaction(), database() as session:
        holder.execute("LOCK TABLE projects")
        with pytest.raises(Exception, match="lock timeout"):
            explain(session, "SELECT * FROM projects")


def problems(query: str) -> str:
    """Give what is wrong with a query's plan."""
    with database() as session:
        return " ".join(explain(session, query).problems)


def test_problems_in_words(sandbox: Sandbox) -> None:
    """A sort that spills, a result without LIMIT, a nested loop over a table without index."""
    assert sandbox
    assert "has no LIMIT" in problems(f"SELECT * FROM {TABLE}")
    assert problems(f"SELECT * FROM {TABLE} LIMIT 10") == ""
    with database() as session:
        session.execute("SET work_mem = '64kB'")
        plan = explain(session, f"SELECT * FROM {TABLE} ORDER BY other")
        assert "more than work_mem (0.1 MB)" in " ".join(plan.problems)
        limited = explain(session, f"SELECT * FROM {TABLE} ORDER BY other LIMIT 5")
        assert limited.problems == ()
        for other in ("hashjoin", "mergejoin"):
            session.execute(f"SET enable_{other} = off".encode())
        joined = explain(session, f"SELECT 1 FROM lines l JOIN {TABLE} o ON l.odd_id = o.other")
        told = " ".join(joined.problems)
    assert "the inner side has no index" in told
    assert "A nested loop runs its inner side about 20,000 times" in told
