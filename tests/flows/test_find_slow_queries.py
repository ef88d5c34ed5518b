"""find_slow_queries on a system under load, with queries that are slow for real."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prefect.client.schemas.objects import State

from flows.help.undo_remediation import undo_remediation
from flows.performance.find_slow_queries import find_slow_queries
from infra.sandbox.load import USER, Load
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from infra.testbed.compose.system import ComposeSystem
from tasks.database.queries import slow_findings, slow_statistics
from tasks.database.queries.log_place import LogPlace
from tasks.database.queries.log_setting import find_unreadable
from tasks.database.queries.measured import Counted
from tasks.database.queries.query_log import LogSlowStatements, StopLogging
from tasks.database.queries.statements import Statistics, count_statements
from tasks.guardrails.case import Case
from tasks.guardrails.errors import WorldMoved
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Finding, Standing, Work
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tasks.platforms.postgresql import PostgreSQL
from tasks.platforms.protocols import Connection
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import Approvers, carry_out
from tests.configured import configured
from tests.prefect_fixtures import Runs
from tests.snapshots import snapshot
from tests.users import log_of
from tests.waiting import until

CANARY = "canary-5d81c2"
ROWS, LISTED = 200_000, 400


@pytest.fixture
def any_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have queries looked at that are slow on no machine of today."""
    monkeypatch.setattr(slow_findings, "_WORTH_SECONDS", 0.01)


@contextmanager
def application(sandbox: Planner) -> "Iterator[psycopg.Connection[tuple[Any, ...]]]":
    """Connect as the application's role does."""
    settings = sandbox.settings
    with sandbox.connect() as seen:
        host, port = seen.info.host, seen.info.port
    with psycopg.connect(
        host=host,
        port=port,
        dbname=settings.database,
        user=settings.application_user,
        password=settings.application_password,
        autocommit=True,
    ) as session:
        yield session


def fill(sandbox: Planner) -> None:
    """Make a table with many rows and no index but its key, and forget what was counted."""
    with application(sandbox) as session:
        session.execute("CREATE TABLE owners (id int PRIMARY KEY, name text)")
        session.execute(
            'CREATE TABLE "work items" (id int PRIMARY KEY, owner_id int, note text, state text, '
            "CONSTRAINT owner FOREIGN KEY (owner_id) REFERENCES owners)"
        )
        session.execute("INSERT INTO owners SELECT n, 'owner ' || n FROM generate_series(1, 500) n")
        session.execute(
            'INSERT INTO "work items" SELECT n, 1 + n %% 500, md5(n::text), md5((n * 7)::text) '
            "FROM generate_series(1, %s) n",
            (ROWS,),
        )
        session.execute('ANALYZE owners, "work items"')
    forget(sandbox)


def forget(sandbox: Planner) -> None:
    """Have the server count anew."""
    with sandbox.connect() as session:
        session.execute("SELECT pg_stat_statements_reset()")


def work_slowly(sandbox: Planner) -> None:
    """Do as a careless application does."""
    with application(sandbox) as session:
        for _ in range(60):
            session.execute(f"SELECT id FROM \"work items\" WHERE note = '{CANARY}'")
        for _ in range(4):
            session.execute('SELECT * FROM "work items"').fetchall()
        session.execute("SET work_mem = '64kB'")
        for _ in range(6):
            session.execute(
                f'SELECT * FROM "work items" ORDER BY state, note OFFSET {ROWS - 3}'
            ).fetchall()
        session.execute("RESET work_mem")
        listed = session.execute(
            f'SELECT id, owner_id FROM "work items" ORDER BY id LIMIT {LISTED}'
        ).fetchall()
        for _, owner in listed:
            session.execute("SELECT name FROM owners WHERE id = %s", (owner,)).fetchone()
        # Of such a statement the server keeps the literal, before PostgreSQL 16.
        session.execute(f"COMMENT ON TABLE owners IS '{CANARY}'")


