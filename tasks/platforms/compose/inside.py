"""What a command prints that runs in a container."""

import time
from collections.abc import Sequence

from docker.models.containers import Container

from tasks.guardrails.errors import Transient

_TIMES, _PAUSE_SECONDS = 5, 0.1


def said_inside(container: Container, command: Sequence[str], *, user: str = "") -> tuple[int, str]:
    """Run a command that prints something wherever it ends well.

    An engine may lose what a command prints that ends at once: on a busy machine 2 of 600 came
    back empty, with status 0, and a status may be known a moment later only. So what ended well
    and said nothing is run again.

    Args:
        container: Where it runs.
        command: Program and arguments; it changes nothing.
        user: Whom it runs as, '' for the container's.

    Returns:
        Its status, and what it printed, both streams.

    Raises:
        docker.errors.APIError: The engine refuses: the container has ended, or has no such
            program.
        Transient: It ended well several times, and said nothing.
    """
    for _ in range(_TIMES):
        status, said = container.exec_run(list(command), user=user, environment={"LC_ALL": "C"})
        if status is not None and (status or said):
            text = said if isinstance(said, bytes) else b""
            return int(status), text.decode(errors="replace")
        time.sleep(_PAUSE_SECONDS)
    raise Transient(
        expected=f"{command[0]} to print something in container {container.name}.",
        found=f"nothing came, {_TIMES} times.",
        todo="Look whether the engine's machine has too little memory or time, then run again.",
    )
