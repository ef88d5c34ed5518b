"""Which revisions a database has still to get, and what each would do, as SQL."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pglast

from tasks.database.schema.history import History, Revision, read_history
from tasks.database.schema.output import what_it_said
from tasks.database.schema.revision import read_revisions
from tasks.database.schema.settings import filled, settings_of
from tasks.guardrails.probe import probe
from tasks.platforms import targets
from tasks.platforms.protocols import System

# Their literals are what the schema is made of, and no row.
_SCHEMA = ("CREATE TABLE", "CREATE INDEX", "CREATE UNIQUE", "CREATE TYPE", "ALTER TABLE", "DROP")
_LONGEST = 400
_PATH = re.compile(r"^Path: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Script:
    """A revision as SQL.

    Args:
        statements: Its statements without BEGIN, COMMIT, and the version table's own.
        in_transaction: Whether all of it is one transaction, as far as the SQL says; what
            cannot be shown is not known to be.
        problem: Why it cannot be shown, '' where it can.
        source: The sha256 of its file where it cannot be shown; '' where that is not read either.
    """

    statements: tuple[str, ...] = ()
    in_transaction: bool = True
    problem: str = ""
    source: str = ""

    @property
    def digest(self) -> str:
        """What changes when it does: the sha256 of its statements, or of its file; '' for none."""
        if self.problem:
            return self.source
        return hashlib.sha256("\0".join(self.statements).encode()).hexdigest()

    @property
    def shown(self) -> tuple[str, ...]:
        """The statements for a plan: without the values of rows, and not too long."""
        if not self.problem:
            return tuple(_shown(one) for one in self.statements)
        if not self.source:
            return (f"{self.problem}; nor can its file: whether it stays as rehearsed is not seen",)
        return (f"{self.problem}; it has to stay as rehearsed: sha256 of its file {self.source}",)


@dataclass(frozen=True)
class Pending:
    """Where the live database stands in the application's history.

    Args:
        live: Name of the live database.
        current: The revisions that it says it is at; None where it has no such table.
        history: The application's history.
    """

    live: str
    current: tuple[str, ...] | None
    history: History

    @cached_property
    def revisions(self) -> tuple[Revision, ...]:
        """The pending revisions in order, as far as they form a line."""
        if not self.current or len(self.current) != 1 or self.current[0] not in self.names:
            return ()
        return self.history.line_from(self.current[0])

    @property
    def names(self) -> frozenset[str]:
        """The names of all revisions of the application."""
        return frozenset(self.history.by_name)

    @property
    def at(self) -> str:
        """The revision that the live database is at; '' where that is not one."""
        return self.current[0] if self.current and len(self.current) == 1 else ""


@probe
def find_pending(target: str) -> Pending:
    """Find the revisions that the live database has still to get.

    Args:
        target: Name of the target.

    Returns:
        Where it stands.

    Raises:
        PreconditionFailed: The target or the application does not say.
    """
    system = targets.load(target)
    settings = settings_of(system)
    history = read_history(system)
    with system.database.connect() as session:
        current = read_revisions(session, settings.version_table)
    return Pending(system.database.name, current, history)


@probe
def find_scripts(target: str, pending: Pending) -> dict[str, Script]:
    """Have the application write the pending revisions as SQL.

    Args:
        target: Name of the target.
        pending: What is pending.

    Returns:
        The scripts by the names of their revisions.
    """
    system = targets.load(target)
    upgrade, at, scripts = settings_of(system).upgrade, pending.at, {}
    for revision in pending.revisions:
        script = write_script(system, upgrade, at, revision.name)
        if script.problem:
            script = replace(script, source=_digest_file(system, revision.name))
        scripts[revision.name] = script
        at = revision.name
    return scripts


def _digest_file(system: System, revision: str) -> str:
    """Give the sha256 of the file in which a revision is written; '' where it cannot be read."""
    shown = system.application.run(filled(settings_of(system).show, revision), {})
    path = _PATH.search(shown.output)
    if shown.status or path is None:
        return ""
    read = system.application.run(["cat", path[1].strip()], {})
    return "" if read.status else hashlib.sha256(read.output.encode()).hexdigest()


def write_script(system: System, command: Sequence[str], before: str, after: str) -> Script:
    """Have the application write a revision as SQL, which asks no database.

    Args:
        system: The target.
        command: Its upgrade, or its downgrade.
        before: The revision before.
        after: The one to which the command leads.

    Returns:
        The script.
    """
    settings = settings_of(system)
    done = system.application.run([*filled(command, f"{before}:{after}"), "--sql"], {})
    if done.status:
        said = what_it_said(done, (), system.application.settings())
        return Script(in_transaction=False, problem=f"it cannot be written as SQL: {said}")
    try:
        every = pglast.split(done.output)
    except pglast.Error as error:
        return Script(in_transaction=False, problem=f"its SQL cannot be read: {error.args[0]}")
    bare = [(one, _first_words(one)) for one in every]
    commits = sum(words.startswith("COMMIT") for _, words in bare)
    own = (f"UPDATE {settings.version_table}", f"INSERT INTO {settings.version_table}")
    return Script(
        statements=tuple(
            one
            for one, words in bare
            if not words.startswith(("BEGIN", "COMMIT"))
            and not _without_comments(one).startswith(own)
        ),
        in_transaction=commits <= 1,
    )


def _without_comments(statement: str) -> str:
    lines = [line for line in statement.splitlines() if not line.lstrip().startswith("--")]
    return " ".join(" ".join(lines).split())


def _first_words(statement: str) -> str:
    return " ".join(_without_comments(statement).upper().split()[:2])


def _shown(statement: str) -> str:
    text = _without_comments(statement)
    if not _first_words(statement).startswith(_SCHEMA):
        try:
            text = pglast.parser.normalize(text)
        except pglast.Error:
            text = f"{_first_words(statement)} …"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
