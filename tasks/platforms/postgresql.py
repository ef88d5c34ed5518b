"""A PostgreSQL server as a capability: sessions that can be fenced, and programs that fit it.

Source: PostgreSQL manual 34.15 (libpq environment).
"""

import shutil
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from tasks.guardrails.errors import (
    LeaseLost,
    PreconditionFailed,
    UndoFailed,
)
from tasks.guardrails.systems import fencing_token, insist_on_fence
from tasks.platforms.postgresql_errors import told
from tasks.platforms.postgresql_programs import CLIENT_PROGRAMS, NEEDED_PROGRAMS, find_programs
from tasks.platforms.printed_logs import PrintedLog
from tasks.platforms.protocols import Connection

T = TypeVar("T")

_CONNECT_SECONDS = 10
LOCK_TIMEOUT = "5s"  # who waits longer waits for a lock that nobody lets go
_GONE_SECONDS = 20.0
_CHECK_INTERVAL_SINCE = 140000


class _Session(psycopg.Connection[dict[str, Any]]):
    """A session whose errors are ours, whatever call they come from."""

    server = "the database"

    def wait(
        self, gen: Generator[Any, Any, T], interval: float = 0.1, timeout: float | None = None
    ) -> T:
        if timeout is not None:  # psycopg ends that wait by an exception of its own
            return super().wait(gen, interval, timeout)
        try:
            return super().wait(gen, interval)
        except psycopg.Error as error:
            raise told(error, self.server) from error


