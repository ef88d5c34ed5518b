"""Opening the ledger's database: its pragmas, its migrations, its two roles on PostgreSQL."""

import fcntl
from functools import lru_cache
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import OperationalError

from tasks.guardrails.errors import BadInput, LedgerBroken, PreconditionFailed

REVISION = "0002"
_OLDER = ("0001",)
_IDLE_SECONDS = 30
MIGRATIONS = Path(__file__).parent / "ledger_migrations"
_BESIDE = ("leases", "approvers", "used_codes", "wrong_codes")


@lru_cache(maxsize=8)
def open_engine(url: str) -> sa.Engine:
    """Open the ledger's database, made and migrated where that is ours to do.

    Args:
        url: SQLAlchemy URL (sqlite or postgresql).

    Returns:
        An engine whose SQLite transactions take the write lock at once.

    Raises:
        LedgerBroken: The database has another revision than this code, or does not answer.
    """
    if url.startswith("postgresql:"):
        url = url.replace("postgresql:", "postgresql+psycopg:", 1)
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        engine = _open_sqlite(parsed)
    else:
        engine = _open_postgresql(parsed)
    try:
        found = revision(engine)
        if found is None:
            migrate(engine)
            found = revision(engine)
    except OperationalError as error:
        raise LedgerBroken(
            expected=f"the ledger's database at {parsed.render_as_string(hide_password=True)}.",
            found=f"{error.orig}.",
            todo="Start it, or set REMEDY_LEDGER_URL.",
        ) from error
    if found != REVISION:
        raise LedgerBroken(
            expected=f"the ledger's database at revision {REVISION}.",
            found=f"revision {found}.",
            todo="Use the version of remedy that fits it, or run `remedy ledger install`.",
        )
    return engine


def _open_postgresql(url: sa.URL) -> sa.Engine:
    """Connect; who stops in the middle of a transaction does not hold up all others for ever."""
    engine = sa.create_engine(url, pool_pre_ping=True)

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:  # noqa: ANN401 - DBAPI objects
        connection.execute(f"SET idle_in_transaction_session_timeout = {_IDLE_SECONDS * 1000}")
        connection.commit()

    return engine


def _open_sqlite(url: sa.URL) -> sa.Engine:
    """Open the file; of several processes that make it at once, one does."""
    path = Path(url.database or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(url, connect_args={"timeout": 60})

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: Any) -> None:  # noqa: ANN401 - DBAPI objects
        connection.isolation_level = None  # we say BEGIN ourselves
        # Bytes that are no text are shown as edited, instead of ending whoever reads them.
        connection.text_factory = lambda raw: raw.decode(errors="replace")
        connection.execute("PRAGMA synchronous=FULL")

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: sa.Connection) -> None:
        # A reader that turns writer would fail at once instead of waiting for its turn.
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    with path.with_name(path.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # turning WAL on does not wait for others by itself
        with engine.connect() as connection:
            connection.connection.execute("PRAGMA journal_mode=WAL")
            connection.rollback()
        if revision(engine) in {None, *_OLDER}:
            migrate(engine)
    return engine


def revision(engine: sa.Engine) -> str | None:
    """Read the database's revision; None where the ledger was never installed."""
    with engine.connect() as connection:
        if not sa.inspect(connection).has_table("ledger_version"):
            return None
        found: str | None = connection.scalar(sa.text("SELECT version_num FROM ledger_version"))
        return found


def migrate(engine: sa.Engine) -> None:
    """Bring the database to this code's revision; of two at once the second finds it done."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        if connection.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(7234306)"))
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def install(owner_url: str, writer: str) -> None:
    """Install the ledger on PostgreSQL for a writer that does not own its tables.

    Args:
        owner_url: URL of a role that may create tables; needed for installing only.
        writer: Name of the role the engine connects as: it may append to the chain and
            read it, and use the rows beside it.

    Raises:
        BadInput: The URL is none of a PostgreSQL database.
        PreconditionFailed: The database does not answer, or refuses: there is no such writer.
    """
    try:
        url = sa.make_url(owner_url).set(drivername="postgresql+psycopg")
        is_ours = owner_url.startswith(("postgresql:", "postgresql+psycopg:"))
    except (sa.exc.ArgumentError, ValueError):
        is_ours = False
    if not is_ours:
        raise BadInput(
            expected="the URL of a PostgreSQL database, as postgresql://owner@host/ledger.",
            found="another one.",  # it may hold a password
            todo="Correct --owner-url.",
        )
    engine = sa.create_engine(url)
    try:
        migrate(engine)
        _grant(engine, writer)
    except sa.exc.DBAPIError as error:
        raise PreconditionFailed(
            expected=f"a database in which the ledger can be installed for {writer!r}.",
            found=f"{error.orig}.",
            todo="Correct --owner-url and --writer, or make the role, then run it again.",
        ) from error
    finally:
        engine.dispose()


def _grant(engine: sa.Engine, writer: str) -> None:
    name = '"{}"'.format(writer.replace('"', '""'))
    with engine.begin() as connection:
        connection.exec_driver_sql(f"GRANT SELECT, INSERT ON entries TO {name}")
        connection.exec_driver_sql(f"GRANT SELECT ON ledger_version TO {name}")
        for table in _BESIDE:
            connection.exec_driver_sql(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {name}")
