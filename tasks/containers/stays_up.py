"""The proof that a service stays up: for longer than it ever did while it was broken."""

import time
from typing import ClassVar

from tasks.containers.standing import watch
from tasks.guardrails.plan import Answer, Check, Verdict, Work
from tasks.platforms import targets

MOST_SECONDS = 300.0
_ASK_EACH_SECONDS = 0.5


class StaysUp(Check):
    """A service's containers run, are well, and are not started again.

    Args:
        service: The service.
        seconds: How long they are watched.
    """

    kind: ClassVar[str] = "containers.stays_up"

    service: str
    seconds: float

    @property
    def title(self) -> str:
        """The claim."""
        return f"{self.service} stays up for {self.seconds:.0f} s, and is healthy"

    def ask(self, work: Work) -> Answer:
        """Watch them."""
        containers = targets.load(work.target).containers
        standing = watch(containers, self.service, self.seconds)
        names = ", ".join(one.name for one in standing.broken)
        if names or not standing.containers:
            seen = ", ".join(
                f"{one.name}: {one.status}, exit status {one.exit_code}, started again "
                f"{one.restarts} times"
                for one in standing.containers
            )
            return Answer(Verdict.NOT_HELD, seen or "there is no container")
        deadline = time.monotonic() + MOST_SECONDS
        while True:
            found = containers.of(self.service)
            health = {one.health for one in found}
            if "starting" not in health or time.monotonic() > deadline:
                break
            time.sleep(_ASK_EACH_SECONDS)
        if any(not one.runs for one in found) or not health <= {"", "healthy"}:
            seen = ", ".join(f"{one.name}: {one.status} {one.health}".strip() for one in found)
            return Answer(Verdict.NOT_HELD, seen)
        said = "healthy" if health == {"healthy"} else "without a health check"
        return Answer(Verdict.HELD, f"none of them ended in {self.seconds:.0f} s, all are {said}")
