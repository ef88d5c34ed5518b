"""Profiles of Python processes on this machine, taken from outside by py-spy.

It reads their memory without stopping them, and ends by itself after its time, whatever becomes of
who started it. Arguments and variables are not read: they may hold secrets.

Source: py-spy's README, "How does py-spy work?" and "When do you need to run as sudo?".
"""

import re
import shutil
import subprocess
import sysconfig
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.local_processes import number_inside
from tasks.platforms.processes import Process, Profile

FOLDER = Path(sysconfig.get_path("scripts"))
_GRACE_SECONDS = 30.0  # to find the interpreter's symbols, and to write what was seen
_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
_ERRORS = re.compile(r"Errors: (\d+)")
_FIRST = re.compile(r"^Error: (.{1,200})", re.MULTILINE)
_NOT_LET_IN = re.compile(r"^(?:nsenter|unshare): ", re.MULTILINE)
_CLOSED_INSIDE = (
    "it is in a container, which is closed to us: have the worker run as root; where that is in a "
    "container itself, with `pid: host` and `cap_add: [SYS_PTRACE, SYS_ADMIN]`"
)
ENDED = "it ended"


def busiest(processes: Sequence[Process]) -> list[Process]:
    """Order processes by the CPU time that they use in a second.

    Args:
        processes: Processes of this machine.

    Returns:
        The same, the busiest first.
    """
    before = {one.pid: _used(one) or 0.0 for one in processes}
    time.sleep(1)
    return sorted(processes, key=lambda one: before[one.pid] - (_used(one) or 0.0))


def record(processes: Sequence[Process], seconds: float, rate: int) -> list[Profile]:
    """Look at what processes do, all at the same time.

    Args:
        processes: Processes of this machine.
        seconds: For how long.
        rate: How many looks are taken in a second.

    Returns:
        What was seen of each.

    Raises:
        PreconditionFailed: There is no py-spy.
    """
    program = FOLDER / "py-spy"
    if not program.exists():
        raise PreconditionFailed(
            expected=f"py-spy, which is installed with this program, as {program}.",
            found="none: there is no wheel of it for this kind of machine.",
            todo="Run a worker on another kind of machine, or build it with cargo.",
        )
    with TemporaryDirectory(prefix="remedy-profile-") as folder:
        files = [Path(folder) / str(one.pid) for one in processes]
        before = [_used(one) for one in processes]
        began = time.monotonic()
        running: list[subprocess.Popen[str]] = []
        try:
            for one, file in zip(processes, files, strict=True):
                running.append(_start(program, one.pid, file, seconds, rate))
            said = [one.communicate(timeout=seconds + _GRACE_SECONDS)[1] for one in running]
        except subprocess.TimeoutExpired as error:
            raise PreconditionFailed(
                expected=f"py-spy to end {_GRACE_SECONDS:.0f} s after its {seconds:.0f} s.",
                found="it did not.",
                state="It was ended; what it looked at runs on.",
                todo="Run again with a lower `rate`, or when the machine is less busy.",
            ) from error
        finally:
            for spy in running:
                spy.kill()  # one in a container ends with `unshare`, which has started it
                spy.wait()
        passed = time.monotonic() - began
        return [
            _profile(one, file, was, words, passed)
            for one, file, was, words in zip(processes, files, before, said, strict=True)
        ]


def _start(
    program: Path, pid: int, file: Path, seconds: float, rate: int
) -> "subprocess.Popen[str]":
    inside, number = _seen_from_inside(pid)
    return subprocess.Popen(
        [
            *inside,
            *(program, "record", "--nonblocking", "--full-filenames", "--format", "raw"),
            *("--pid", number, "--duration", str(max(round(seconds), 1)), "--rate", str(rate)),
            *("--output", file),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _seen_from_inside(pid: int) -> tuple[tuple[str, ...], str]:
    """Give what has a program see a process as its container does, and its number there.

    Python knows its threads by their numbers inside: seen by those outside, every thread that waits
    passes for one at work.

    Raises:
        PreconditionFailed: There are no programs to go there.

    Source: manuals nsenter(1), unshare(1), proc_pid_status(5): NSpid.
    """
    number = number_inside(pid)
    if number in {"", str(pid)}:
        return (), str(pid)
    if missing := [one for one in ("nsenter", "unshare") if shutil.which(one) is None]:
        raise PreconditionFailed(
            expected="nsenter and unshare, to see a process as its container does.",
            found=f"no {' and no '.join(missing)} on PATH.",
            todo="Install util-linux where the worker runs.",
        )
    # Without a fork in between, else who is killed leaves another one behind.
    there = ("nsenter", "--target", str(pid), "--pid", "--no-fork")
    return (*there, "unshare", "--fork", "--kill-child", "--mount", "--mount-proc"), number


def _profile(
    process: Process, file: Path, before: float | None, said: str, seconds: float
) -> Profile:
    after = _used(process)
    cores = (after - before) / seconds if before is not None and after is not None else 0.0
    text = file.read_text() if file.exists() else ""
    errors = _ERRORS.search(said)
    return Profile(
        process,
        cores,
        _folder(process.pid),
        text,
        int(errors[1]) if errors else 0,
        "" if text or (file.exists() and after is not None) else _why(said, ended=after is None),
        ended=after is None,
    )


def _why(said: str, *, ended: bool) -> str:
    if ended or "Check that the process is running" in said:
        return ENDED
    if re.search("permission denied|not permitted", said, re.IGNORECASE):
        return _CLOSED_INSIDE if _NOT_LET_IN.search(said) else _closed()
    if "python version" in said or "python interpreter" in said.lower():
        return "it is no Python, or none that py-spy knows"
    found = _FIRST.search(said)
    return f"py-spy says: {found[1]}" if found else "nothing was seen"


def _closed() -> str:
    scope = _YAMA.read_text().strip() if _YAMA.exists() else "none"
    return (
        "its memory is closed to us: have the worker run as root or as its user, or give "
        f"py-spy the right (`setcap cap_sys_ptrace+ep`); kernel.yama.ptrace_scope is {scope}"
    )


def _used(process: Process) -> float | None:
    """Give the CPU time that a process has used, in seconds; None where it has ended."""
    with suppress(psutil.NoSuchProcess):
        one = psutil.Process(process.pid)
        if one.create_time() == process.started_at:
            used = one.cpu_times()
            return float(used.user + used.system)
    return None


def _folder(pid: int) -> str:
    """Give the folder that a process works in, as it sees it; '' where that is closed to us."""
    with suppress(psutil.Error):
        return psutil.Process(pid).cwd()
    return ""
