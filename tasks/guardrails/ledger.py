"""The append-only, hash-chained and signed record of everything that was done.

Each entry carries the hash of the one before; all writers are put in one row (SQLite's write
lock, an advisory lock on PostgreSQL), so the chain never forks. An entry is durable when
`append` returns: nothing is begun before that.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, OperationalError

from tasks.guardrails import anchors, faults, key_in_force, ledger_errors, ledger_setup
from tasks.guardrails.entries import GENESIS, Entry, hash_of
from tasks.guardrails.errors import LedgerBroken
from tasks.guardrails.keys import Keys, load_keys
from tasks.guardrails.ledger_schema import ENTRIES
from tasks.guardrails.plan import canonical_json
from tasks.guardrails.settings import Settings, settings

_ADVISORY_LOCK = 0x72656D656479  # 'remedy'
_RETRY_SECONDS = 120


class Writing:
    """A transaction on the ledger that holds the chain's end: what it writes lands together."""

    def __init__(self, connection: sa.Connection, keys: Keys) -> None:
        """Read the end of the chain, which nobody else can move now."""
        self.connection = connection
        self._keys = keys
        last = connection.execute(
            sa.select(ENTRIES.c.seq, ENTRIES.c.hash).order_by(ENTRIES.c.seq.desc()).limit(1)
        ).first()
        self.kinds: list[str] = []
        self._seq: int = last.seq if last else 0
        self._hash: str = last.hash if last else GENESIS
        key_in_force.insist(connection, keys, self._seq)

    def rotate_key(self) -> Keys:
        """Make the key that signs from the next entry on; who calls keeps it first."""
        self._keys = self._keys.successor(self._seq)
        return self._keys

    def append(
        self,
        kind: str,
        body: Mapping[str, Any],
        *,
        remediation: str = "",
        run: str = "",
        actor: str = "engine",
    ) -> Entry:
        """Append an entry; it counts when the transaction ends well.

        Args:
            kind: What happened: 'requested', 'planned', 'decided', 'begun', ...
            body: The facts, as JSON values; never a secret's value.
            remediation: Id of the remediation it belongs to.
            run: Id of the Prefect run at work.
            actor: Who did it.

        Returns:
            The entry.
        """
        faults.point(f"before-entry:{kind}")
        at = datetime.now(UTC).isoformat(timespec="microseconds")
        parts = (self._seq + 1, at, kind, remediation, run, actor, canonical_json(body), self._hash)
        digest = hash_of(*parts)
        entry = Entry(*parts, hash=digest, signature=self._keys.sign(digest))
        self.connection.execute(ENTRIES.insert().values(**vars(entry)))
        self._seq, self._hash = entry.seq, entry.hash
        self.kinds.append(kind)
        return entry


