"""A revision of the application as SQL, and that it is still the one that was planned."""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pglast

from tasks.database.schema.output import what_it_said
from tasks.database.schema.settings import filled, settings_of
from tasks.guardrails.errors import WorldMoved
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
        varies: Whether it is another one each time it is written, as with a UUID that it makes.
        source: The sha256 of its file where it cannot be shown or varies; '' where that is not
            read either.
    """

    statements: tuple[str, ...] = ()
    in_transaction: bool = True
    problem: str = ""
    varies: bool = False
    source: str = ""

    @property
    def digest(self) -> str:
        """What changes when it does: the sha256 of its SQL, or of its file; '' for none."""
        if self.problem or self.varies:
            return self.source
        whole = (str(self.in_transaction), *self.statements)
        return hashlib.sha256("\0".join(whole).encode()).hexdigest()

    @property
    def has_rows(self) -> bool:
        """Whether it has statements that are not of the schema alone."""
        return any(not _first_words(one).startswith(_SCHEMA) for one in self.statements)

    @property
    def shown(self) -> tuple[str, ...]:
        """The statements for a plan: without the values of rows, and not too long."""
        if not self.problem and not self.varies:
            return tuple(_shown(one) for one in self.statements)
        why = self.problem or "its values are others each time it is written"
        held = (
            f"it has to stay as rehearsed: sha256 of its file {self.source}"
            if self.source
            else "its file is not found, so whether it stays as rehearsed is not seen"
        )
        return (*(_shown(one) for one in self.statements), f"{why}; {held}")


def write_script(system: System, command: Sequence[str], of: str) -> Script:
    """Have the application write a revision as SQL, which asks no database.

    Args:
        system: The target.
        command: Its upgrade or downgrade, from one revision to another.
        of: The revision that it is: its file counts where its SQL cannot.

    Returns:
        The script.
    """
    script = _write(system, command)
    if script.has_rows:
        again = _write(system, command)
        script = replace(script, varies=again.statements != script.statements)
    if script.problem or script.varies:
        return replace(script, source=_digest_file(system, of))
    return script


def insist_on_script(system: System, command: Sequence[str], of: str, planned: str) -> None:
    """Make sure that a revision is still what was planned, right before it runs.

    Args:
        system: The target.
        command: Its upgrade or downgrade, from one revision to another.
        of: The revision.
        planned: The digest that it had, '' where unknown.

    Raises:
        WorldMoved: It has another one now.
    """
    if planned and write_script(system, command, of).digest != planned:
        raise WorldMoved(
            expected=f"revision {of} to do what was planned and approved.",
            found="another version of it is deployed now.",
            state="It was not run.",
            todo="Find out who deployed another version of the application, then run again.",
        )


def _digest_file(system: System, revision: str) -> str:
    """Give the sha256 of the file in which a revision is written; '' where it cannot be read."""
    shown = system.application.run(filled(settings_of(system).show, revision), {})
    path = _PATH.search(shown.output)
    if shown.status or path is None:
        return ""
    read = system.application.run(["cat", path[1].strip()], {})
    return "" if read.status else hashlib.sha256(read.output.encode()).hexdigest()


def _write(system: System, command: Sequence[str]) -> Script:
    settings = settings_of(system)
    done = system.application.run([*command, "--sql"], {})
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
