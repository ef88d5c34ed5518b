"""Programs that the test bed runs to their end."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tasks.guardrails.errors import PreconditionFailed

_TAIL = 1500


def output_of(
    command: Sequence[str | Path],
    *,
    expected: str,
    todo: str,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program, and give what it printed.

    Args:
        command: Program and arguments.
        expected: What it is to do, as 'compose to carry out `up`.'.
        todo: What a person does where it fails.
        folder: Where it runs; here by default.
        environment: All that it sees; what we see by default.

    Raises:
        PreconditionFailed: It failed; says how its errors end.
    """
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise PreconditionFailed(
            expected=expected,
            found=done.stderr.strip()[-_TAIL:] or f"status {done.returncode}.",
            todo=todo,
        )
    return done.stdout