def settings_of(sandbox: Planner) -> list[tuple[Any, ...]]:
    """Read every setting of the server, and those of databases and roles."""
    with sandbox.connect() as session:
        return [
            *session.execute(
                "SELECT name, setting, source, sourcefile FROM pg_settings ORDER BY 1"
            ),
            *session.execute("SELECT setconfig::text FROM pg_db_role_setting ORDER BY 1"),
            *session.execute("SELECT extname FROM pg_extension ORDER BY 1"),
        ]


def use(sandbox: Planner, *, limited: bool) -> None:
    """Have remediations log in as a superuser, or as a role that is none."""
    block = ComposeTarget if isinstance(sandbox, ComposeSystem) else SandboxTarget
    targets.give(block(**sandbox.target_settings(limited=limited)))


def findings(case: Case) -> tuple[Finding, ...]:
    """Give what the last stage has found."""
    return case.stages[-1].stage.findings


def of(found: tuple[Finding, ...], text: str) -> Finding:
    """Give the one finding that is about a query."""
    (one,) = [finding for finding in found if finding.what.startswith("Q") and text in finding.what]
    return one


def run(runs: Runs, sandbox: Planner, **given: object) -> tuple[Case, State[Any]]:
    """Find slow queries while users work; not one of their requests fails."""
    load = Load(sandbox.url, sandbox.settings.accounts[USER], rate=10)
    load.start()
    try:
        case, state = carry_out(runs, sandbox, find_slow_queries, **given)
    finally:
        seen = load.stop()
    assert seen.requests > 0
    assert (seen.failed, seen.missing) == (0, []), seen.answers
    return case, state


@pytest.mark.usefixtures("any_machine")
def test_slow_queries_are_ranked_and_explained(runs: Runs, planner: Planner) -> None:
    """Each is named with what is wrong and what to do; no literal is shown, nothing changed."""
    use(planner, limited=True)
    fill(planner)
    work_slowly(planner)
    settings, before = settings_of(planner), snapshot(planner, without_load=True)
    case, state = run(runs, planner)
    assert state.name == "Advised", state.message
    found = findings(case)

    scan = of(found, 'SELECT id FROM "work items" WHERE note = $1')
    assert "60 calls of" in scan.what
    assert f"({ROWS:,} rows" in scan.what
    assert "no index serves that" in scan.what
    assert "add_indexes" in scan.patch
    assert any("Seq Scan on public.work items" in line for (line,) in scan.rows), scan.rows

    everything = of(found, 'SELECT * FROM "work items".')
    assert f"Each call gives {ROWS:,} rows, and it has no LIMIT" in everything.what
    assert "limit(100)" in everything.patch

    sort = of(found, "ORDER BY state, note")
    assert "does not fit into work_mem: each call writes" in sort.what
    assert "SET LOCAL work_mem" in sort.patch

    repeated = of(found, "SELECT name FROM owners")
    assert f"N+1: it was called {LISTED} times for {LISTED} rows in all" in repeated.what
    assert '1 call of: SELECT id, owner_id FROM "work items"' in repeated.what
    assert "selectinload" in repeated.patch

    seconds = [float(row[2].replace(",", "")) for row in found[0].rows]
    ranked = seconds[:10]
    assert ranked == sorted(ranked, reverse=True)
    assert found[0].rows[0][0] == "Q1"
    assert "█" in found[0].rows[0][1]
    with planner.connect() as session:
        kept = session.execute("SELECT query FROM pg_stat_statements WHERE query LIKE 'COMMENT%'")
        assert kept.fetchall(), "the statement that keeps its literal was never counted"
    assert CANARY not in str([entry.facts for entry in case.entries]) + (state.message or "")
    assert settings_of(planner) == settings
    assert snapshot(planner, without_load=True) == before


def calls_of_programs(counted: Counted) -> float:
    """Say how often anything was asked of programs."""
    return sum(
        calls for key, (_, calls, *_) in counted.counts.items() if "programs" in counted.texts[key]
    )


