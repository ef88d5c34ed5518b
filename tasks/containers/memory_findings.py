"""What was seen of a service's memory, in words and tables for a plan."""

from tasks.containers.memory_texts import written
from tasks.guardrails.plan import Finding
from tasks.platforms.memory import HostMemory, Memory, MemoryUse


def as_seen(service: str, found: list[MemoryUse], events: int, said: int) -> Finding:
    """Show a service's containers, and what they were killed for."""
    killed = sum(one.kills or 0 for one in found)
    ended = [one.container for one in found if one.out_of_memory]
    words = f"The engine knows of {events} events of too little memory in {service}"
    if ended:
        words += f"; {', '.join(ended)} ended by one last"
    if killed:
        words += f"; {killed} processes were killed since the last start"
    return Finding(
        what=f"{words}. The files say {written(said) if said else 'no limit'}.",
        how="the engine's events and statistics, the kernel's cgroup files, `config`",
        columns=("container", "limit", "in use", "peak", "restarts", "state"),
        rows=tuple(
            (
                one.container,
                mib(one.limit or None, "none"),
                mib(one.working_set),
                mib(one.peak),
                str(one.restarts),
                "runs" if one.runs else "does not run",
            )
            for one in found
        ),
    )


def mib(amount: int | None, otherwise: str = "unknown") -> str:
    """Write an amount of memory in MiB."""
    return otherwise if amount is None else f"{amount / 2**20:.0f} MiB"


def machine(host: HostMemory) -> Finding:
    """Show what the machine has."""
    return Finding(
        what=f"The machine has {mib(host.total)} of memory, {mib(host.available)} available.",
        how="the engine's `info`, /proc/meminfo",
    )


def not_in_force(service: str, memory: Memory, said: int) -> Finding:
    """Say why there is no limit to raise."""
    if said and not memory.honours_deploy:
        return Finding(
            what=f"The files limit {service} to {written(said)} under `deploy`, and no limit is in "
            "force: docker-compose before 1.27 heeds that only with `--compatibility`.",
            how="`config` and the engine's `inspect`",
            patch=f"services:\n  {service}:\n    mem_limit: {written(said)}\n",
        )
    return Finding(
        what=f"Not every container of {service} has the same limit: there is none to raise.",
        how="the engine's `inspect`",
    )
