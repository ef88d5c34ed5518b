"""Secrets that are generated into the target's own store; plans carry their names only."""

import secrets
from typing import ClassVar

from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.platforms import targets

# 192 bits, in characters that a URL put together without escaping can hold.
_BYTES = 24


class GeneratePassword(Change):
    """Generate a password into the target's store of secrets.

    Args:
        name: Name of the secret.
        purpose: What it will be, in words.
    """

    kind: ClassVar[str] = "secrets.generate_password"
    permissions: ClassVar[tuple[str, ...]] = ("secrets:write",)

    name: str
    purpose: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"generate {self.purpose} as secret {self.name}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"secret {self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"there is no secret {self.name}", f"it holds a password of {_BYTES * 8} random bits"

    def observe(self, work: Work) -> Observed:
        """Look whether it is there."""
        if targets.load(work.target).secrets.read(self.name) is None:
            return Observed(Standing.BEFORE, f"there is no secret {self.name}")
        return Observed(Standing.AFTER, f"secret {self.name} is there")

    def apply(self, work: Work) -> None:
        """Generate it; nobody sees it."""
        values = {"password": secrets.token_urlsafe(_BYTES)}
        targets.load(work.target).secrets.keep(self.name, values)

    def revert(self, work: Work) -> None:
        """Remove it."""
        targets.load(work.target).secrets.forget(self.name)