class Ledger:
    """A ledger on SQLite or PostgreSQL.

    Args:
        config: Where it lies, its key and its anchors.
    """

    def __init__(self, config: Settings | None = None) -> None:
        """Open the ledger; a SQLite file is made at the first use."""
        self.config = config or settings()
        self.engine = ledger_setup.open_engine(self.config.ledger)
        key_in_force.settle(self.config, self._locked)
        self.keys = load_keys(self.config)

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """Open a transaction that may append, waiting for other writers.

        Yields:
            The transaction; it is rolled back when the block raises.

        Raises:
            LedgerBroken: The database cannot be written for two minutes, or the key was rotated.
        """
        with self._locked() as connection:
            chain = Writing(connection, self.keys)
            yield chain
        for kind in chain.kinds:
            faults.point(f"after-entry:{kind}")

    @contextmanager
    def _locked(self) -> Iterator[sa.Connection]:
        connection = self._connect().execution_options(writes=True)
        try:
            with connection, connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_ADVISORY_LOCK)))
                yield connection
        except DBAPIError as error:
            raise ledger_errors.not_written(error) from error

    def _connect(self) -> sa.Connection:
        """Connect, waiting up to two minutes: a change that has begun waits for its record."""
        give_up = time.monotonic() + _RETRY_SECONDS
        while True:
            try:
                return self.engine.connect()
            except OperationalError as error:
                if time.monotonic() > give_up:
                    raise ledger_errors.no_answer(error, _RETRY_SECONDS) from error
                logging.getLogger(__name__).warning("the ledger does not answer; waiting for it")
                time.sleep(1)

    def append(
        self,
        kind: str,
        body: Mapping[str, Any],
        *,
        insist: Callable[[Writing], None] | None = None,
        **where: str,
    ) -> Entry:
        """Append one entry in a transaction of its own; see `Writing.append`.

        Where the database goes away it is waited for, up to two minutes.

        Args:
            kind: What happened.
            body: The facts.
            insist: Called in the transaction before the entry; nothing is written if it raises.
            where: See `Writing.append`.
        """
        give_up = time.monotonic() + _RETRY_SECONDS
        while True:
            try:
                with self.writing() as chain:
                    if insist is not None:
                        insist(chain)
                    entry = chain.append(kind, body, **where)
            except LedgerBroken as error:
                # What is done waits for its record; an entry that landed twice is harmless.
                cause = error.__cause__
                lost = isinstance(cause, OperationalError) or (
                    isinstance(cause, DBAPIError) and cause.connection_invalidated
                )
                if not lost or time.monotonic() > give_up:
                    raise
                time.sleep(1)
            else:
                return entry

    def entries(
        self,
        *,
        remediation: str | None = None,
        kinds: tuple[str, ...] = (),
        run: str | None = None,
        after: int = 0,
    ) -> list[Entry]:
        """Read entries in order.

        Args:
            remediation: Only those of this remediation.
            kinds: Only those of these kinds.
            run: Only those of this Prefect run.
            after: Only those behind this sequence number.

        Returns:
            The entries.

        Raises:
            LedgerBroken: One of them is not what was signed.
        """
        query = sa.select(ENTRIES).where(ENTRIES.c.seq > after).order_by(ENTRIES.c.seq)
        if remediation is not None:
            query = query.where(ENTRIES.c.remediation == remediation)
        if kinds:
            query = query.where(ENTRIES.c.kind.in_(kinds))
        if run is not None:
            query = query.where(ENTRIES.c.run == run)
        found = [Entry(**row._mapping) for row in self.read(query)]  # noqa: SLF001 - SQLAlchemy's public name
        for entry in found:
            self._insist_on(entry)
        return found

    def read(self, query: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        """Read rows, waiting up to two minutes for the database, also where a session is cut.

        Raises:
            LedgerBroken: It does not answer.
        """
        give_up = time.monotonic() + _RETRY_SECONDS
        while True:
            try:
                with self._connect() as connection:
                    return connection.execute(query).all()
            except OperationalError as error:
                if not error.connection_invalidated:
                    raise
                if time.monotonic() > give_up:
                    raise ledger_errors.no_answer(error, _RETRY_SECONDS) from error
                time.sleep(1)

    def _insist_on(self, entry: Entry) -> None:
        """Refuse an entry that was written past us: it counts for nothing."""
        if entry.computed_hash() != entry.hash or not self.keys.is_signed(
            entry.hash, entry.signature, entry.seq
        ):
            with self._connect() as connection:
                key_in_force.insist(connection, self.keys)
            raise ledger_errors.not_ours(entry.seq)

    def head(self) -> Entry | None:
        """Give the last entry, None in an empty ledger."""
        query = sa.select(ENTRIES).order_by(ENTRIES.c.seq.desc()).limit(1)
        rows = self.read(query)
        return Entry(**rows[0]._mapping) if rows else None  # noqa: SLF001 - SQLAlchemy's public name

    def anchor(self) -> None:
        """Append the signed head to the anchors that are configured."""
        head = self.head()
        if head is not None:
            self._insist_on(head)
            signature = self.keys.sign(anchors.signed_text(head.seq, head.hash))
            anchors.append(self.config.ledger_anchors, head.seq, head.hash, signature)
