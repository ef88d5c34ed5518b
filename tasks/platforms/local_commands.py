"""Commands of this machine that end with us: whoever takes over a lease must not meet them."""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.applications import Completed

# What a command inherits from us; nothing of Prefect's or of the ledger's.
INHERITED = ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
# The command ends when we do (prctl PR_SET_PDEATHSIG, SIGKILL): whoever takes over the lease
# must not meet it. Set before exec, so that no thread of ours is copied to do it.
DIE_WITH_PARENT = (
    "import ctypes,os,sys\n"
    "if sys.platform=='linux':\n"
    " ctypes.CDLL(None).prctl(1,9)\n"
    " if os.getppid()!=int(sys.argv[1]): sys.exit(1)\n"
    "try: os.execvpe(sys.argv[2],sys.argv[2:],os.environ)\n"
    "except OSError as e: sys.exit('%s: %s'%(sys.argv[2],e.strerror))\n"
)


def run_here(
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    seconds: float | None = None,
    given: str = "",
) -> Completed:
    """Run a command on this machine that ends with us, and wait for its end.

    Args:
        command: Program and arguments.
        directory: Where it runs.
        environment: What it sees beside what every command inherits.
        seconds: How long it may take, for one that starts what goes on after it: what that
            says goes nowhere, as else its output would hold us. Without it there is no bound.
        given: What it reads from its standard input.

    Returns:
        Exit status, output and errors; 128 + signal where a signal ended it.

    Raises:
        PreconditionFailed: It took longer, and was ended.
    """
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    outputs = subprocess.PIPE if seconds is None else subprocess.DEVNULL
    try:
        done = subprocess.run(
            [sys.executable, "-S", "-E", "-c", DIE_WITH_PARENT, str(os.getpid()), *command],
            cwd=directory,
            env={**inherited, **environment},
            input=given,
            stdout=outputs,
            stderr=outputs,
            text=True,
            errors="replace",
            check=False,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise PreconditionFailed(
            expected=f"`{command[0]} ...` to end within {seconds:.0f} s.",
            found="it did not, and was ended.",
            state="What it did until then stands.",
            todo="Run it by hand, and look why it does not end.",
        ) from error
    status = done.returncode if done.returncode >= 0 else 128 - done.returncode
    return Completed(status, done.stdout or "", done.stderr or "")