def test_a_window_has_what_came_in_it(
    runs: Runs, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was slow before is not told, only what comes while it is watched."""
    fill(sandbox)
    work_slowly(sandbox)
    looks: list[float] = []

    def count(session: Connection, statistics: Statistics) -> Counted:
        def calls() -> float:
            return calls_of_programs(count_statements(session, statistics))

        if looks:  # the window ends no sooner than users came
            until(lambda: calls() >= looks[0] + 10)
        looks.append(calls())
        return count_statements(session, statistics)

    monkeypatch.setattr(slow_statistics, "count_statements", count)
    case, state = run(runs, sandbox, watch_seconds=2)
    assert state.name in {"Unchanged", "Advised"}, state.message
    found = findings(case)
    assert found[0].what.startswith("In 2 seconds: ")
    assert not [one for one in found if "work items" in one.what]
    assert [one for one in found if "programs" in one.what], "nothing of the load was seen"


def test_a_fast_database_has_nothing_wrong(runs: Runs, sandbox: Sandbox) -> None:
    """What the application asks is listed, and nothing advised."""
    forget(sandbox)
    case, state = carry_out(runs, sandbox, find_slow_queries)
    assert state.name == "Unchanged", [one for one in findings(case) if one.patch]
    assert case.of_kind("begun") == []


@pytest.mark.parametrize("seconds", [-1, 3601])
def test_a_window_that_is_too_long_is_refused(runs: Runs, sandbox: Sandbox, seconds: int) -> None:
    """A parameter beyond its bounds ends the run before anything is looked at."""
    _, state = runs.start(find_slow_queries, target=sandbox.settings.name, watch_seconds=seconds)
    assert state is not None
    assert state.is_failed()
    assert "watch_seconds: Input should be" in (state.message or "")


def drop_extension(sandbox: Planner) -> None:
    """Take pg_stat_statements out of the database; the server goes on counting."""
    with sandbox.connect() as session:
        session.execute("DROP EXTENSION pg_stat_statements")


@pytest.mark.usefixtures("any_machine")
def test_the_extension_is_installed_and_goes_with_the_undo(runs: Runs, sandbox: Sandbox) -> None:
    """Who may install it does, then what was counted is reported; an undo drops it again."""
    fill(sandbox)
    drop_extension(sandbox)
    work_slowly(sandbox)
    before, original = settings_of(sandbox), snapshot(sandbox, without_load=True)
    case, state = run(runs, sandbox)
    assert state.name == "Remediated", state.message
    assert "no index serves that" in of(findings(case), "WHERE note = $1").what
    with sandbox.connect() as session:
        assert session.execute("SELECT count(*) > 0 FROM pg_stat_statements").fetchone() == (True,)
    _, ended = carry_out(runs, sandbox, undo_remediation, remediation=case.id)
    assert ended.name == "Remediated", ended.message
    assert settings_of(sandbox) == before
    assert snapshot(sandbox, without_load=True) == original


@pytest.mark.parametrize("source", ["statistics", "log"])
def test_nothing_is_installed_or_logged_before_it_is_approved(
    runs: Runs, sandbox: Sandbox, source: str
) -> None:
    """The plan says what lands where and waits; refused, the server is as it was."""
    drop_extension(sandbox)
    before, written = settings_of(sandbox), auto_conf(sandbox)
    started, state = runs.start(
        find_slow_queries, target=sandbox.settings.name, source=source, watch_seconds=1
    )
    assert state is None
    stage = Case.read(Ledger(), runs.id_of(started)).stages[0].stage
    told = " ".join((stage.effects.lost, *stage.notes))
    wanted = {
        "log": "the log gets the text of each slow statement with its literals",
        "statistics": "sees statements of every role",
    }
    assert wanted[source] in told
    assert (settings_of(sandbox), auto_conf(sandbox)) == (before, written)
    state = Approvers(Ledger()).refuse(runs, started)
    assert state.name == "Refused", state.message
    assert (settings_of(sandbox), auto_conf(sandbox)) == (before, written)


def test_an_undo_leaves_what_is_built_on_the_extension(runs: Runs, sandbox: Sandbox) -> None:
    """A view on it is not dropped along: the undo says what depends on it."""
    drop_extension(sandbox)
    case, state = carry_out(runs, sandbox, find_slow_queries)
    assert state.name == "Remediated", state.message
    with sandbox.connect() as session:
        session.execute("CREATE VIEW watched AS SELECT query FROM pg_stat_statements")
    _, ended = carry_out(runs, sandbox, undo_remediation, remediation=case.id)
    assert "Drop what depends on it" in (ended.message or "")
    with sandbox.connect() as session:
        assert session.execute("SELECT count(*) FROM watched").fetchone()


def test_who_may_not_install_it_is_told_what_to_run(runs: Runs, sandbox: Sandbox) -> None:
    """A maintenance user that is no superuser changes nothing, and says what one has to do."""
    use(sandbox, limited=True)
    drop_extension(sandbox)
    case, state = run(runs, sandbox)
    assert state.name == "Advised", state.message
    (told,) = [one for one in findings(case) if "pg_stat_statements cannot be asked" in one.what]
    assert "it is not installed in planner" in told.what
    assert "CREATE EXTENSION pg_stat_statements;" in told.patch
    with sandbox.connect() as session:
        session.execute(told.patch)
    _, state = carry_out(runs, sandbox, find_slow_queries)
    assert state.name in {"Unchanged", "Advised"}, state.message


def test_what_may_not_be_seen_is_said(runs: Runs, sandbox: Sandbox) -> None:
    """Without pg_read_all_stats the texts of others are hidden: which grant shows them."""
    use(sandbox, limited=True)
    fill(sandbox)
    work_slowly(sandbox)
    with sandbox.connect() as session:
        session.execute("REVOKE pg_monitor FROM planner_admin")
    case, state = carry_out(runs, sandbox, find_slow_queries)
    assert state.name == "Advised", state.message
    (told,) = [one for one in findings(case) if "pg_read_all_stats" in one.patch]
    assert "sees its own statements only" in told.what


MAY_LOG = (
    "GRANT ALTER SYSTEM ON PARAMETER log_min_duration_statement TO planner_admin",
    "GRANT EXECUTE ON FUNCTION pg_reload_conf() TO planner_admin",
    "GRANT SELECT ON pg_file_settings TO planner_admin",
    "GRANT EXECUTE ON FUNCTION pg_show_all_file_settings() TO planner_admin",
)


@contextmanager
def may_log(system: Planner) -> Iterator[None]:
    """Let the maintenance user log slow statements, and have no statistics."""
    use(system, limited=True)
    drop_extension(system)
    with system.connect() as session:
        if session.info.server_version < 150000:
            pytest.skip("before PostgreSQL 15 a superuser only may set it")
        for statement in MAY_LOG:
            session.execute(statement)
    try:
        yield
    finally:
        with system.connect() as session:
            session.execute("REVOKE ALL ON PARAMETER log_min_duration_statement FROM planner_admin")
            session.execute("ALTER SYSTEM RESET log_min_duration_statement")
            session.execute("SELECT pg_reload_conf()")


@pytest.fixture
def logged(sandbox: Sandbox) -> Iterator[Sandbox]:
    """A sandbox whose maintenance user may log slow statements, and has no statistics."""
    with may_log(sandbox):
        yield sandbox


@pytest.fixture
def logged_there(planner: Planner) -> Iterator[Planner]:
    """The same on each platform in turn."""
    with may_log(planner):
        yield planner


def auto_conf(sandbox: Planner) -> str:
    """Read what ALTER SYSTEM has written."""
    return (sandbox.cluster.data / "postgresql.auto.conf").read_text()


def in_force(sandbox: Planner) -> str:
    """Ask a new session what is logged."""
    with sandbox.connect() as session:
        row = session.execute("SHOW log_min_duration_statement").fetchone()
    return str(row[0]) if row else ""


def set_before(sandbox: Planner, value: str) -> None:
    """Set what is logged, as an administrator has done long ago."""
    with sandbox.connect() as session:
        session.execute(f"ALTER SYSTEM SET log_min_duration_statement = '{value}'")
        session.execute("SELECT pg_reload_conf()")
    until(lambda: in_force(sandbox) == value)  # the server reads its files a moment later


def slow_while(sandbox: Planner, asks: threading.Event, stop: threading.Event) -> None:
    """Ask slowly until told to stop, in a session that is open all the time."""
    with application(sandbox) as session:
        while not stop.is_set():
            session.execute(
                f"SELECT id FROM \"work items\" WHERE note = '{CANARY}' OR id = %s", (5,)
            )
            asks.set()
            stop.wait(0.1)


@contextmanager
def asking(sandbox: Planner) -> Iterator[None]:
    """Have an application ask slowly while the block runs."""
    asks, stop = threading.Event(), threading.Event()
    thread = threading.Thread(target=slow_while, args=(sandbox, asks, stop))
    thread.start()
    try:
        assert asks.wait(120)
        yield
    finally:
        stop.set()
        thread.join()


def until_logged(monkeypatch: pytest.MonkeyPatch, log: Callable[[], str]) -> None:
    """Have the logging end no sooner than the log has some of what is asked slowly."""
    stop = StopLogging.apply

    def wait_and_stop(change: StopLogging, work: Work) -> str:
        until(lambda: log().count(CANARY) >= 5)
        return stop(change, work)

    monkeypatch.setattr(StopLogging, "apply", wait_and_stop)


@pytest.mark.usefixtures("any_machine")
@pytest.mark.parametrize(
    ("planner", "before"),
    [("sandbox", ""), ("sandbox", "1min"), ("compose", "1min")],
    indirect=["planner"],
)
def test_slow_statements_are_logged_for_a_while(
    runs: Runs, logged_there: Planner, before: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are found in the log, of sessions that were open as well; the setting is as before."""
    logged = logged_there
    fill_without_statistics(logged)
    if before:
        set_before(logged, before)
    written, force, original = (
        auto_conf(logged),
        in_force(logged),
        snapshot(logged, without_load=True),
    )
    assert ("log_min_duration_statement" in written) is bool(before)
    earlier = len(log_of(logged))
    until_logged(monkeypatch, lambda: log_of(logged)[earlier:])
    with asking(logged):
        case, state = run(runs, logged, watch_seconds=3, slower_than_ms=1)
    assert state.name == "Remediated", state.message
    told = of(findings(case), "WHERE note = $2 OR id = $1")
    # Of whom a statement is, log_line_prefix says on the sandbox, and not as the image has it.
    who = "somebody" if isinstance(logged, ComposeSystem) else "planner"
    assert f"by {who}, the slowest" in told.what
    assert "no index serves that" in told.what
    assert [entry.facts["note"] for entry in case.of_kind("done")] == ["", "logged for 3 s"]
    assert CANARY in log_of(logged)
    assert CANARY not in str([entry.facts for entry in case.entries]) + (state.message or "")
    assert (auto_conf(logged), in_force(logged)) == (written, force)
    assert snapshot(logged, without_load=True) == original


def test_a_disk_that_cannot_be_measured(
    runs: Runs, logged: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said, and not promised to stop early; fast statements are not logged for long."""
    written = auto_conf(logged)
    case, _ = carry_out(runs, logged, find_slow_queries, source="log", watch_seconds=1)
    assert "It stops early" in " ".join(case.stages[0].stage.notes)
    monkeypatch.setattr(PostgreSQL, "free_bytes", lambda _self: None)
    given = {"source": "log", "slower_than_ms": 99}
    case, state = carry_out(runs, logged, find_slow_queries, watch_seconds=301, **given)
    assert state.name == "Refused", state.message
    assert "cannot be measured" in (state.message or "")
    assert case.of_kind("begun") == []
    case, state = carry_out(runs, logged, find_slow_queries, watch_seconds=1, **given)
    assert state.name == "Remediated", state.message
    notes = " ".join(case.stages[0].stage.notes)
    assert "cannot be measured" in notes
    assert "It stops early" not in notes
    assert auto_conf(logged) == written


def fill_without_statistics(sandbox: Planner) -> None:
    """Make the tables where pg_stat_statements is not there to forget."""
    with sandbox.connect() as session:
        session.execute("CREATE EXTENSION pg_stat_statements")
    fill(sandbox)
    drop_extension(sandbox)


def changes_of(case_id: str, place: Path) -> tuple[LogSlowStatements, StopLogging, Work]:
    """Make the changes of a plan, and the work that they are told, as begun."""
    at = LogPlace(by="file", path=str(place), offset=0, form="stderr", prefix="")
    return (
        LogSlowStatements(slower_than_ms=7, before=None, place=at),
        StopLogging(slower_than_ms=7, before=None, seconds=0),
        Work(target="sandbox", remediation=case_id, begun_at=datetime.now(UTC)),
    )


def test_what_a_kill_leaves_is_recognised_and_put_back(logged: Sandbox, tmp_path: Path) -> None:
    """Written and not loaded, on the way there and back: it is seen, gone on with, or undone."""
    start, stop, work = changes_of("abcdefghij", tmp_path)
    written = auto_conf(logged)
    assert start.observe(work).standing is Standing.BEFORE
    with logged.connect() as session:
        session.execute("ALTER SYSTEM SET log_min_duration_statement = '7'")
    assert start.observe(work).standing is Standing.HALF
    start.revert(work)
    start.revert(work)
    assert (auto_conf(logged), in_force(logged)) == (written, "-1")
    assert start.observe(work).standing is Standing.BEFORE

    start.apply(work)
    assert in_force(logged) == "7ms"
    assert start.observe(work).standing is Standing.AFTER
    assert stop.observe(work).standing is Standing.BEFORE
    with logged.connect() as session:
        session.execute("ALTER SYSTEM RESET log_min_duration_statement")
    assert stop.observe(work).standing is Standing.HALF
    stop.apply(work)
    assert stop.observe(work).standing is Standing.AFTER
    assert (auto_conf(logged), in_force(logged)) == (written, "-1")

    set_before(logged, "9s")
    assert start.observe(work).standing is Standing.OTHER
    assert "9s in postgresql.auto.conf" in start.observe(work).detail


def test_a_value_that_somebody_wrote_in_the_window_stays(logged: Sandbox, tmp_path: Path) -> None:
    """It is neither ours nor the one before: it is told and not overwritten."""
    start, stop, work = changes_of("abcdefghij", tmp_path)
    start.apply(work)
    set_before(logged, "9s")
    with pytest.raises(WorldMoved, match=r"9s in postgresql\.auto\.conf"):
        stop.apply(work)
    with pytest.raises(WorldMoved, match=r"9s in postgresql\.auto\.conf"):
        start.revert(work)
    assert "log_min_duration_statement = '9s'" in auto_conf(logged)


def test_killed_in_the_window_it_is_put_back(
    runs: Runs, logged_there: Planner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the wait fails for good the logging ends with the undo."""
    logged = logged_there
    written = auto_conf(logged)

    seen: set[str] = set()

    def fail(_self: StopLogging, _work: Work) -> str:
        seen.add(in_force(logged))
        raise RuntimeError("the power went")

    monkeypatch.setattr(StopLogging, "apply", fail)
    _, state = run(runs, logged, watch_seconds=60, slower_than_ms=5, source="log")
    assert state.name == "Undone", state.message
    assert seen == {"5ms"}
    assert (auto_conf(logged), in_force(logged)) == (written, "-1")


def test_who_may_not_log_is_told_which_grants(runs: Runs, sandbox: Sandbox) -> None:
    """Nothing is changed; each right that is missing is named, and with these it may."""
    use(sandbox, limited=True)
    case, state = carry_out(runs, sandbox, find_slow_queries, source="log", watch_seconds=1)
    assert state.name == "Advised", state.message
    (told,) = [one for one in findings(case) if "may not have slow" in one.what]
    wanted = [one.replace(" TO planner_admin", ' TO "planner_admin"') for one in MAY_LOG]
    if sandbox.connect().info.server_version < 150000:  # nobody else may be given it
        wanted = ['ALTER ROLE "planner_admin" SUPERUSER']
    assert [line.partition(";")[0] for line in told.patch.splitlines()] == wanted
    assert case.of_kind("begun") == []


def test_a_log_needs_a_window(runs: Runs, sandbox: Sandbox) -> None:
    """Without a time for which it is logged it is refused, and nothing is changed."""
    case, state = carry_out(runs, sandbox, find_slow_queries, source="log")
    assert state.name == "Refused", state.message
    assert "watch_seconds above 0" in (state.message or "")
    assert case.of_kind("begun") == []


@pytest.mark.usefixtures("any_machine")
def test_what_is_logged_already_is_only_read(runs: Runs, sandbox: Sandbox) -> None:
    """Where the server logs them anyway, its setting is not touched."""
    fill(sandbox)
    set_before(sandbox, "1ms")
    written = auto_conf(sandbox)
    try:
        work_slowly(sandbox)
        case, state = carry_out(runs, sandbox, find_slow_queries, source="log", slower_than_ms=1)
        assert state.name == "Advised", state.message
        assert "ms by planner" in of(findings(case), "WHERE note = $1").what
        assert CANARY not in str([entry.facts for entry in case.entries])
        assert case.of_kind("begun") == []
        assert auto_conf(sandbox) == written
    finally:
        with sandbox.connect() as session:
            session.execute("ALTER SYSTEM RESET log_min_duration_statement")
            session.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("log_statement", "all", "their durations without their texts"),
        ("log_statement", "mod", "their durations without their texts"),
        ("log_min_messages", "fatal", "no durations are logged at all"),
    ],
)
def test_a_log_without_texts_is_told_before(
    runs: Runs, logged: Sandbox, name: str, value: str, reason: str
) -> None:
    """Nothing would be found after the wait: it is said which setting is why, and nothing set."""
    with logged.connect() as session:
        session.execute(f"ALTER SYSTEM SET {name} = '{value}'".encode())
        session.execute("SELECT pg_reload_conf()")
    written = auto_conf(logged)
    try:
        case, state = carry_out(
            runs, logged, find_slow_queries, source="log", watch_seconds=1, slower_than_ms=1
        )
        assert state.name == "Advised", state.message
        (told,) = [one for one in findings(case) if f"{name} is {value}" in one.what]
        assert reason in told.what
        assert case.of_kind("begun") == []
        assert auto_conf(logged) == written
    finally:
        with logged.connect() as session:
            session.execute(f"ALTER SYSTEM RESET {name}".encode())
            session.execute("SELECT pg_reload_conf()")


