"""PostgreSQL's client programs as children that die with us and say why they failed."""

import ctypes
import os
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import IO

from psycopg.conninfo import make_conninfo

from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.systems import note_child
from tasks.platforms.protocols import Database

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)
_TAIL = 2000
_STOP_SECONDS = 10.0
_LOST = ("server closed the connection", "could not connect", "Connection refused", "terminating")


def _die_with(parent: int) -> Callable[[], None]:
    def before_exec() -> None:
        # SIGTERM, not SIGKILL: pg_restore and pg_dump then end their parallel workers too.
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call above
            os._exit(1)

    return before_exec


@contextmanager
def running(
    database: Database,
    program: str,
    arguments: Sequence[str | Path],
    *,
    on: str | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: int | None = subprocess.DEVNULL,
    stdout: int | IO[bytes] | None = subprocess.DEVNULL,
    stderr: IO[bytes] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a client program while the block lasts; its end is waited for.

    Args:
        database: Whose programs and address are used; passwords go by the environment.
        program: pg_dump, pg_restore, psql, ...
        arguments: Its arguments, without a shell.
        on: Name of the database to connect to; the one under care by default.
        environment: Variables laid over those of the address, as PGOPTIONS.
        stdin: As of subprocess.Popen.
        stdout: As of subprocess.Popen.
        stderr: A file for its messages; who gives one judges by himself how it has ended.

    Yields:
        The process.

    Raises:
        PreconditionFailed: It failed; the end of what it printed is in the error.
        Transient: It failed as the server went away.
    """
    path = database.program(program)
    surroundings = {
        **{name: os.environ[name] for name in ("PATH", "TMPDIR", "TZ") if name in os.environ},
        "LC_ALL": "C.UTF-8",
        **database.environment(on),
        **(environment or {}),
    }
    kept: AbstractContextManager[IO[bytes]] = (
        nullcontext(stderr) if stderr else tempfile.TemporaryFile()  # noqa: SIM115 - entered below
    )
    with kept as errors:
        process = subprocess.Popen(
            [path, *arguments],
            env=surroundings,
            stdin=stdin,
            stdout=stdout,
            stderr=errors,
            # The only threads of ours are Prefect's; nothing but two system calls runs in it.
            preexec_fn=_die_with(os.getpid()),  # noqa: PLW1509
        )
        try:
            note_child(process.pid, program)
            yield process
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            process.wait()
        except BrokenPipeError:
            process.wait()  # it ended early: its own words follow
        finally:
            stop(process)
            tail = _tail(errors)
        if stderr is None and process.returncode != 0:
            raise failure(program, process.returncode, tail)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program that still runs, gently first."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(
    database: Database,
    program: str,
    arguments: Sequence[str | Path],
    *,
    on: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a client program to its end.

    Args:
        database: Whose programs and address are used.
        program: pg_dump, pg_restore, psql, ...
        arguments: Its arguments.
        on: Name of the database to connect to.
        environment: Variables laid over those of the address.

    Returns:
        What it printed.

    Raises:
        PreconditionFailed: It failed; the end of what it printed is in the error.
        Transient: It failed as the server went away.
    """
    printed = bytearray()
    with running(
        database, program, arguments, on=on, environment=environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None  # noqa: S101 - as asked for above
        reader = threading.Thread(target=_read_into, args=(process.stdout, printed))
        reader.start()
        reader.join()
    return printed.decode(errors="replace")


def dbname(name: str) -> str:
    """Give the argument that names a database, and is read as nothing else.

    A bare name that holds a `=` or begins like a URL is taken for a whole connection string: it
    could lead to another server, with our password.

    Source: PostgreSQL manual, 34.1.1 (connection strings).
    """
    return f"--dbname={make_conninfo(dbname=name)}"


def failure(program: str, status: int, tail: str) -> PreconditionFailed | Transient:
    """Say how a program failed, in its own last words."""
    kind = Transient if any(words in tail for words in _LOST) else PreconditionFailed
    return kind(
        expected=f"{program} to end with status 0.",
        found=f"status {status}: {tail or 'no message'}",
        state="What the program had begun is found and cleared when this is run or undone.",
        todo="Remove the cause it names, then run the remediation again.",
    )


def _read_into(stream: IO[bytes], printed: bytearray) -> None:
    printed.extend(stream.read())


def _tail(errors: IO[bytes]) -> str:
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _TAIL))
    return errors.read().decode(errors="replace").strip()
