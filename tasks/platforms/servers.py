"""The capability of a database's server: its process and data folder, seen without a connection."""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Folder(enum.StrEnum):
    """What is in the place of a data folder."""

    MISSING = "missing"
    EMPTY = "empty"
    HALF_MADE = "half-made"
    UNKNOWN = "no data folder, and holds something"
    WHOLE = "whole"


@dataclass(frozen=True)
class Access:
    """Who may enter a folder.

    Args:
        user: Number of its owner.
        group: Number of its group.
        mode: Its permissions, as 0o700.
    """

    user: int
    group: int
    mode: int

    def __str__(self) -> str:
        """Show it as `ls -ldn` does, shortly."""
        return f"user {self.user}, mode {self.mode:04o}"


@dataclass(frozen=True)
class Holder:
    """A process that works in a data folder.

    Args:
        pid: Its number.
        name: Its program.
        stopped: Whether a signal has stopped it (SIGSTOP).
        where: The container that it is in, where that is not the server's own; '' elsewhere.
        go_on: The command by which a person lets it go on, '' for `kill -CONT`.
    """

    pid: int
    name: str
    stopped: bool
    where: str = ""
    go_on: str = ""

    def __str__(self) -> str:
        """Name it."""
        stopped = ", stopped by a signal" if self.stopped else ""
        where = f" in container {self.where}" if self.where else ""
        return f"process {self.pid} ({self.name}{stopped}){where}"


@dataclass(frozen=True)
class PidFile:
    """What postmaster.pid says.

    Args:
        text: All of it.
        pid: Number of the process that wrote it.
        pid_is: What has that number now, '' for nothing.
        status: What the server says of itself: 'starting', 'ready', 'stopping', 'standby', ''.
        port: The port it listens at, '' where it has not come so far.
    """

    text: str
    pid: int
    pid_is: str
    status: str
    port: str

    @property
    def blocks(self) -> bool:
        """Whether a server would not start for it: it names a stranger, or nobody."""
        return not self.pid or bool(self.pid_is)


@dataclass(frozen=True)
class Control:
    """What the control file says.

    Args:
        system_identifier: Who the server is.
        state: 'in production', 'shut down', 'in crash recovery', ...
        changed: When it was written last, as pg_controldata says it.
    """

    system_identifier: str
    state: str
    changed: str

    @property
    def in_order(self) -> bool:
        """Whether the server was shut down in order."""
        return self.state in {"shut down", "shut down in recovery"}


@dataclass(frozen=True)
class Look:
    """How a server stands, seen from outside of it.

    Args:
        data: Where its data folder is.
        folder: What is there.
        access: Who may enter the folder, None where it is missing.
        access_inside: The same of the files that the server made in it.
        holders: The processes that work in it.
        unseen: Why such processes may be there and not be seen, '' where not.
        pid_file: postmaster.pid, None where there is none.
        control: The control file, None where it cannot be read.
        damage: What is wrong with the control file, '' for nothing.
        versions: Why the programs do not fit the data, '' where they do.
        configuration: What the server says against its configuration, '' for nothing.
        elsewhere: At which other address it listens than the target says, '' where not.
        is_standby: Whether its configuration makes it a standby: it stays in recovery.
        manager: What else starts and stops it (Patroni), '' for nothing known.
        port_holder: Who else listens at the server's port, '' for nobody.
        free_bytes: Bytes free in the folder's file system, or in pg_wal's where that has its own
            and less; None where unknown.
        last_words: What the server has logged last as FATAL or PANIC, with hints.
        supervisor: What who starts it says of it: its container's state, '' for nothing.
        coming_up: Whether it was started just now, and has no postmaster.pid of its own yet.
    """

    data: str
    folder: Folder
    access: Access | None
    access_inside: Access | None
    holders: tuple[Holder, ...]
    unseen: str
    pid_file: PidFile | None
    control: Control | None
    damage: str
    versions: str
    configuration: str
    elsewhere: str
    is_standby: bool
    manager: str
    port_holder: str
    free_bytes: int | None
    last_words: tuple[str, ...]
    supervisor: str = ""
    coming_up: bool = False

    @property
    def own_pids(self) -> frozenset[int]:
        """The numbers of the holders that postmaster.pid may speak of."""
        return frozenset(one.pid for one in self.holders if not one.where)


class Server(Protocol):
    """The server of the database under care."""

    def look(self) -> Look:
        """Look at its process, its data folder and the end of its log; changes nothing.

        Raises:
            PreconditionFailed: The target does not say where they are.
        """

    def holders(self) -> tuple[Holder, ...]:
        """List the processes that work in its data folder."""

    def log_position(self) -> int:
        """Give where its log ends now: a number to be given to `logged_since`."""

    def logged_since(self, position: int) -> Sequence[str]:
        """Give what it has logged since, without statements and details: data stays unseen."""

    def start(self) -> None:
        """Have it started, unless it runs; does not wait until it accepts connections.

        Raises:
            PreconditionFailed: The target has no command for it, or the command fails.
        """

    def stop(self) -> None:
        """Have it stopped in order, its sessions ended; stopped already is fine.

        Raises:
            PreconditionFailed: The target has no command for it, or the command fails.
        """

    def initialise(self) -> None:
        """Make a data folder with the roles that the target names and an empty database, and start.

        What is there of it already stays; a folder that holds something is never written over.

        Raises:
            PreconditionFailed: The target has no command for it, or the command fails.
        """

    def set_folder_aside(self, name: str) -> None:
        """Give the data folder another name beside itself; gone already is fine.

        Raises:
            PreconditionFailed: A process works in it, or it is where a disk is mounted.
        """

    def put_folder_back(self, name: str) -> None:
        """Give a folder that was set aside its name again, unless there is another by now."""

    def set_access(self, access: Access) -> None:
        """Set who may enter the data folder; what is in it stays as it is.

        Raises:
            PreconditionFailed: We may not.
        """

    def set_pid_file_aside(self, name: str, text: str) -> None:
        """Give a postmaster.pid that says `text` another name in the folder; gone is fine.

        Raises:
            PreconditionFailed: A process works in the folder, or that cannot be seen.
        """

    def put_pid_file_back(self, name: str) -> None:
        """Give postmaster.pid its name again, unless there is a new one by now."""
