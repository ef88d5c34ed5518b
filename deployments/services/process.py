"""A process of the platform; started, found again and stopped as the sandbox's services are."""

from dataclasses import dataclass

from infra.sandbox.processes import Service
from tasks.guardrails.errors import PreconditionFailed


@dataclass(frozen=True)
class PlatformService(Service):
    """A process of the platform: detached, known by pid and start time, logged to a file."""

    def failed(self, waited_for: str) -> PreconditionFailed:
        """Make the error that says it did not come up."""
        return PreconditionFailed(
            expected=f"the platform's {self.name} to {waited_for}.",
            found=f"it did not; its log ends: {self.tail()}",
            state="The other services were left as they are.",
            todo=f"Read {self.log}, then run `remedy up` again.",
        )
