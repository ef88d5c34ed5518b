"""The database's server as a service of a compose project: its container, and the data beside it.

Source: Docker Engine API 1.41 (inspect: State, RestartCount).
"""

import time
from collections.abc import Callable

from docker.errors import APIError

from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed, RemediationError
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.compose.database import PORT, ComposeDatabase
from tasks.platforms.compose.project import Project
from tasks.platforms.compose.server.beside_data import BesideData
from tasks.platforms.compose.server.container_state import ContainerState, read_state
from tasks.platforms.compose.server.first_roles import FirstRoles
from tasks.platforms.compose.server.first_start import await_made, insist_on_password, is_coming_up
from tasks.platforms.compose.server.folder_moves import FolderMoves
from tasks.platforms.compose.server.holders import find_holders, find_port_holder, why_unseen
from tasks.platforms.compose.server.place import Place, find_place
from tasks.platforms.compose.server.seen_inside import Inside, look_inside
from tasks.platforms.compose.server.server_log import ContainerLog
from tasks.platforms.data_folder import read_pid_file
from tasks.platforms.servers import Access, Folder, Holder, Look, PidFile

_STOPPED_WITHIN_SECONDS, _ENDED_WITHIN_SECONDS = 600, 10
_SETTLES_SECONDS = 10.0  # as long as the engine takes to call a start a success
_TAKEN = ("port is already allocated", "address already in use")
_EXISTS = 'lock file "postmaster.pid" already exists'


