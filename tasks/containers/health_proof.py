"""The proof of a health check: the engine calls its containers well by it, and it can fail."""

import time
from typing import ClassVar

from tasks.containers.health_words import argv
from tasks.guardrails.plan import Answer, Check, Verdict, Work
from tasks.platforms import targets
from tasks.platforms.containers import ServiceContainer

_MORE_SECONDS = 5.0
_ASK_EACH_SECONDS = 0.5


class HealthCheckHolds(Check):
    """The engine calls each container of a service healthy by its check.

    Args:
        service: The service.
        timeout: How long its check may take at least, in seconds.
        start_period: How long after a start its failures do not count at least, in seconds; where
            it is given, none may have been called unhealthy since it was made.
    """

    kind: ClassVar[str] = "containers.health_check_holds"

    service: str
    timeout: int = 0
    start_period: int = 0

    @property
    def title(self) -> str:
        """The claim."""
        since = ", from its start on" if self.start_period else ""
        return f"the engine calls {self.service} healthy{since}"

    def ask(self, work: Work) -> Answer:
        """Wait until the engine has an opinion, then ask for it."""
        containers = targets.load(work.target).containers
        begun = time.monotonic()
        while True:
            found = [one for one in containers.of(self.service) if one.runs]
            starting = [one.check for one in found if one.check and one.health == "starting"]
            longest = max((it.patience + it.retries * it.timeout for it in starting), default=0)
            if not all(self._passes(work, one) for one in found if one.health == "starting"):
                break
            if time.monotonic() - begun >= longest + _MORE_SECONDS * bool(starting):
                break
            time.sleep(_ASK_EACH_SECONDS)
        unwell = set[str]()
        if self.start_period:
            events = containers.events(self.service)
            unwell = {one.container for one in events if one.what == "health_status: unhealthy"}
        seen = "; ".join(f"{one.name}: {self._said(one, unwell)}" for one in found)
        well = bool(found) and all(self._said(one, unwell) == "healthy" for one in found)
        return Answer(Verdict.HELD if well else Verdict.NOT_HELD, seen or "no container runs")

    def _passes(self, work: Work, one: ServiceContainer) -> bool:
        if one.check is None:
            return False
        trials = targets.load(work.target).trials
        return trials.inside(one.id, argv(one.check.test), one.check.timeout).passed

    def _said(self, one: ServiceContainer, unwell: set[str]) -> str:
        if one.check is None or one.health != "healthy":
            return one.health or "without a check"
        if one.check.timeout < self.timeout or one.check.start_period < self.start_period:
            return f"healthy, by a check of {one.check.timeout:.0f} s, {one.check.start_period:.0f}"
        return "called unhealthy since it was made" if one.id in unwell else "healthy"


class HealthCheckCanFail(Check):
    """A service's check passes in its container, and fails where the application does not run.

    Args:
        service: The service.
    """

    kind: ClassVar[str] = "containers.health_check_can_fail"

    service: str

    @property
    def title(self) -> str:
        """The claim."""
        return f"the check of {self.service} passes inside, and fails where nothing runs"

    def ask(self, work: Work) -> Answer:
        """Run it in each container, and in a throw-away one in which nothing else runs."""
        system = targets.load(work.target)
        found = [one for one in system.containers.of(self.service) if one.runs and one.check]
        said, held = [], bool(found)
        for one in found:
            assert one.check is not None  # noqa: S101 - they were chosen by that
            command, seconds = argv(one.check.test), one.check.timeout
            inside = system.trials.inside(one.id, command, seconds)
            apart = system.trials.apart(one.id, command, seconds)
            held = held and inside.passed and not apart.passed
            said.append(f"{one.name}: inside {inside}; where nothing runs {apart}")
        return Answer(Verdict.HELD if held else Verdict.NOT_HELD, "; ".join(said) or "no check")
