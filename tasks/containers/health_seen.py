"""A health check looked at: run by hand inside, what it asks asked from outside, and its start."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import httpx

from tasks.containers.health_words import argv, port_of
from tasks.platforms.containers import ContainerEvent, HealthCheck, ServiceContainer
from tasks.platforms.protocols import System
from tasks.platforms.trials import Tried

# Beyond that a start is no start any more, and what takes so long is not waited for.
LONGEST_START_SECONDS = 600.0
MOST_SECONDS = 30.0
_TIMES = 3
_ASK_EACH_SECONDS = 0.5
_MISTAKEN, _FAILED = 400, 500


@dataclass(frozen=True)
class Asked:
    """What a URL answers from outside of the container.

    Args:
        url: The URL, as it is said inside.
        status: Its status; 0 where nobody answers, None where it cannot be reached from here.
        seconds: After how long.
        said: It as a sentence.
        leads_to: Where it sends who asks, '' for nowhere.
    """

    url: str
    status: int | None
    seconds: float
    said: str
    leads_to: str = ""

    @property
    def is_well(self) -> bool:
        """Whether that is an answer of an application that is well."""
        return self.status is not None and 0 < self.status < _MISTAKEN

    @property
    def is_failure(self) -> bool:
        """Whether the application says that it is not well."""
        return (self.status or 0) >= _FAILED

    @property
    def is_mistaken(self) -> bool:
        """Whether it answers that it was asked in the wrong way."""
        return _MISTAKEN <= (self.status or 0) < _FAILED


@dataclass(frozen=True)
class Start:
    """How long a container's start took, as far as is known.

    Args:
        seconds: From its start to the first success; 0 where nobody knows.
        called_unwell: Whether it was called unhealthy before that.
        how: By what it is known.
    """

    seconds: float = 0.0
    called_unwell: bool = False
    how: str = ""


def by_hand(system: System, one: ServiceContainer, check: HealthCheck) -> Tried:
    """Run a container's check inside, up to three times; give the slowest that passed.

    Args:
        system: The target.
        one: The container.
        check: Its check.

    Returns:
        The first that did not pass, if there is one.
    """
    slowest = None
    for _ in range(_TIMES):
        tried = system.trials.inside(one.id, argv(check.test), max(MOST_SECONDS, check.timeout))
        if not tried.passed:
            return tried
        if slowest is None or tried.seconds > slowest.seconds:
            slowest = tried
    assert slowest is not None  # noqa: S101 - there was a try
    return slowest


def ask(system: System, one: ServiceContainer, url: str) -> Asked:
    """Ask what a check asks, over the container's address or where its port is published.

    Args:
        system: The target.
        one: The container.
        url: The URL, as it is said inside.
    """
    place = system.trials.reached_at(one.id, port_of(url))
    if not place:
        return Asked(url, None, 0.0, "its port is not reached from here")
    parts = httpx.URL(url)
    there = f"{parts.scheme}://{place}{parts.raw_path.decode()}"
    begun = time.monotonic()
    try:
        answer = httpx.get(there, timeout=MOST_SECONDS, verify=False, trust_env=False)  # noqa: S501 - it is asked whether it answers, as a check does; nothing is trusted
    except httpx.TimeoutException:
        took = time.monotonic() - begun
        return Asked(url, 0, took, f"no answer within {took:.0f} s")
    except httpx.HTTPError as error:
        return Asked(url, 0, time.monotonic() - begun, type(error).__name__)
    took = time.monotonic() - begun
    leads_to = answer.headers.get("location", "").partition("?")[0]
    said = f"status {answer.status_code} after {took:.1f} s"
    if leads_to:
        said += f", and it sends who asks to {leads_to}"
    return Asked(url, answer.status_code, took, said, leads_to)


def start_known(events: Sequence[ContainerEvent], container: str) -> Start:
    """Read from the engine's events how long a container's starts took; the longest.

    Args:
        events: What the engine knows of.
        container: Its id.
    """
    begun, unwell, longest = 0.0, False, Start()
    for event in events:
        if event.container != container:
            continue
        if event.what == "start":
            begun, unwell = event.at, False
        elif event.what == "health_status: unhealthy":
            unwell = bool(begun)
        elif event.what == "health_status: healthy" and begun:
            if event.at - begun > longest.seconds:
                longest = Start(event.at - begun, unwell, "the engine's events")
            begun = 0.0
    return longest


def await_start(
    system: System,
    one: ServiceContainer,
    check: HealthCheck,
    seconds: float,
    answers: Callable[[], bool],
) -> tuple[Tried, Start]:
    """Wait until a container's check passes for the first time, run by hand again and again.

    Args:
        system: The target.
        one: The container.
        check: Its check.
        seconds: How long at most.
        answers: Says whether the application is up, whatever its check says.

    Returns:
        The last try; its start, where it passed.
    """
    deadline = time.monotonic() + seconds
    up = False
    while True:
        tried = system.trials.inside(one.id, argv(check.test), max(MOST_SECONDS, check.timeout))
        if tried.passed:
            took = system.containers.now() - one.started
            return tried, Start(took, one.health == "unhealthy", "its check, run by hand")
        # It may have come up in between: so it is tried once more.
        if up or tried.lacks_program or time.monotonic() >= deadline:
            return tried, Start()
        up = answers()
        time.sleep(0 if up else _ASK_EACH_SECONDS)


def is_starting(system: System, one: ServiceContainer) -> bool:
    """Say whether a container may still be on its way up: no check of it was passed yet."""
    young = system.containers.now() - one.started < LONGEST_START_SECONDS
    return young and one.health != "healthy" and one.checked_well < one.started
