"""A cache's server whose command has the password: started anew with what it shall have."""

from typing import ClassVar

from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import System

# Longer than a server takes to read what is kept in 256 MB.
_HELD_SECONDS = 30.0


def remake_where_needed(system: System) -> bool:
    """Have the cache started anew where its command is another by now; requests wait meanwhile.

    Args:
        system: The target.

    Returns:
        Whether requests could be held back.
    """
    if system.cache_server.is_in_step():
        return True
    with system.application.pause(_HELD_SECONDS) as held:
        system.cache_server.remake()
    return held


class RemakeCache(Change):
    """Have the cache started anew, as the settings are in its command.

    An undo comes to it before the settings are as before: the change that added the password
    does it then, last of all.
    """

    kind: ClassVar[str] = "cache.remake"
    permissions: ClassVar[tuple[str, ...]] = ("cache:restart", "application:pause")
    reverts: ClassVar[Reverts] = "pointless"

    needs: tuple[str, ...] = ("cache.end_passwords",)

    @property
    def title(self) -> str:
        """What the change does."""
        return "make the cache's container anew with the new password, requests being held back"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return ("server of the cache",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return "its command has the old password", "its command has the new one; data stays"

    def observe(self, work: Work) -> Observed:
        """Compare its container with what the compose files make of it."""
        if targets.load(work.target).cache_server.is_in_step():
            return Observed(Standing.AFTER, "it was started as the compose files say")
        return Observed(Standing.BEFORE, "it was started with other settings")

    def apply(self, work: Work) -> str:
        """Hold requests back where that is possible, and make it anew."""
        held = remake_where_needed(targets.load(work.target))
        return "requests waited" if held else "requests could not be held back meanwhile"
