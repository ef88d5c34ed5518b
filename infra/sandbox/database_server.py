"""A PostgreSQL server of our own: made, configured, started, and had up again after a kill.

Sources: PostgreSQL manual, initdb; 19.5 (shutdown), 20.3 (connections and authentication).
"""

import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow

from infra.sandbox.processes import Service
from infra.sandbox.service_user import hand_over, insist_on_passage, run, service_user
from infra.sandbox.settings import HOST
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.sandbox.server_folder import find_holders

UP_WITHIN_SECONDS = 60.0
STARTS = 5
CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
password_encryption = scram-sha-256
log_line_prefix = '%m [%p] %u@%d %a '
"""
HBA = "host all all 127.0.0.1/32 scram-sha-256\n"


class DatabaseServer:
    """A PostgreSQL server that is private: loopback only, and nobody without a password.

    Args:
        data: Its data directory.
        programs: Folder of PostgreSQL's programs.
        port: Its port.
        user: Its superuser.
        password: The superuser's password.
        configuration: What its postgresql.conf says beyond what that of each of ours says.
        service: Makes its process from the rest; knows where records and logs go.
    """

    def __init__(
        self,
        data: Path,
        programs: Path,
        port: int,
        user: str,
        password: str,
        configuration: str,
        service: Callable[..., Service],
    ) -> None:
        """Keep where it is; starts nothing."""
        self.data, self.programs = data, programs
        self._port, self._user, self._password = port, user, password
        self._configuration = configuration
        self.service = service(
            name="postgresql",
            command=[programs / "postgres", "-D", data, "-p", str(port)],
            directory=Path("/"),
            user=service_user(),
            stop_signal=signal.SIGINT,  # fast shutdown
        )

    def make(self) -> None:
        """Make the data directory, unless it is there; whole or not at all.

        Raises:
            PreconditionFailed: initdb fails, or its user cannot reach the folder.
        """
        if self.data.exists() and any(self.data.iterdir()):
            return
        parent = self.data.parent
        parent.mkdir(parents=True, exist_ok=True, mode=0o711)
        insist_on_passage(parent)
        for left_behind in parent.glob(".new-*"):
            shutil.rmtree(left_behind, ignore_errors=True)
        # A folder of its own: an initdb whose starter was killed may still write to its.
        draft = Path(tempfile.mkdtemp(prefix=".new-", dir=parent))
        data, password = draft / "data", draft / "password"
        data.mkdir(mode=0o700)
        password.write_text(self._password)
        hand_over(draft, data, password)
        self._initdb(data, password)
        with (data / "postgresql.conf").open("a") as file:
            file.write(CONFIGURATION + self._configuration)
        (data / "pg_hba.conf").write_text(HBA)
        data.rename(self.data)
        shutil.rmtree(draft)

    def _initdb(self, data: Path, password: Path) -> None:
        done = run(
            [
                *(self.programs / "initdb", "--pgdata", data, "--no-sync", "--data-checksums"),
                *("--username", self._user, "--pwfile", password),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C.UTF-8"),
            ]
        )
        if done.returncode:
            raise PreconditionFailed(
                expected=f"initdb to make the PostgreSQL server {self.data}.",
                found=f"{done.stdout[-500:]} {done.stderr[-1000:]}",
                state="There is no such server yet.",
                todo="Correct what initdb names, then run the same command again.",
            )

    def connect(self, database: str = "postgres") -> "psycopg.Connection[TupleRow]":
        """Connect as the superuser; each statement commits by itself."""
        return psycopg.connect(
            host=HOST,
            port=self._port,
            dbname=database,
            user=self._user,
            password=self._password,
            connect_timeout=5,
            autocommit=True,
        )

    def stop(self) -> None:
        """Stop the server in good order; its sessions are ended."""
        self.service.stop()

    @property
    def runs(self) -> bool:
        """Whether the server's process is there."""
        return self.service.process() is not None

    def kill(self) -> None:
        """End the server at once, as `kill -9` does, and wait until its last process has ended."""
        self.service.stop(kill=True)
        deadline = time.monotonic() + UP_WITHIN_SECONDS
        while left := find_holders(self.data):
            if time.monotonic() > deadline:
                raise PreconditionFailed(
                    expected=f"the processes in {self.data} to end with their server.",
                    found=f"{left[0]} is there after {UP_WITHIN_SECONDS:.0f} s.",
                    todo="End it by its number, then start the sandbox again.",
                )
            time.sleep(0.05)

    def start(self) -> None:
        """Start the server, unless it runs, and wait until it answers.

        Raises:
            PreconditionFailed: It does not come up.
        """
        self.service.start()
        deadline = time.monotonic() + UP_WITHIN_SECONDS
        starts = 1
        while True:
            try:
                self.connect().close()
            except psycopg.OperationalError as error:
                ended = self.service.process() is None
                if time.monotonic() > deadline or (ended and starts == STARTS):
                    raise self.service.failed("answer") from error
                if ended:  # the processes of one that was killed are still ending
                    time.sleep(1)
                    starts += 1
                    self.service.start()
                time.sleep(0.05)
            else:
                return
