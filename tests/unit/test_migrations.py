"""What Alembic prints and what a rehearsal keeps, read back: of any name, with no secret in it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.database.migrations.lint import find_linter, lint
from tasks.database.migrations.losses import find_dropped
from tasks.database.migrations.measured import Measured, as_text, from_text
from tasks.database.migrations.pending import Pending
from tasks.database.migrations.plan import bounds, insist_on
from tasks.database.migrations.rehearsal import describe_problem
from tasks.database.migrations.rehearsing import RehearseRevision
from tasks.database.migrations.scripts import Script
from tasks.database.migrations.way_back import Step, find_way, insist_on_downgrades
from tasks.database.schema.history import parse_history
from tasks.database.schema.objects import describe_changes
from tasks.database.schema.output import failed_for_a_lock, what_it_said
from tasks.guardrails.errors import BadInput, PreconditionFailed, WorldMoved
from tasks.platforms.applications import Completed

LINE = """c3 -> d4 (head), A message -> with an arrow, and a comma
b2 -> c3, (brackets) first
1.0 -> b2
<base> -> 1.0, The first.
"""
BRANCHED = """a1 -> c3 (head), One
a1 -> b2 (head), Other
<base> -> a1 (branchpoint), First
"""
MERGED = """b2, c3 -> d4 (head) (mergepoint), Both
a1 -> c3, One
a1 -> b2, Other
<base> -> a1 (branchpoint), First
"""
DEPENDS = """a1 (x9) -> b2 (head), One
<base> -> a1, First
"""
FAILURE = """INFO  [alembic.runtime.migration] Running upgrade a1 -> b2
Traceback (most recent call last):
  File "/srv/app/alembic/versions/b2.py", line 12, in upgrade
    op.execute("UPDATE users SET password = 'pa55word'")
psycopg.errors.UniqueViolation: duplicate key value violates unique constraint "users_email_key"
DETAIL:  Key (email)=(someone@example.com) already exists.

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/app/alembic/env.py", line 12, in <module>
    run()
sqlalchemy.exc.IntegrityError: (psycopg.errors.UniqueViolation) duplicate key value violates "x"
DETAIL:  Key (email)=(someone@example.com) already exists.
[SQL: INSERT INTO users (email,
  note) VALUES (%(email)s, 'pa55word')]
