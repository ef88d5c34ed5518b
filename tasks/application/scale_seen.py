"""What was seen of the application's containers, their machine and database, for a plan."""

from collections.abc import Iterator, Sequence

from tasks.application.scale_checks import Sessions
from tasks.guardrails.plan import Finding
from tasks.guardrails.words import counted
from tasks.platforms.memory import Memory
from tasks.platforms.scaling import Busy, Processors, Serving


def as_seen(service: str, found: Sequence[Serving], said: int) -> Finding:
    """Show the containers that there are.

    Args:
        service: The application's service.
        found: Its containers.
        said: How many the files ask for.
    """
    serve = counted(len(found), "container serves", "containers serve")
    return Finding(
        what=f"{serve} {service}; the files ask for {said}.",
        how="compose's labels on the engine, nginx's configuration, `config`",
        columns=("container",),
        rows=tuple((one.name,) for one in found),
    )


def of_machine(memory: Memory, processors: Processors, busy: Sequence[Busy]) -> Iterator[Finding]:
    """Show what the containers use, and what the machine has.

    Args:
        memory: Its memory.
        processors: Its processors.
        busy: What each container uses.
    """
    host = memory.host()
    at_work = "unknown" if processors.busy is None else f"{processors.busy:.1f}"
    free = "unknown" if host.available is None else f"{host.available / 2**20:,.0f} MiB"
    yield Finding(
        what=f"The machine has {counted(processors.count, 'processor')}, {at_work} at work, and "
        f"{host.total / 2**20:,.0f} MiB of memory, {free} available.",
        how="the engine's `info` and statistics, /proc, for a second each",
        columns=("container", "processors at work", "workers"),
        rows=tuple((one.container, f"{one.cpus:.2f}", str(one.workers)) for one in busy),
    )


def of_database(sessions: Sessions, pool: int) -> Finding:
    """Show who has the database's connections.

    Args:
        sessions: Its connections.
        pool: How many one worker opens at most.
    """
    return Finding(
        what=f"The database takes {sessions.most} connections; others have {sessions.others}. One "
        f"worker of the application is taken to open {pool} at most.",
        how="max_connections, pg_stat_activity by client's address",
        columns=("container", "connections"),
        rows=tuple((name, str(many)) for name, many in sessions.by_container.items()),
    )
