"""How long a server is waited for that was started."""

import time
from collections.abc import Sequence

from tasks.database.server.judgement import judge
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.servers import Server

_GONE_SECONDS, _JUDGE_SECONDS = 5.0, 3.0
_MOST_STARTS = 4


class Patience:
    """Waits for a server as long as it is coming up, and no longer.

    Args:
        server: The server.
    """

    def __init__(self, server: Server) -> None:
        """Begin to wait."""
        self._server = server
        self._seen_at = self._judged_at = time.monotonic()
        self._pids: set[int] = set()
        self._suspected = ""

    def insist(self, said: Sequence[str]) -> None:
        """Make sure that it is coming up.

        Raises:
            PreconditionFailed: It has ended, is started again and again, or waits for a person.
        """
        now = time.monotonic()
        if self._server.holders():
            self._seen_at = now
        elif now - self._seen_at > _GONE_SECONDS:
            raise did_not_come_up(said)
        if now - self._judged_at < _JUDGE_SECONDS:
            return
        self._judged_at = now
        look = self._server.look()
        if look.pid_file:
            self._pids.add(look.pid_file.pid)
        if len(self._pids) > _MOST_STARTS:
            raise did_not_come_up([*said, "something starts it again and again"])
        obstacles = judge(look).obstacles if look.holders else ()
        told = f"{obstacles[0].what} {obstacles[0].todo}" if obstacles else ""
        if told and told == self._suspected:  # twice: it may just have become ready
            raise did_not_come_up([told])
        self._suspected = told


def did_not_come_up(said: Sequence[str]) -> PreconditionFailed:
    """Make the error that says what a server said instead of coming up."""
    words = [line for line in said if not line.startswith("LOG")]
    return PreconditionFailed(
        expected="the server to come up.",
        found=f"it did not. {' '.join(words[-4:] or said[-2:]) or 'Its log says nothing.'}",
        state="It does not run; its data folder is as it was but for what it wrote itself.",
        todo="Mend what it names, then run again. Never run pg_resetwal.",
    )
