"""Processes of this machine: what they run, and what they use."""

from contextlib import suppress
from pathlib import Path

import psutil

from tasks.platforms.processes import Process

_TRACKER = "multiprocessing.resource_tracker"  # a child that serves nobody


def look_at(part: str, pids: list[int]) -> list[Process]:
    """Look at processes; those that end meanwhile are left out.

    Args:
        part: Name of what they belong to.
        pids: Their numbers.

    Returns:
        One for each that is there.
    """
    found = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            one = psutil.Process(pid)
            if not any(_TRACKER in argument for argument in one.cmdline()):
                found.append(Process(part, pid, one.create_time(), one.name()))
    return found


def memory_of(process: Process) -> int | None:
    """Measure a process's share of the memory: its own pages, and its part of those it shares.

    Args:
        process: The process.

    Returns:
        Bytes (PSS); None where it has ended, or is closed to us.
    """
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        seen = psutil.Process(process.pid)
        if seen.create_time() == process.started_at:
            return int(seen.memory_full_info().pss)
    return None


def number_inside(pid: int) -> str:
    """Give the number that a process has in its own container.

    Args:
        pid: Its number here.

    Returns:
        That number, which is `pid` where it is in no container; '' where it has ended.

    Source: manual proc_pid_status(5): NSpid.
    """
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return line.split()[-1]
    return ""