class ComposeServer:
    """A PostgreSQL server in a container of a compose project.

    Args:
        target: Name of the target.
        project: The compose project.
        service: The server's service.
        database: Gives the database under care, where it is reached now.
        roles: Gives who is needed on a new server.
    """

    def __init__(
        self,
        target: str,
        project: Project,
        service: str,
        database: Callable[[], ComposeDatabase],
        roles: Callable[[], FirstRoles],
    ) -> None:
        """Keep where it is; asks nothing."""
        self._target, self._project, self._service = target, project, service
        self._engine = project.engine
        self._database, self._roles = database, roles

    def _place(self) -> Place:
        return find_place(self._project, self._service)

    def _beside(self, place: Place) -> BesideData:
        return BesideData(self._project, self._target, place)

    def look(self) -> Look:
        """Look at its container, its data and the end of its log; changes nothing."""
        place = self._place()
        state = self._settled(place)
        holders = find_holders(self._engine, place)
        inside = look_inside(self._beside(place), place)
        log = ContainerLog(self._engine, place.container)
        words = tuple(dict.fromkeys(log.last_words(inside.written)))  # it may be started in turn
        pid_file = None
        if inside.pid_text is not None:
            stranger = not holders and any(_EXISTS in line for line in words)
            pid_file = read_pid_file(
                inside.pid_text, "another program of its container" if stranger else ""
            )
        coming_up = is_coming_up(state, holders, pid_file)
        return Look(
            data=place.data,
            folder=inside.folder,
            access=inside.access,
            access_inside=inside.access_inside,
            holders=holders,
            unseen=why_unseen(self._engine, place),
            pid_file=pid_file,
            control=inside.control,
            damage=inside.damage,
            versions=inside.versions,
            configuration=inside.configuration,
            elsewhere=_elsewhere(pid_file) if holders and not coming_up else "",
            is_standby=inside.is_standby,
            manager=inside.manager,
            port_holder="" if holders else find_port_holder(self._engine, place),
            free_bytes=inside.free_bytes,
            last_words=words,
            supervisor=f"{state.told if state else f'service {self._service} has none'}; its data "
            f"is in {place.mount.volume or place.mount.source}",
            coming_up=coming_up,
        )

    def _settled(self, place: Place) -> ContainerState | None:
        """Look at the container when it is known whether the engine starts it again and again."""
        while True:
            state = read_state(self._engine, place.container)
            young = state is not None and state.runs and state.age < _SETTLES_SECONDS
            if state is None or not (young and state.restarts):
                return state
            time.sleep(0.25)

    def holders(self) -> tuple[Holder, ...]:
        """List the processes that work in its data, in whichever container."""
        return find_holders(self._engine, self._place())

    def identity(self) -> dict[str, str]:
        """Read from the control file who the server is; nothing where that cannot be."""
        place = self._place()
        inside: Inside = look_inside(self._beside(place), place)
        if inside.control is None or inside.damage:
            return {}
        return {"system_identifier": inside.control.system_identifier}

    def is_without_sessions(self) -> bool:
        """Say whether it certainly has no session: nobody works there, or it is not open yet."""
        look = self.look()
        if look.unseen:
            return False
        status = look.pid_file.status if look.pid_file else ""
        return not look.holders or look.coming_up or status == "starting"

    def log_position(self) -> int:
        """Give where its log ends now: a number to be given to `logged_since`."""
        return ContainerLog(self._engine, self._place().container).position()

    def logged_since(self, position: int) -> list[str]:
        """Give what it has logged since, without statements and details."""
        return ContainerLog(self._engine, self._place().container).since(position)

    def start(self) -> None:
        """Have it started, unless it runs; does not wait until it accepts connections."""
        place = self._place()
        folder = look_inside(self._beside(place), place).folder
        if folder is not Folder.WHOLE:  # gone since it was looked at
            raise PreconditionFailed(
                expected=f"the data of {place.name} in {place.mount.volume or place.mount.source}.",
                found=f"{place.data} there is {folder}: its image would make an empty server.",
                state="It does not run; nothing was made.",
                todo="Find out where its data is. If there never was any: initialise_database.",
            )
        self._start(place)

    def _start(self, place: Place) -> None:
        insist_on_fence()
        state = read_state(self._engine, place.container)
        if state is None:
            self._project.run(
                *("up", "-d", "--no-deps", "--no-build", "--no-recreate", self._service)
            )
            return
        if state.restarting:  # else the engine waits for longer each time
            self.stop()
        try:
            # Not by compose: that would make another one where its files were edited.
            with self._engine.client() as client:
                client.containers.get(place.container).start()
        except RemediationError as error:
            taken = isinstance(error.__cause__, APIError) and any(
                sign in error.found for sign in _TAKEN
            )
            if not taken:
                raise
            raise PreconditionFailed(
                expected=f"container {place.name} to be started.",
                found=f"a port that it publishes is taken: {error.found}",
                state="It does not run; its data is as it was.",
                todo="End what listens there, or publish another port.",
            ) from error

    def stop(self) -> None:
        """Have it stopped in order, its sessions ended; stopped already is fine."""
        insist_on_fence()
        place = self._place()
        state = read_state(self._engine, place.container)
        if state is None or not (state.runs or state.restarting):
            return
        # An entrypoint that has not come to the server yet may not hear of it.
        early = state.runs and self.look().coming_up
        within = _ENDED_WITHIN_SECONDS if early else _STOPPED_WITHIN_SECONDS
        with self._engine.client() as client:
            client.containers.get(place.container).stop(timeout=within)

    def initialise(self) -> None:
        """Have its entrypoint make data where there is none, then roles and an empty database."""
        roles, place = self._roles(), self._place()
        insist_on_password(place, self._service)
        self._start(place)
        faults.point("database.initialise_server:entrypoint-started")
        container = self._place().container
        await_made(self._engine, container, self._service, self._database, roles)

    def set_access(self, access: Access) -> None:
        """Set who may enter the data folder; what is in it stays as it is."""
        self._quiet().set_access(access)

    def set_pid_file_aside(self, name: str, text: str) -> None:
        """Give a postmaster.pid that says `text` another name in the folder; gone is fine."""
        self._quiet().set_pid_file_aside(name, text)

    def put_pid_file_back(self, name: str) -> None:
        """Give postmaster.pid its name again, unless there is a new one by now."""
        self._moves(self._place()).put_pid_file_back(name)

    def set_folder_aside(self, name: str) -> None:
        """Give the data folder another name beside itself; gone already is fine."""
        self._quiet().set_aside(name)

    def put_folder_back(self, name: str) -> None:
        """Give a folder that was set aside its name again, unless there is another by now."""
        self._quiet().put_back(name)

    def _moves(self, place: Place) -> FolderMoves:
        return FolderMoves(self._engine, place, self._beside(place), self._project.name)

    def _quiet(self) -> FolderMoves:
        """Make sure that no container works in the data, or is about to.

        Raises:
            PreconditionFailed: One does, or that cannot be seen.
        """
        insist_on_fence()
        place = self._place()
        state = self._settled(place)
        if state is not None and state.restarting:
            self.stop()  # the engine would start it in the middle
        holders, unseen = find_holders(self._engine, place), why_unseen(self._engine, place)
        if holders or unseen:
            raise PreconditionFailed(
                expected=f"no container that works in {place.data} of {place.name}.",
                found=f"{holders[0] if holders else unseen}.",
                state="The folder and what is in it are as they were.",
                todo="Stop that container first, if it is not the server's.",
            )
        return self._moves(place)


def _elsewhere(pid_file: PidFile | None) -> str:
    port = pid_file.port if pid_file else ""
    return f"port {port} of its container, not {PORT}" if port and port != str(PORT) else ""