def test_a_log_that_has_texts_is_taken(sandbox: Sandbox) -> None:
    """A sandbox's log has them, also where DDL is logged before it runs."""
    use(sandbox, limited=False)
    for value in ("none", "ddl"):
        with targets.load("sandbox").database.connect(log_statement=value) as session:
            assert find_unreadable(session) == []


@pytest.mark.usefixtures("any_machine")
@pytest.mark.parametrize("destination", ["csvlog", "stderr"])
def test_a_log_that_the_server_collects_is_read_by_it(
    runs: Runs, logged: Sandbox, destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the maintenance user may not read it, it is said which grant is missing."""
    fill_without_statistics(logged)
    given = {"source": "log", "watch_seconds": 6, "slower_than_ms": 1}

    def newest() -> str:
        files = (logged.cluster.data / "log").glob("*.csv" if destination == "csvlog" else "*.log")
        return max(files, key=lambda one: one.stat().st_mtime).read_text(errors="replace")

    until_logged(monkeypatch, newest)
    with configured(logged, f"logging_collector = on\nlog_destination = '{destination}'"):
        case, state = carry_out(runs, logged, find_slow_queries, **given)
        assert state.name == "Advised", state.message
        (told,) = [one for one in findings(case) if "log cannot be read" in one.what]
        grant = told.patch.partition("as a superuser: ")[2].removesuffix(".")
        assert "pg_read_binary_file" in grant
        with logged.connect() as session:
            session.execute(grant)
        with asking(logged):
            case, state = carry_out(runs, logged, find_slow_queries, **given)
        assert state.name == "Remediated", [one.patch for one in findings(case)]
        assert "no index serves that" in of(findings(case), "OR id = $1").what
        assert CANARY not in str([entry.facts for entry in case.entries])
    assert in_force(logged) == "-1"