class PostgreSQL:
    """A database on a PostgreSQL server, reached as a maintenance user.

    Args:
        target: Name of the target; part of every session's application_name.
        host: Address of the server.
        port: Its port.
        name: Name of the database under care.
        user: The maintenance user.
        password: Its password.
        maintenance_database: Where commands run that name the one under care.
        programs: Folder of the client programs; searched for where not given.
        data_path: The server's data directory where it is on this machine, to measure disk.
        log_path: Its log where it writes one to a file of this machine.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - an address has that many parts
        self,
        target: str,
        host: str,
        port: int,
        name: str,
        user: str,
        password: str,
        maintenance_database: str = "postgres",
        programs: Path | None = None,
        data_path: Path | None = None,
        log_path: Path | None = None,
    ) -> None:
        """Keep the address; connects to nothing."""
        self.target, self.name, self._place = target, name, (host, port)
        self.user, self.maintenance_database = user, maintenance_database
        self._password, self._programs, self._data_path = password, programs, data_path
        self._log_path = log_path
        self._major = 0

    def __repr__(self) -> str:
        """Show the address without the password."""
        return f"PostgreSQL({self.user}@{self.host}:{self.port}/{self.name})"

    @property
    def host(self) -> str:
        """Address of the server."""
        return self.place()[0]

    @property
    def port(self) -> int:
        """Its port."""
        return self.place()[1]

    def place(self) -> tuple[str, int]:
        """Say where the server is reached from here: address and port."""
        return self._place

    @property
    def address(self) -> tuple[str, str]:
        """Where the application reaches the server: host and port."""
        return self.host, str(self.port)

    @property
    def session_name(self) -> str:
        """The application_name of our sessions, with the fencing token held now."""
        return f"remedy:{self.target}:{fencing_token()}"

    def connect(
        self, database: str | None = None, *, autocommit: bool = True, **settings: str
    ) -> Connection:
        """Connect as the maintenance user; rows come as dictionaries.

        Args:
            database: Name of the database; the one under care by default.
            autocommit: Whether each statement is its own transaction.
            settings: Server settings of the session, as lock_timeout='300ms'; 5 s by default.

        Returns:
            A session that carries the fencing token and ends soon after we do.

        Raises:
            Transient: The server does not answer.
            PreconditionFailed: It answers and refuses.
            LeaseLost: Our lease ran out meanwhile; the session is closed again.
        """
        session = self._open(database or self.name, self.user, self._password)
        if session.info.server_version >= _CHECK_INTERVAL_SINCE:
            # A killed client's backend goes on executing otherwise; not on Windows servers.
            settings.setdefault("client_connection_check_interval", "1s")
        settings.setdefault("lock_timeout", LOCK_TIMEOUT)
        for setting, value in settings.items():
            session.execute("SELECT set_config(%s, %s, false)", (setting, value))
        session.autocommit = autocommit
        return session

    def log_in(
        self,
        user: str,
        password: str,
        database: str | None = None,
        host: str | None = None,
        port: str | None = None,
    ) -> Connection:
        """Connect as somebody else, as the application does.

        Args:
            user: Name of a role.
            password: Its password.
            database: Name of the database; the one under care by default.
            host: Another address than the target's, as the application has it.
            port: Another port than the target's.

        Returns:
            A session that carries the fencing token; each statement commits by itself.

        Raises:
            Transient: The server does not answer.
            PreconditionFailed: It answers and refuses.
            LeaseLost: Our lease ran out meanwhile; the session is closed again.
        """
        return self._open(database or self.name, user, password, *self._reached(host, port))

    def _reached(self, host: str | None, port: str | None) -> tuple[str, str]:
        """Say where an address that the application has is reached from here."""
        return host or self.host, port or str(self.port)

    def _open(
        self,
        name: str,
        user: str,
        password: str,
        host: str | None = None,
        port: str | None = None,
    ) -> Connection:
        server = f"database {name} on {host or self.host}:{port or self.port}"
        try:
            session = _Session.connect(
                host=host or self.host,
                port=port or self.port,
                dbname=name,
                user=user,
                password=password,
                application_name=self.session_name,
                connect_timeout=_CONNECT_SECONDS,
                autocommit=True,
                row_factory=dict_row,
            )
        except psycopg.Error as error:
            raise told(error, server) from error
        try:
            insist_on_fence()  # behind the connect: from here on a successor sees the session
        except LeaseLost:
            session.close()
            raise
        session.server = server
        return session

    def environment(self, database: str | None = None, user: str | None = None) -> dict[str, str]:
        """Give the libpq environment for a client program: no secret in `ps`.

        Args:
            database: Name of the database; the one under care by default.
            user: Another user than the maintenance user; its PGPASSWORD is the caller's to set.

        Returns:
            PGHOST, PGPORT, PGDATABASE, PGUSER, PGAPPNAME, PGCONNECT_TIMEOUT, PGPASSWORD.
        """
        environment = {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGDATABASE": database or self.name,
            "PGUSER": user or self.user,
            "PGAPPNAME": self.session_name,
            "PGCONNECT_TIMEOUT": str(_CONNECT_SECONDS),
        }
        if user in (None, self.user):
            environment["PGPASSWORD"] = self._password
        return environment

    def program(self, name: str) -> Path:
        """Find a client program that fits the server: its major version or a newer one.

        Args:
            name: pg_dump, pg_restore, psql, ...

        Returns:
            Its path.

        Raises:
            PreconditionFailed: There is none; says where it was looked for.
        """
        if not self._major:
            with self.connect(self.maintenance_database) as session:
                self._major = session.info.server_version // 10000
        folder = self._programs or find_programs(self._major, CLIENT_PROGRAMS)
        if not (folder / name).is_file():
            # What is no part of PostgreSQL, as pg_repack, is packaged elsewhere too.
            elsewhere = None if name in NEEDED_PROGRAMS else shutil.which(name)
            if elsewhere:
                return Path(elsewhere)
            raise PreconditionFailed(
                expected=f"the program {name}.",
                found=f"none in {folder}.",
                todo="Install PostgreSQL's client programs, or name their folder in the target.",
            )
        return folder / name

    def free_bytes(self) -> int | None:
        """Measure the free bytes where the server keeps its data; None where unknowable."""
        if self._data_path is None or not self._data_path.exists():
            return None
        return shutil.disk_usage(self._data_path).free

    def identity(self) -> dict[str, str]:
        """Ask the server who it is.

        Returns:
            Its system identifier and the number of its version.

        Raises:
            Transient: It does not answer.
            PreconditionFailed: It answers and refuses.
        """
        with self.connect(self.maintenance_database) as session:
            row = session.execute(
                "SELECT system_identifier::text, current_setting('server_version_num') AS version"
                " FROM pg_control_system()"
            ).fetchone()
        found = row or {}
        return {
            "system_identifier": str(found.get("system_identifier")),
            "server_version_num": str(found.get("version")),
        }

    def log_file(self) -> Path | None:
        """Give the server's log where it is a file of this machine; None elsewhere."""
        return self._log_path

    def printed_log(self) -> PrintedLog | None:
        """Give what the server prints, where somebody keeps that; None elsewhere."""
        return None

    def end_older(self, token: int) -> list[str]:
        """End our sessions of older fencing tokens on this server, and wait until they are gone.

        Args:
            token: The fencing token held now.

        Returns:
            A sentence for each session ended.

        Raises:
            UndoFailed: A session would not end; nothing may be begun then.
        """
        query = """
            SELECT pid, application_name AS name, datname AS database,
              split_part(left(query, 20), ' ', 1) AS query -- its first word: values stay unseen
            FROM pg_stat_activity
            WHERE application_name ~ ('^remedy:' || %s || ':[0-9]+$') AND pid <> pg_backend_pid()
              AND split_part(application_name, ':', 3)::bigint < %s"""
        ended: dict[int, str] = {}
        deadline = time.monotonic() + _GONE_SECONDS
        with self.connect(self.maintenance_database) as session:
            while rows := session.execute(query, (self.target, token)).fetchall():
                for row in rows:
                    session.execute("SELECT pg_terminate_backend(%s)", (row["pid"],))
                    ended[row["pid"]] = (
                        f"session {row['name']} in {row['database']}, at: {row['query']}"
                    )
                if time.monotonic() > deadline:
                    raise UndoFailed(
                        expected="every session of an older remediation to end.",
                        found="; ".join(ended.values()),
                        todo="End it on the server (pg_terminate_backend), then recover.",
                    )
                time.sleep(0.05)
        return list(ended.values())
