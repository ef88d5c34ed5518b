"""What a container uses, from what the engine shows of it."""

from collections.abc import Mapping, Sequence
from typing import Any

_TRACKER = "multiprocessing.resource_tracker"  # a child that serves nobody


def used_processors(shown: Mapping[str, Any]) -> float:
    """Give how many processors' time a container used between the engine's two looks.

    Args:
        shown: The engine's statistics. Source: Docker Engine API, ContainerStats.

    Returns:
        Processors, 1.0 for all of one.
    """
    now, before = shown["cpu_stats"], shown["precpu_stats"]
    spent = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    return float(spent / passed * now.get("online_cpus", 1)) if passed > 0 else 0.0


def count_workers(processes: Sequence[Sequence[str]], main: int) -> int:
    """Count the last descendants of a container's main process.

    What is run beside it, as a health check, descends from the engine.

    Args:
        processes: Number, parent's number and command of each, as the machine counts them.
        main: Number of the main process.

    Returns:
        How many; the main process itself, where it has no other.
    """
    children: dict[str, list[str]] = {}
    for pid, parent, command in processes:
        if _TRACKER not in command:
            children.setdefault(parent, []).append(pid)
    ahead, count = [str(main)], 0
    while ahead:
        below = children.get(ahead.pop(), [])
        ahead += below
        count += not below
    return count
