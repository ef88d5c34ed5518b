"""The database's server as a process of this machine: looked at, and started by its command.

Sources: PostgreSQL manual 19.2 (who may own the data folder), pg_controldata, postgres (-C);
postmaster.pid as src/include/utils/pidfile.h describes it.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.applications import Completed
from tasks.platforms.sandbox.server_folder import (
    access_of,
    find_holders,
    folder_at,
    insist_on_nobody,
    least_free,
    pid_file_in,
    put_back,
    set_access,
    set_aside,
    why_unseen,
    written_at,
)
from tasks.platforms.sandbox.server_log import ServerLog
from tasks.platforms.sandbox.server_programs import ServerPrograms
from tasks.platforms.servers import Access, Folder, Holder, Look, PidFile

_ANY_ADDRESS = {"0.0.0.0", "::"}  # noqa: S104 - compared with, not listened at


class LocalServer:
    """A PostgreSQL server in a data folder of this machine.

    Args:
        data: Its data folder, or None where the target names none.
        log: The file that it logs to, or None.
        host: Address that it shall listen at.
        port: Port that it shall listen at.
        programs: Folder of its programs; searched for where not given.
        commands: "start" starts it, and need not wait until it accepts connections; "stop" stops
            it in order; "initialise" makes its data folder, roles and an empty database.
        execute: Runs a command that ends with us.
    """

    def __init__(
        self,
        data: Path | None,
        log: Path | None,
        host: str,
        port: int,
        programs: Path | None,
        commands: Mapping[str, Sequence[str]],
        execute: Callable[[Sequence[str]], Completed],
    ) -> None:
        """Keep where it is; looks at nothing."""
        self._given_data, self._host, self._port = data, host, port
        self._folder_of_programs, self._commands, self._execute = programs, commands, execute
        self._log = ServerLog(log)
        self.log_position, self.logged_since = self._log.position, self._log.since

    @property
    def _data(self) -> Path:
        if self._given_data is None:
            raise PreconditionFailed(
                expected="a server whose data folder is on this machine.",
                found="the target names none.",
                todo="Set `data_directory` of the target, or look after the server by hand.",
            )
        return self._given_data

    @property
    def _programs(self) -> ServerPrograms:
        return ServerPrograms(self._data, self._folder_of_programs)

    def look(self) -> Look:
        """Look at its process, its data folder and the end of its log; changes nothing."""
        data = self._data
        try:
            folder = folder_at(data)
        except PermissionError as error:
            raise PreconditionFailed(
                expected=f"to see what is in {data}.",
                found=f"user {os.geteuid()} may not.",
                todo="Run the worker as the server's user, or as root.",
            ) from error
        holders, pid_file = self.holders(), pid_file_in(data)
        control, damage = self._programs.control() if folder is Folder.WHOLE else (None, "")
        return Look(
            data=str(data),
            folder=folder,
            access=None if folder is Folder.MISSING else access_of(data),
            access_inside=access_of(data / "PG_VERSION")
            if (data / "PG_VERSION").exists()
            else None,
            holders=holders,
            unseen=self._unseen(),
            pid_file=pid_file,
            control=control,
            damage=damage,
            versions=self._programs.misfit(),
            configuration=self._programs.complaint() if folder is Folder.WHOLE else "",
            elsewhere=self._elsewhere(pid_file) if holders else "",
            is_standby=(data / "standby.signal").exists(),
            manager="Patroni" if (data / "patroni.dynamic.json").exists() else "",
            port_holder="" if holders else self._port_holder(),
            free_bytes=least_free(data),
            last_words=tuple(self._log.last_words(written_at(data / "global" / "pg_control"))),
        )

    def holders(self) -> tuple[Holder, ...]:
        """List the processes that work in its data folder: a server's own do, all of them."""
        return find_holders(self._data)

    def identity(self) -> dict[str, str]:
        """Read from the control file who the server is; nothing where that cannot be."""
        control, damage = self._programs.control()
        return {"system_identifier": control.system_identifier} if control and not damage else {}

    def is_without_sessions(self) -> bool:
        """Say whether it certainly has no session: nobody listens, or it is not open yet."""
        if self._given_data is None or self._unseen():
            return False
        if not self.holders():
            return not self._port_holder()
        pid_file = pid_file_in(self._data)
        return pid_file is not None and pid_file.status == "starting"

    def _unseen(self) -> str:
        here = {one.address for all_of in psutil.net_if_addrs().values() for one in all_of}
        if self._host not in {"localhost", *here} and not self._host.startswith("127."):
            return f"the server's address {self._host} is not one of this machine"
        return why_unseen(self._data)

    def start(self) -> None:
        """Have it started, unless it runs; does not wait until it accepts connections."""
        self._have("start", "server_start_command")

    def stop(self) -> None:
        """Have it stopped in order, its sessions ended; stopped already is fine."""
        self._have("stop", "server_stop_command")

    def initialise(self) -> None:
        """Make a data folder with roles and an empty database, and start the server on it."""
        self._have("initialise", "server_initialise_command")

    def _have(self, verb: str, field: str) -> None:
        command = self._commands.get(verb)
        if not command:
            raise PreconditionFailed(
                expected=f"a command to {verb} the server.",
                found="the target names none.",
                todo=f"Set `{field}` of the target, or do it by hand.",
            )
        insist_on_fence()
        done = self._execute(command)
        if done.status:
            raise PreconditionFailed(
                expected=f"`{command[0]} ...` to {verb} the server.",
                # What it printed may hold a part of a password, and the record is for ever.
                found=f"it ended with status {done.status}.",
                state="Its data folder is as it was, but for what the command did.",
                todo=f"Run `{field}` of the target by hand, and read what it says.",
            )

    def set_access(self, access: Access) -> None:
        """Set who may enter the data folder; what is in it stays as it is.

        Args:
            access: Owner, group and mode.

        Raises:
            PreconditionFailed: We may not.
        """
        insist_on_fence()
        set_access(self._data, access)

    def set_pid_file_aside(self, name: str, text: str) -> None:
        """Give a postmaster.pid that says `text` another name in the folder; gone is fine.

        Args:
            name: The other name.
            text: What it has to say: a server that was started meanwhile has a new one.

        Raises:
            PreconditionFailed: A process works in the folder, or that cannot be seen.
        """
        insist_on_fence()
        insist_on_nobody(self._data)
        now = pid_file_in(self._data)
        if now is None or now.text != text:
            return
        with suppress(FileNotFoundError):
            (self._data / "postmaster.pid").rename(self._data / name)

    def put_pid_file_back(self, name: str) -> None:
        """Give postmaster.pid its name again, unless there is a new one by now.

        Args:
            name: The name that it was given.
        """
        insist_on_fence()
        aside = self._data / name
        with suppress(FileNotFoundError, FileExistsError):
            os.link(aside, self._data / "postmaster.pid")  # a rename would replace a new one
            aside.unlink()

    def set_folder_aside(self, name: str) -> None:
        """Give the data folder another name beside itself; gone already is fine.

        Args:
            name: The other name.

        Raises:
            PreconditionFailed: A process works in it, or it is where a disk is mounted.
        """
        insist_on_fence()
        set_aside(self._data, name)

    def put_folder_back(self, name: str) -> None:
        """Give a folder that was set aside its name again, unless there is another by now.

        Args:
            name: The name that it was given.
        """
        insist_on_fence()
        put_back(self._data, name)

    def _elsewhere(self, pid_file: PidFile | None) -> str:
        port = pid_file.port if pid_file else ""
        return f"port {port}, not {self._port}" if port and port != str(self._port) else ""

    def _port_holder(self) -> str:
        for one in psutil.net_connections("tcp"):
            if one.status != psutil.CONN_LISTEN or not one.laddr:
                continue
            if one.laddr.port == self._port and one.laddr.ip in {self._host, *_ANY_ADDRESS}:
                name = ""
                with suppress(psutil.Error):
                    name = psutil.Process(one.pid).name() if one.pid else ""
                return f"process {one.pid} ({name})" if name else "a process that is not seen"
        return ""
