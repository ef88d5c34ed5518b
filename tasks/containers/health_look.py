"""A look at a health check: what the engine, its command by hand and what it asks say."""

from dataclasses import dataclass

from tasks.containers.health_seen import (
    Asked,
    Start,
    ask,
    await_start,
    by_hand,
    is_starting,
    start_known,
)
from tasks.containers.health_ways import Endpoint
from tasks.containers.health_words import changed, shown, url_in
from tasks.guardrails.plan import Finding
from tasks.platforms.containers import HealthCheck, ServiceContainer
from tasks.platforms.protocols import System
from tasks.platforms.trials import Tried


@dataclass(frozen=True)
class Look:
    """What was seen of a container's check.

    Args:
        system: The target.
        service: The service.
        one: Its container, the one that is worst.
        check: Its check.
        known: Where the service is known to answer.
        tried: How the check went by hand.
        start: How long its start took.
        own: What the URL of the check answers from outside; None where it asks none.
        at: What the service answers where it is known to; None where nobody knows.
    """

    system: System
    service: str
    one: ServiceContainer
    check: HealthCheck
    known: Endpoint
    tried: Tried
    start: Start
    own: Asked | None
    at: Asked | None

    @property
    def url(self) -> str:
        """What its check asks, '' where that is not seen."""
        return url_in(self.check.test)

    @property
    def seen(self) -> Finding:
        """It as a table."""
        one, check = self.one, self.check
        rows = [("the engine", "its check, each so often", one.health)]
        rows += [("inside", shown(check.test), str(self.tried))]
        asked = dict.fromkeys(it for it in (self.own, self.at) if it)
        rows += [("from outside", it.url, it.said) for it in asked]
        if self.start.seconds:
            took = f"the first success {self.start.seconds:.1f} s after its start"
            rows.append(("its start", self.start.how, took))
        return Finding(
            what=f"{one.name} has a check that may take {check.timeout:.1f} s, and is called "
            f"unhealthy after {check.retries} failures in a row, {check.start_period:.0f} s after "
            "its start at the earliest.",
            how="the engine's `inspect` and events; each asked by hand",
            columns=("where", "what", "how it went"),
            rows=tuple(rows),
        )


def look_at(
    system: System,
    service: str,
    one: ServiceContainer,
    check: HealthCheck,
    path: str,
    watch_seconds: float,
) -> Look:
    """Look at a container's check.

    Args:
        system: The target.
        service: The service.
        one: Its container.
        check: Its check.
        path: Path at which it answers while it is well; '' for what the target says.
        watch_seconds: How long one that is on its way up is waited for.
    """
    network, url = system.network, url_in(check.test)
    known = Endpoint(network.port_of(service), path or network.health_path(service))
    tried = by_hand(system, one, check)
    start = start_known(system.containers.events(service), one.id)
    if not tried.passed and is_starting(system, one):

        def answers() -> bool:
            at = _ask_known(system, one, url, known)
            return at is not None and at.is_well

        tried, start = await_start(system, one, check, watch_seconds, answers)
    return Look(
        system=system,
        service=service,
        one=one,
        check=check,
        known=known,
        tried=tried,
        start=start,
        own=ask(system, one, url) if url else None,
        at=_ask_known(system, one, url, known),
    )


def _ask_known(system: System, one: ServiceContainer, url: str, known: Endpoint) -> Asked | None:
    """Ask where the service is known to answer, as its check does and in the other scheme."""
    if not known.path or not (known.port or url):
        return None
    there = changed(url or "http://localhost", port=known.port, path=known.path)
    other = changed(there, scheme="https" if there.startswith("http:") else "http")
    first = ask(system, one, there)
    if first.status != 0 or not (second := ask(system, one, other)).is_well:
        return first
    return second
