"""Start the cache's server, and wait until it answers."""

import time
from contextlib import suppress
from typing import ClassVar

from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.redis_server import is_refused_login

_LISTENS_WITHIN_SECONDS = 20.0
# As long as it listens and reads its data; gigabytes take minutes.
_ANSWERS_WITHIN_SECONDS = 900.0
_LOOK_SECONDS = 0.2


class StartCache(Change):
    """Start the cache's server as it was last, and wait until it answers."""

    kind: ClassVar[str] = "cache.start"
    permissions: ClassVar[tuple[str, ...]] = ("cache:start",)
    reverts: ClassVar[Reverts] = "pointless"  # a cache that runs stays so

    @property
    def title(self) -> str:
        """What the change does."""
        return "start the cache's server"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return ("server of the cache",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return "it does not run", "it answers, having read what it keeps on its disk"

    def observe(self, work: Work) -> Observed:
        """Look whether it runs, and whether it answers."""
        server = targets.load(work.target).cache_server
        state = server.state()
        if not state.runs:
            standing = Standing.OTHER if state.hindrance else Standing.BEFORE
            return Observed(standing, f"{state.told}{state.hindrance and f': {state.hindrance}'}")
        try:
            with server.connect():
                return Observed(Standing.AFTER, "it answers")
        except Transient as error:
            return Observed(Standing.UNDERWAY, f"{state.told}; {error.found}")
        except PreconditionFailed as error:
            if not is_refused_login(error):
                raise
            return Observed(Standing.AFTER, "it answers: who may log in is another matter")

    def apply(self, work: Work) -> str:
        """Start it, and wait.

        Raises:
            PreconditionFailed: It does not come up.
        """
        server, began = targets.load(work.target).cache_server, time.monotonic()
        server.start()
        while (seen := self.observe(work)).standing is not Standing.AFTER:
            waited = time.monotonic() - began
            listens = seen.standing is Standing.UNDERWAY
            if waited > (_ANSWERS_WITHIN_SECONDS if listens else _LISTENS_WITHIN_SECONDS):
                raise PreconditionFailed(
                    expected="the cache to answer once it was started.",
                    found=f"after {waited:.0f} s: {seen.detail}.",
                    state="It was started; what it keeps on its disk was not touched.",
                    todo="Read its log: a damaged append-only file, its disk, its memory or its "
                    "configuration are named there.",
                )
            work.progress(0.5, seen.detail)
            time.sleep(_LOOK_SECONDS)
        kept = ""
        with suppress(RemediationError), server.connect() as client:
            kept = (
                f" with {sum(int(one['keys']) for one in client.info('keyspace').values()):,} keys"
            )
        return f"it answers after {time.monotonic() - began:.1f} s{kept}"
