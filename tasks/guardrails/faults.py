"""Named points at which a test makes a run die, stop or fail; they cost nothing when off.

`REMEDY_FAULT` says what happens where, in words of the form WHAT=POINT:

- `KILL=after-entry:begun` (or STOP, TERM, ...): the process gets that signal;
- `FAIL=after-apply:toy.write_file`: the step fails;
- `TRACE=/a/file`: every point that is passed is written there, and counted there across the
  processes of a run.

A point ends in `#2` for the second time that it is passed only.
"""

import fcntl
import os
import shlex
import signal
from collections import Counter
from pathlib import Path

from tasks.guardrails.errors import RemediationError

VARIABLE = "REMEDY_FAULT"
_passed: Counter[str] = Counter()


def point(name: str) -> None:
    """Die, stop or fail here where a test armed this point.

    Args:
        name: Where in the engine we are, as 'after-apply:database.swap_databases'.

    Raises:
        RemediationError: The point was armed to fail.
    """
    if armed := os.environ.get(VARIABLE):
        _pass(name, dict(word.split("=", 1) for word in shlex.split(armed)))


def _pass(name: str, armed: dict[str, str]) -> None:
    trace = armed.pop("TRACE", "")
    times = _times_in(Path(trace), name) if trace else _times_here(name)
    for what, where in armed.items():
        if where not in {name, f"{name}#{times}"}:
            continue
        if what != "FAIL":
            os.kill(os.getpid(), signal.Signals[f"SIG{what}"])
            continue
        raise RemediationError(
            expected="a step that a test lets through.",
            found=f"the fault {where} was armed.",
            todo=f"Unset {VARIABLE}.",
        )


def _times_here(name: str) -> int:
    _passed[name] += 1
    return _passed[name]


def _times_in(trace: Path, name: str) -> int:
    """Write a point to the trace, and count how often it is in it."""
    with trace.open("a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        times = file.read().splitlines().count(name) + 1
        file.write(f"{name}\n")
    return times
