"""How a container stands, as its engine says.

Source: Docker Engine API 1.41 (inspect: State, RestartCount).
"""

import re
from dataclasses import dataclass

from docker.errors import NotFound

from tasks.platforms.compose.engine import Engine
from tasks.platforms.compose.server.server_log import nanoseconds

_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?Z")
_SIGNALS = {137: "killed by signal 9", 139: "by signal 11", 143: "by signal 15"}


@dataclass(frozen=True)
class ContainerState:
    """How a container stands.

    Args:
        name: Its name.
        status: 'running', 'restarting', 'paused', 'exited', 'created', ...
        exit_code: What it ended with last.
        out_of_memory: Whether the kernel ended it for the limit of its memory.
        restarts: How often the engine has started it again since somebody did.
        started: When it was started last, as Unix time of the engine's machine.
        age: Seconds since then.
    """

    name: str
    status: str
    exit_code: int
    out_of_memory: bool
    restarts: int
    started: float
    age: float

    @property
    def runs(self) -> bool:
        """Whether its processes are at work."""
        return self.status == "running"

    @property
    def restarting(self) -> bool:
        """Whether it has ended, and the engine is about to start it again."""
        return self.status == "restarting"

    @property
    def told(self) -> str:
        """How it stands, in words."""
        parts = [f"{self.name}: {self.status}"]
        if not self.runs:
            by = f", {_SIGNALS[self.exit_code]}" if self.exit_code in _SIGNALS else ""
            parts.append(f"exit status {self.exit_code}{by}")
        if self.out_of_memory:
            parts.append("out of its memory")
        if self.restarts:
            parts.append(f"started again by the engine {self.restarts} times")
        return "; ".join(parts)


def read_state(engine: Engine, container: str) -> ContainerState | None:
    """Read how a container stands.

    Args:
        engine: The engine.
        container: Its id, '' for none.

    Returns:
        Its state, None where there is none.

    Raises:
        Transient: The engine does not answer.
    """
    if not container:
        return None
    with engine.client() as client:
        try:
            seen = client.api.inspect_container(container)
        except NotFound:
            return None
        now = _seconds(str(client.info()["SystemTime"]))
    state = seen["State"]
    started = _seconds(state["StartedAt"])
    return ContainerState(
        name=seen["Name"].removeprefix("/"),
        status=state["Status"],
        exit_code=state["ExitCode"],
        out_of_memory=state["OOMKilled"],
        restarts=seen["RestartCount"],
        started=started,
        age=now - started,
    )


def _seconds(time: str) -> float:
    """Read a time of the engine as Unix time."""
    found = _TIME.fullmatch(time)
    return nanoseconds(found[1], found[2]) / 10**9 if found else 0.0