[parameters: {'email': 'someone@example.com'}]
(Background on this error at: https://sqlalche.me/e/20/gkpj)
"""


def pending(text: str, *current: str) -> Pending:
    """Give where a database stands in a history."""
    return Pending("planner", current, parse_history(text))


def test_a_line_of_revisions_is_read() -> None:
    """Names of any sort, messages with arrows and commas, the head, and the order."""
    history = parse_history(LINE)
    assert history.heads == ("d4",)
    assert [one.name for one in history.line_from("1.0")] == ["b2", "c3", "d4"]
    assert [one.name for one in history.line_from("")] == ["1.0", "b2", "c3", "d4"]
    assert history.by_name["d4"].message == "A message -> with an arrow, and a comma"
    assert history.by_name["c3"].message == "(brackets) first"
    assert history.is_before("1.0", "d4")
    assert not history.is_before("d4", "1.0")
    assert not history.is_before("d4", "d4")


@pytest.mark.parametrize(
    ("text", "current", "told"),
    [
        (LINE, ("1.0",), ""),
        (LINE, ("d4",), ""),
        (LINE, (), "does not say which revision"),
        (LINE, ("gone",), "which the application does not know"),
        (LINE, ("b2", "c3"), "is at 2 revisions at once: b2, c3"),
        (BRANCHED, ("a1",), "The application has 2 heads: b2, c3"),
        (BRANCHED, ("b2",), "The application has 2 heads: b2, c3"),
        (MERGED, ("a1",), "branch, or depend on others"),
        (MERGED, ("b2",), "branch, or depend on others"),
        (DEPENDS, ("a1",), "branch, or depend on others"),
    ],
)
def test_what_is_no_line_is_told(text: str, current: tuple[str, ...], told: str) -> None:
    """Revisions are applied only where one follows another, from one that is known to one head."""
    found = describe_problem(pending(text, *current))
    assert [told in one.what for one in found] == ([True] if told else [])
    assert all(one.patch for one in found)


def test_a_failure_is_told_without_rows_and_secrets() -> None:
    """Statement, parameters, rows and code are left out; the error is not."""
    said = what_it_said(Completed(1, "secret output", FAILURE), (), {})
    assert said.count("UniqueViolation") == 2
    for hidden in ("pa55word", "someone@example.com", "secret output", "/srv/app"):
        assert hidden not in said


@pytest.mark.parametrize(
    "line",
    [
        "OperationalError: postgresql+psycopg://planner:topsecret@db:5432/planner",
        "RuntimeError: the key is topsecret",
        'DataError: invalid input syntax for type integer: "topsecret"',
        "\x1b[31mRuntimeError\x1b[0m: given\x00 to\x9bpsecret, not topsecret",
    ],
)
def test_a_secret_is_not_told(line: str) -> None:
    """Neither of an address, nor of the settings, nor of a value that the server quotes."""
    said = what_it_said(Completed(1, "", line), ("another",), {"POSTGRES_PASSWORD": "topsecret"})
    assert "topsecret" not in said
    assert "\x1b" not in said
    assert "\x9b" not in said
    assert "Error" in said


def test_alembic_s_own_words_are_told() -> None:
    """It prints them to its output."""
    told = Completed(255, "FAILED: Can't locate revision identified by 'x'\n", "")
    assert what_it_said(told, (), {}) == "FAILED: Can't locate revision identified by 'x'"


@pytest.mark.parametrize(
    ("text", "passing"),
    [
        ("(psycopg.errors.LockNotAvailable) annulation à cause du délai", True),
        ("psycopg2.errors.DeadlockDetected: deadlock detected", True),
        ("psycopg.errors.DuplicateColumn: column exists", False),
    ],
)
def test_only_a_lock_is_waited_for(text: str, passing: bool) -> None:
    """By the class of the error, in whatever language the server speaks."""
    assert failed_for_a_lock(Completed(1, "", text)) is passing
    assert not failed_for_a_lock(Completed(0, "", text))


@given(
    st.lists(
        st.builds(
            Measured,
            revision=st.text(min_size=1),
            seconds=st.none() | st.floats(0, 1e6),
            locks=st.lists(
                st.tuples(st.text(), st.sampled_from(["ShareLock"]), st.floats(0, 1e6)), max_size=3
            ).map(tuple),
            differs=st.text(),
        ),
        max_size=3,
    ).map(tuple)
)
def test_what_is_kept_of_a_rehearsal_is_read_back(measured: tuple[Measured, ...]) -> None:
    """Whatever tables are called; and nothing where the comment was cut."""
    text = f"remedy id migrated: {as_text(measured)}"
    assert from_text(text) == measured
    assert from_text(text[:-1]) == ()
    assert from_text("somebody's own comment") == ()


def test_how_long_users_wait_is_the_longest_lock_that_blocks() -> None:
    """A lock that nobody waits for does not count; nothing measured is not nothing."""
    locks = (("a", "RowExclusiveLock", 9.0), ("b", "ShareLock", 2.0), ("c", "ExclusiveLock", 1.0))
    assert Measured(revision="x", seconds=9.0, locks=locks).stall == 2.0
    assert Measured(revision="x", seconds=9.0, locks=locks[:1]).stall == 0.0
    assert Measured(revision="x").stall is None


def test_differences_of_a_schema_are_named() -> None:
    """What is new, gone or changed."""
    before = {"table a": "1", "index b": "2", "column c": "3"}
    after = {"table a": "1", "index b": "9", "column d": "3"}
    assert describe_changes(before, before) == ""
    assert describe_changes(before, after) == "new: column d; gone: column c; changed: index b"


def test_squawk_warns_of_what_locks() -> None:
    """It is installed with the project, and reads several statements."""
    program = find_linter()
    assert program is not None
    script = Script(("CREATE INDEX i ON t (a)", "ALTER TABLE t ADD COLUMN b int NOT NULL"))
    said = lint(program, "x1", script, 150000)
    assert said is not None
    assert {"require-concurrent-index-creation", "adding-required-field"} <= {
        one.rule for one in said
    }
    assert lint(program, "x1", Script(("ALTER TABLE t ADD COLUMN b text",)), 150000) == ()


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("-- a comment\nALTER TABLE t\n  ADD b int", "ALTER TABLE t ADD b int"),
        ("INSERT INTO t VALUES ('secret')", "INSERT INTO t VALUES ($1)"),
        ("CREATE ROLE x PASSWORD 'secret'", "CREATE ROLE x PASSWORD $1"),
        ("COMMENT ON 'secret", "COMMENT ON …"),
    ],
)
def test_statements_are_shown_without_values(statement: str, shown: str) -> None:
    """But for what makes up the schema."""
    assert Script((statement,)).shown == (shown,)


def test_a_revision_of_another_content_is_not_the_one_rehearsed() -> None:
    """The same name with other SQL is refused; what an older record lacks is not compared."""
    now, script = pending(LINE, "b2"), Script(("ALTER TABLE a ADD b int",))
    scripts = {"c3": script, "d4": script}

    def rehearsed(digest: str) -> RehearseRevision:
        return RehearseRevision(
            side="s", live="planner", owner="o", before="b2", after="c3", script=digest
        )

    for digest in ("", script.digest):
        insist_on(now, scripts, ((rehearsed(digest), Measured(revision="c3")),))
    other = rehearsed(Script(("DROP TABLE a",)).digest)
    with pytest.raises(WorldMoved, match="c3: not as rehearsed"):
        insist_on(now, scripts, ((other, Measured(revision="c3")),))


@pytest.mark.parametrize(
    ("text", "at", "wanted", "told"),
    [
        (LINE, "d4", "b2", ""),
        (LINE, "d4", "d4", ""),
        (LINE, "b2", "d4", "d4 is a newer one."),
        (LINE, "d4", "d", "'d', which the application does not know."),
        (LINE, "d4", "-1", "'-1', which the application does not know."),
        (LINE, "d4", "base", "every table of the application would go"),
        (BRANCHED, "b2", "c3", "c3 lies on another branch: no downgrade of b2 leads there."),
        (MERGED, "d4", "a1", "one of them merges others, or depends on others."),
        (MERGED, "b2", "a1", ""),
        (DEPENDS, "b2", "a1", "one of them merges others, or depends on others."),
    ],
)
def test_only_a_line_of_older_revisions_leads_back(
    text: str, at: str, wanted: str, told: str
) -> None:
    """An older revision by its whole name, with nothing but single ones on the way."""
    where = pending(text, at)
    if told:
        with pytest.raises((BadInput, PreconditionFailed)) as raised:
            find_way(where, wanted)
        assert told in raised.value.found
        return
    names = [one.name for one in find_way(where, wanted)]
    assert names == {"b2": ["d4", "c3"], "d4": [], "a1": ["b2"]}[wanted]


def test_a_downgrade_of_no_use_is_refused() -> None:
    """What is empty, fails or commits on its way; one whose upgrade is empty may be empty too."""
    (revision,) = find_way(pending(LINE, "d4"), "c3")
    up, nothing = Script(("ALTER TABLE a ADD b int",)), Script()
    insist_on_downgrades((Step(revision, Script(("DROP TABLE a",)), up),))
    insist_on_downgrades((Step(revision, nothing, nothing),))
    for down, told in (
        (nothing, "it is empty"),
        (Script(in_transaction=False, problem="it cannot be written"), "it cannot be written"),
        (Script(("DROP INDEX CONCURRENTLY a",), in_transaction=False), "half done"),
    ):
        with pytest.raises(PreconditionFailed) as raised:
            insist_on_downgrades((Step(revision, down, up),))
        assert told in raised.value.found
        assert "downgrade of d4" in raised.value.expected


def test_what_is_renamed_is_not_taken_for_lost() -> None:
    """Tables and columns are known by their numbers, whatever they are called."""
    before = {(1, 1): ("s", "a", "id"), (1, 2): ("s", "a", "x"), (2, 1): ("s", "b", "id")}
    after = {(1, 1): ("s", "new", "key"), (3, 1): ("s", "b", "id")}
    assert find_dropped(before, after) == (("s", "a", "x"), ("s", "b", ""))


@pytest.mark.parametrize(("rehearsed", "cut_after"), [(0.1, 0.8), (0.2, 0.8), (1.0, 3.0)])
def test_others_wait_no_longer_than_allowed_or_rehearsed(
    rehearsed: float, cut_after: float
) -> None:
    """It is ended before others have waited the second that they may, or thrice what it took."""
    locks = (("public.projects", "AccessExclusiveLock", rehearsed),)
    measured = Measured(revision="aa01", seconds=rehearsed, locks=locks)
    assert bounds(measured, 1.0)[0] == cut_after
    assert bounds(measured, 10.0)[0] == 9.8
    assert bounds(measured, 0.0)[0] == cut_after
