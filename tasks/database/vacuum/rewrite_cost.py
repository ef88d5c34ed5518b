"""What writing a table anew costs: how long it takes here, and the disk that it needs."""

import math
import time
from dataclasses import dataclass

from psycopg import sql

from tasks.database.vacuum.rewritable import Rewritable
from tasks.guardrails.errors import RemediationError, Transient
from tasks.platforms.postgresql_errors import sqlstate
from tasks.platforms.protocols import Database

# A server with a slow disk; measured on two cores: 1,021 MB with 138 indexes in 5 s.
_COPIED_A_SECOND = 50e6
_SORTED_A_SECOND = 20e6
_READ_BYTES = 16_000_000
_READ_AT_MOST = "5s"
_WORTH_MEASURING = 4_000_000


@dataclass(frozen=True)
class Cost:
    """How long it takes.

    Args:
        seconds: Seconds, estimated.
        by: What the estimate goes by, in words.
    """

    seconds: float
    by: str

    @property
    def whole(self) -> int:
        """Whole seconds, one at least."""
        return max(1, math.ceil(self.seconds))


def measure_cost(database: Database, table: Rewritable) -> Cost:
    """Estimate how long it takes to write a table anew, from a timed read of a part of it.

    Args:
        database: The database under care.
        table: The table.

    Returns:
        The seconds. A disk that reads slowly writes no faster: where the read is slower than
        what is assumed of copying and sorting, both are taken to be as slow.
    """
    rate = _measure_read(database, table)
    copied, sorted_ = (
        min(assumed, rate or assumed) for assumed in (_COPIED_A_SECOND, _SORTED_A_SECOND)
    )
    files = table.heap + table.toast
    seconds = (
        files / (rate or _COPIED_A_SECOND)
        + (table.written - table.indexes) / copied
        + table.indexes / sorted_
    )
    by = f"a part of it was read at {rate / 1e6:,.0f} MB/s" if rate else "nothing was measured"
    return Cost(
        seconds,
        f"{by}; assumed: rows copied at {copied / 1e6:.0f} MB/s, indexes built at "
        f"{sorted_ / 1e6:.0f} MB/s",
    )


def _measure_read(database: Database, table: Rewritable) -> float | None:
    """Time a read of some of a table's pages, in bytes a second; None where that says nothing."""
    if table.heap < _WORTH_MEASURING:
        return None
    share = min(1.0, _READ_BYTES / table.heap)
    statement = sql.SQL("SELECT count(*) FROM ONLY {} TABLESAMPLE SYSTEM ({})").format(
        sql.Identifier(table.schema_name, table.name), sql.Literal(share * 100)
    )
    with database.connect(lock_timeout="300ms", statement_timeout=_READ_AT_MOST) as session:
        began = time.monotonic()
        try:
            session.execute(statement)
        except RemediationError as error:
            code = sqlstate(error)
            if isinstance(error, Transient) and not code:
                raise  # the server went away
            if code != "57014":  # locked, or not ours to read
                return None
    return share * table.heap / max(0.001, time.monotonic() - began)
