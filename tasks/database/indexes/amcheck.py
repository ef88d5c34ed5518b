"""Whether indexes are sound, by PostgreSQL's own amcheck, without a lock that writers notice.

Source: PostgreSQL manual F.1 (amcheck). `bt_index_check` takes ACCESS SHARE; the parent check,
which blocks writes, is not used.
"""

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from psycopg import sql

from tasks.database.giving_way import Watcher, long_look
from tasks.database.indexes.amcheck_extension import have_amcheck
from tasks.database.indexes.catalogue import Index, list_indexes, use_no_index
from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.guardrails.plan import Answer, Check, Verdict, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.postgresql_errors import sqlstate
from tasks.platforms.protocols import Connection, Database

_CORRUPTED_INDEX, _CORRUPTED_DATA = "XX002", "XX001"
_SHOWN = 5
_LATER = "Run it again when there is less traffic on the tables that could not be looked at."


class State(enum.StrEnum):
    """What amcheck says of an index."""

    SOUND = "sound"
    DAMAGED = "damaged"
    TABLE_DAMAGED = "its table is damaged"
    UNKNOWN = "not verifiable"


@dataclass(frozen=True)
class Verified:
    """An index, and what amcheck says of it.

    Args:
        index: The index.
        state: What it says.
        detail: The same in words.
        todo: What has to be done before it can say more, '' where nothing helps.
    """

    index: Index
    state: State
    detail: str = ""
    todo: str = ""


def verify_indexes(
    database: Database, indexes: Iterable[Index], progress: Callable[[float, str], None]
) -> list[Verified]:
    """Ask amcheck about indexes: the order in each, and that every row of its table is in it.

    Args:
        database: The database under care.
        indexes: The indexes.
        progress: Told how far it has come.

    Returns:
        What it says of each. Where amcheck is not installed it is, in transactions that are
        rolled back; where that is not allowed, every index is not verifiable.

    Raises:
        Transient: The server went away.
    """
    wanted = sorted(indexes, key=_table)
    found: list[Verified] = []
    with long_look(database) as (session, watched):
        for _, group in groupby(wanted, key=_table):
            # Not one transaction for all: no lock and no snapshot is kept long.
            with session.transaction(force_rollback=True), watched() as watcher:
                unusable: PreconditionFailed | None = None
                try:
                    schema = have_amcheck(session)
                except PreconditionFailed as error:
                    schema, unusable = "", error
                for index in group:
                    progress(len(found) / len(wanted), f"checking {index.full_name}")
                    found.append(
                        _known(index)
                        or (_unverified(index, unusable) if unusable else None)
                        or _verify(session, index, schema, watcher)
                    )
    return found


def _unverified(index: Index, why: PreconditionFailed) -> Verified:
    detail = f"amcheck cannot be used: {why.found.rstrip('.')}"
    return Verified(index, State.UNKNOWN, detail, why.todo)


def _given_up(index: Index, watcher: Watcher) -> Verified:
    return Verified(index, State.UNKNOWN, f"given up: {watcher.why}", _LATER)


def _table(index: Index) -> int:
    return 0 if index.is_catalogue else index.table_oid


def _verify(session: Connection, index: Index, schema: str, watcher: Watcher) -> Verified:
    # The order in the index first: what is wrong then is the index's and not its table's.
    for all_rows in (False, True):
        if watcher.why:
            return _given_up(index, watcher)
        try:
            with session.transaction():
                session.execute(
                    sql.SQL("SELECT {}({}::regclass, {})").format(
                        sql.Identifier(schema, "bt_index_check"), index.oid, all_rows
                    )
                )
        except RemediationError as error:
            if watcher.why:
                return _given_up(index, watcher)
            if isinstance(error, Transient) and not sqlstate(error):
                raise
            return _judged(session, index, error)
    return Verified(index, State.SOUND)


def _known(index: Index) -> Verified | None:
    """Say what is known of an index before it is read; None where it has to be."""
    if index.building:
        detail = "somebody is building on its table now"
        return Verified(index, State.UNKNOWN, detail, "Run it again when that is done.")
    if not index.valid:
        return Verified(index, State.DAMAGED, "it is marked invalid: queries pass it over")
    if index.method != "btree":
        return Verified(index, State.UNKNOWN, f"amcheck knows no {index.method}")
    return None


def _judged(session: Connection, index: Index, error: RemediationError) -> Verified:
    """Say what an error of amcheck's means: a row that is missing has the code of damaged data."""
    detail = error.found.rstrip(".")
    if sqlstate(error) in (_CORRUPTED_INDEX, _CORRUPTED_DATA):
        damaged = _problem_of_table(session, index)
        state = State.TABLE_DAMAGED if damaged else State.DAMAGED
        return Verified(index, state, damaged or detail)
    there = session.execute("SELECT FROM pg_class WHERE oid = %s", (index.oid,)).fetchone()
    if there is None:
        return Verified(index, State.UNKNOWN, "it is gone")
    return Verified(index, State.UNKNOWN, detail, error.todo)


def _problem_of_table(session: Connection, index: Index) -> str:
    """Read an index's table without it; say what is wrong with the table, '' where nothing."""
    try:
        with session.transaction():
            use_no_index(session)
            table = sql.Identifier(index.schema_name, index.table)
            session.execute(sql.SQL("SELECT count(*) FROM ONLY {}").format(table))
    except RemediationError as error:
        if sqlstate(error) != _CORRUPTED_DATA:
            raise
        return error.found.rstrip(".")
    return ""


class RebuiltIndexesAreSound(Check):
    """Indexes are valid, and amcheck finds nothing wrong with them.

    Args:
        names: Their names as 'schema.name'.
    """

    kind: ClassVar[str] = "database.rebuilt_indexes_are_sound"

    names: tuple[str, ...]

    @property
    def title(self) -> str:
        """The claim."""
        return f"{counted(len(self.names), 'index', 'indexes')} sound"

    def ask(self, work: Work) -> Answer:
        """Verify each."""
        database = targets.load(work.target).database
        with database.connect() as session:
            there = [one for one in list_indexes(session) if one.full_name in self.names]
        missing = sorted(set(self.names) - {one.full_name for one in there})
        verified = verify_indexes(database, there, work.progress)
        wrong = [f"{name} is missing" for name in missing] + [
            f"{one.index.full_name}: {one.state}, {one.detail}"
            for one in verified
            if one.state in (State.DAMAGED, State.TABLE_DAMAGED)
        ]
        if wrong:
            return Answer(Verdict.NOT_HELD, "; ".join(wrong[:_SHOWN]))
        unknown = sum(one.state is State.UNKNOWN for one in verified)
        text = f"amcheck: {len(verified) - unknown} sound"
        return Answer(
            Verdict.HELD, text + (f", {unknown} valid but not verifiable" if unknown else "")
        )
