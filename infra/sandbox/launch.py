"""Become a service: take its lock, write down who we are, then run its program.

Run as `python -S -E launch.py RECORD USER -- PROGRAM ARGUMENTS…`. The process that becomes the
service does the writing itself, so a service is known even if its starter died at once; the lock
goes with its open file to the program and its children, so a second one cannot start beside them.
Imports only what a bare interpreter has: this is on the way of every start.
"""

import fcntl
import os
import sys
import time

WAIT_SECONDS = 15.0
BUSY = 75  # EX_TEMPFAIL


def _lock(path: str) -> int:
    lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                sys.stderr.write(f"{path}: an older process of this service still runs\n")
                sys.exit(BUSY)
            time.sleep(0.02)
        else:
            return lock


def started(pid: int) -> str:
    """Say when a process began, so that no other process with its pid says the same.

    Args:
        pid: Number of a process.

    Returns:
        The boot and the clock tick in it (proc(5), stat, field 22), which a change of the wall
        clock does not move; '' where there is no such process.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id") as boot:  # noqa: PTH123 - see above: bare
            tick = open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[19]  # noqa: PTH123, SIM115 - the same
            return f"{boot.read().strip()}:{tick}"
    except FileNotFoundError:
        with os.popen(f"ps -o lstart= -p {int(pid)}") as answer:  # noqa: S605 - a number only
            return answer.read().strip().replace(" ", "_")


def _record(lock: int) -> None:
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()} {started(os.getpid())}\n".encode(), 0)
    os.set_inheritable(lock, True)  # noqa: FBT003 - positional only


def main(record: str, user: str, command: list[str]) -> None:
    """Become the service.

    Args:
        record: File for pid and start time; also the lock.
        user: Number of the user and group to run as, or '' for the starter's.
        command: The program with its arguments.
    """
    _record(_lock(record))
    if user:
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    os.execv(command[0], command)  # noqa: S606 - without a shell is the point


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[4:])
