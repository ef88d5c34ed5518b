"""What live has besides its rows: a cut-over takes it back to the copy's, so it is looked at."""

import hashlib
from collections.abc import Callable
from typing import ClassVar

from tasks.database.catalogue import elsewhere, inspect_database
from tasks.database.copies.privileges import read_privileges
from tasks.database.copies.settings import READ_ONLY, DatabaseSettings, inspect_settings
from tasks.database.restore.blockers import find_attached
from tasks.database.schema.objects import describe_changes, read_objects
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding, Limit, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Connection, Database


class LiveUnchanged(Limit):
    """What of live besides its rows is another than when the cut-over was planned.

    Args:
        live: Name of the live database.
        planned: What it had then, as `read_besides_rows` gives it.
    """

    kind: ClassVar[str] = "database.live_unchanged"

    live: str
    planned: dict[str, str]

    @property
    def title(self) -> str:
        """What is limited."""
        return f"changes of {self.live} besides its rows ({', '.join(self.planned)})"

    def measure(self, work: Work) -> float:
        """Count the sorts of things that changed."""
        now = read_besides_rows(targets.load(work.target).database, self.live)
        return sum(now.get(what) != digest for what, digest in self.planned.items())


def read_besides_rows(database: Database, live: str) -> dict[str, str]:
    """Read what a copy replaces or leaves behind, in a form that changes when it does.

    Args:
        database: The database under care.
        live: Name of the live database.

    Returns:
        A digest by what it is of. What a damaged database does not tell is as good as any other.
    """

    def within(read: Callable[[Connection], object]) -> object:
        with database.connect(live) as session:
            return read(session)

    def whole() -> object:
        with database.connect(elsewhere(database)) as session:
            facts = inspect_database(session, live)
            return facts.oid, facts.shape, facts.comment, inspect_settings(session, live)

    def attached() -> object:
        with database.connect(elsewhere(database)) as session:
            facts = inspect_database(session, live)
        return sorted(find_attached(database, facts))

    return {
        "its schema": _digest(
            lambda: within(lambda session: sorted(read_objects(session).items()))
        ),
        "owners and privileges": _digest(
            lambda: within(lambda session: sorted(read_privileges(session).items()))
        ),
        "settings": _digest(whole),
        "what is attached": _digest(attached),
    }


def _digest(read: Callable[[], object]) -> str:
    try:
        seen = repr(read())
    except PreconditionFailed as error:
        seen = f"cannot be read: {error.found}"
    return hashlib.sha256(seen.encode()).hexdigest()


def find_schema_differences(database: Database, live: str, side: str) -> Finding:
    """Say how the schema of live differs from the copy's, which holds after a cut-over.

    Args:
        database: The database under care.
        live: Name of the live database.
        side: Name of the copy.
    """
    how = "both schemas compared, object by object"
    try:
        with database.connect(live) as session:
            there = read_objects(session)
    except PreconditionFailed as error:
        return Finding(what=f"The schema of {live} cannot be read: {error.found}", how=how)
    with database.connect(side) as session:
        differs = describe_changes(there, read_objects(session))
    if not differs:
        return Finding(what=f"The copy has the schema of {live}.", how=how)
    return Finding(what=f"A cut-over gives {live} another schema, the copy's: {differs}.", how=how)


def settings_differ(planned: DatabaseSettings, now: DatabaseSettings) -> bool:
    """Say whether a database's settings are others, but for our own: that it is read-only."""
    return _without_ours(planned) != _without_ours(now)


def _without_ours(settings: DatabaseSettings) -> DatabaseSettings:
    kept = tuple(one for one in settings.settings if one[1] != READ_ONLY)
    return settings.model_copy(update={"settings": kept})
