"""The first moments of a container's server: its entrypoint at work, and what it makes.

Source: the entrypoint of the image postgres.
"""

import time
from collections.abc import Callable

from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.platforms.compose.database import ComposeDatabase
from tasks.platforms.compose.engine import Engine
from tasks.platforms.compose.server.container_state import ContainerState, read_state
from tasks.platforms.compose.server.first_roles import FirstRoles, make_first_roles
from tasks.platforms.compose.server.place import Place
from tasks.platforms.compose.server.server_log import ContainerLog
from tasks.platforms.data_folder import started_in
from tasks.platforms.servers import Holder, PidFile

_MADE_WITHIN_SECONDS = 600.0
_ENTRYPOINT_SECONDS = 600.0  # it gives each of the files to the server's user
_PASSWORDS = ("POSTGRES_PASSWORD", "POSTGRES_PASSWORD_FILE", "POSTGRES_HOST_AUTH_METHOD")


def is_coming_up(
    state: ContainerState | None, holders: tuple[Holder, ...], pid_file: PidFile | None
) -> bool:
    """Say whether a container's entrypoint is at work, before its server has said anything.

    Args:
        state: How the container stands, None where there is none.
        holders: Who works in its data.
        pid_file: postmaster.pid, None where there is none.
    """
    if state is None or not state.runs or any(one.where for one in holders):
        return False
    of_before = pid_file is None or started_in(pid_file.text) < int(state.started)
    return bool(holders) and of_before and state.age < _ENTRYPOINT_SECONDS


def insist_on_password(place: Place, service: str) -> None:
    """Make sure that the entrypoint is told what it makes no server without.

    Args:
        place: The server.
        service: Its service.

    Raises:
        PreconditionFailed: It is not.
    """
    if not any(place.environment.get(name) for name in _PASSWORDS):
        raise PreconditionFailed(
            expected=f"POSTGRES_PASSWORD among the environment of service {service}.",
            found="none: the image makes no server without it.",
            state="Nothing was made.",
            todo="Set it in the compose file or in `.env`, then run again.",
        )


def await_made(
    engine: Engine,
    container: str,
    service: str,
    database: Callable[[], ComposeDatabase],
    roles: FirstRoles,
) -> None:
    """Wait until a server's entrypoint has made it, then make roles and database.

    Args:
        engine: The engine.
        container: Id of its container, which was just started.
        service: Its service.
        database: Gives the database under care, where it is reached now.
        roles: Who is needed on the server.

    Raises:
        PreconditionFailed: It does not come up, or lets nobody in who may make roles.
    """
    began, log = read_state(engine, container), ContainerLog(engine, container)
    position, deadline = log.position(), time.monotonic() + _MADE_WITHIN_SECONDS
    while True:
        try:
            make_first_roles(database(), roles)
        except Transient as error:
            now = read_state(engine, container)
            goes_on = now and began and now.runs and now.restarts == began.restarts
            if goes_on and time.monotonic() < deadline:
                time.sleep(0.25)
                continue
            said = [one for one in log.since(position) if not one.startswith("LOG")]
            raise PreconditionFailed(
                expected=f"service {service} to make its data and to come up.",
                found=f"{now.told if now else 'no container'}. {' '.join(said[-4:])}",
                state="What it made until then stands; nothing else was touched.",
                todo=f"Read the log of service {service}, mend what it names, then run again.",
            ) from error
        else:
            return
