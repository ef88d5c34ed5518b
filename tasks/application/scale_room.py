"""Room for more containers: the machine's memory, and the database's connections."""

from collections.abc import Sequence

from tasks.application.scale_checks import RoomForReplicas, RoomForSessions, Sessions
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Limit
from tasks.guardrails.words import counted
from tasks.platforms.protocols import System
from tasks.platforms.scaling import Busy


def insist_on_room(
    system: System, busy: Sequence[Busy], sessions: Sessions, more: int, pool: int
) -> tuple[Limit, ...]:
    """Refuse what machine or database have no room for; else have it measured again.

    Args:
        system: The target.
        busy: What each container uses.
        sessions: The database's connections.
        more: How many containers more there shall be.
        pool: Connections that one worker opens at most.

    Returns:
        What has to be there right before.

    Raises:
        PreconditionFailed: There is not.
    """
    used = [one.working_set or 0 for one in system.memory.use(system.scaling.service)]
    workers = max((one.workers for one in busy), default=1)
    count = len(used) + more
    memory = RoomForReplicas(at_least=float(more * max(used)), unit="bytes")
    database = RoomForSessions(at_least=float(count * workers * pool), unit="connections")
    host = system.memory.host()
    free = host.total if host.available is None else host.available
    if memory.exceeded(free):
        raise PreconditionFailed(
            expected=f"{more * max(used) / 2**20:.0f} MiB of memory available for {more} more.",
            found=f"{free / 2**20:.0f} MiB.",
            todo="Free memory, or take a bigger machine.",
        )
    if database.exceeded(sessions.left):
        raise PreconditionFailed(
            expected=f"{count * workers * pool} connections to the database: {count} containers of "
            f"{counted(workers, 'worker')}, each with up to {pool}.",
            found=f"{sessions.left} of {sessions.most}, as others have {sessions.others}.",
            todo="Give `pool` what a worker really opens at most, make the application's pool "
            "smaller, raise max_connections, or put a pooler before the database.",
        )
    return memory, database
