"""Another health check that passes while the application is well, and fails when it is not."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from tasks.containers.health_seen import Asked, ask
from tasks.containers.health_text import Wording
from tasks.containers.health_words import (
    argv,
    changed,
    is_plain,
    is_plain_url,
    port_of,
    program_in,
    url_in,
    ways_to_ask,
    with_url,
)
from tasks.platforms.containers import HealthCheck, ServiceContainer
from tasks.platforms.protocols import System

_LOOPBACK = "127.0.0.1"
_DISCARD = 9
_NOTHING = "/remedy-asks-for-nothing"
_LAST_PORT = 65535


@dataclass(frozen=True)
class Endpoint:
    """Where a service is known to answer.

    Args:
        port: Its port; 0 where nobody knows.
        path: Its path; '' where nobody knows.
    """

    port: int
    path: str


def urls_to_try(url: str, asked: Asked, known: Endpoint, listening: list[int]) -> list[str]:
    """Give URLs that a check may ask, those that change least first.

    Args:
        url: What it asks.
        asked: What that answered from outside.
        known: Where the service is known to answer.
        listening: Ports at which something in the container listens.
    """
    found = [url]
    if asked.leads_to:
        there = urlsplit(urljoin(url, asked.leads_to))
        if there.scheme in ("http", "https"):
            found.append(changed(url, scheme=there.scheme, path=there.path))
    ports = [known.port] if known.port else listening
    path = known.path or None
    found += [changed(url, path=path)] if known.path else []
    found += [changed(url, port=port, path=path) for port in ports]
    found += [changed(one, host=_LOOPBACK) for one in tuple(found)]
    found += [
        changed(one, scheme="https" if one.startswith("http:") else "http") for one in tuple(found)
    ]
    return [one for one in dict.fromkeys(found) if is_plain_url(one)]


def another_check(
    system: System,
    one: ServiceContainer,
    check: HealthCheck,
    urls: Sequence[str],
    listening: Collection[int],
) -> tuple[Wording | None, tuple[tuple[str, str], ...]]:
    """Find another check: run inside it passes, and it fails at a port where nothing listens.

    Args:
        system: The target.
        one: A container, in which the application is well.
        check: Its check.
        urls: What it may ask.
        listening: Ports at which something in the container listens.

    Returns:
        How it is worded, None where none was found; and what each that was tried did.
    """
    tried: list[tuple[str, str]] = []
    lacking: set[str] = set()
    for url in urls:
        for test, wording in _ways(check.test, url):
            if test[1] in lacking:
                continue
            first = system.trials.inside(one.id, argv(test), check.timeout)
            if not first.ended:  # the machine may have been busy just then
                first = system.trials.inside(one.id, argv(test), check.timeout)
            if first.lacks_program:
                lacking.add(test[1])
            blind = ""
            if first.passed and not can_fail(system, one, test, check.timeout, listening):
                blind = ", and the same where nothing listens"
            elif first.passed and not _sees_status(system, one, test, check.timeout):
                blind = ", and the same where it answers that there is nothing"
            tried.append((f"{program_in(test)} {url}", f"{first}{blind}"))
            if first.passed and not blind:
                return wording, tuple(tried)
    return None, tuple(tried)


def _ways(test: tuple[str, ...], url: str) -> Iterator[tuple[tuple[str, ...], Wording]]:
    """Give a check's own way to ask a URL, then others where it does nothing else."""
    own = url_in(test)
    if url != own:
        yield with_url(test, own, url), Wording(old_url=own, new_url=url)
    if is_plain(test):
        for other in ways_to_ask(url):
            yield other, Wording(test=other)


def can_fail(
    system: System,
    one: ServiceContainer,
    test: tuple[str, ...],
    timeout: float,
    listening: Collection[int],
) -> bool:
    """Say whether a check that asks a URL fails at a port where nothing listens.

    Args:
        system: The target.
        one: A container.
        test: The check's command.
        timeout: How long it may take, in seconds.
        listening: Ports at which something in the container listens.
    """
    url = url_in(test)
    if not url:
        return True  # what it looks at is not known: it is believed
    taken = {*listening, port_of(url)}
    dead = next(port for port in range(_DISCARD, _LAST_PORT) if port not in taken)
    nobody = with_url(test, url, changed(url, port=dead))
    return not system.trials.inside(one.id, argv(nobody), timeout).passed


def _sees_status(
    system: System, one: ServiceContainer, test: tuple[str, ...], timeout: float
) -> bool:
    """Say whether a check fails where it is answered 400 and more, as far as that can be tried."""
    url = url_in(test)
    nothing = changed(url, path=_NOTHING)
    if not ask(system, one, nothing).is_mistaken:
        return True
    return not system.trials.inside(one.id, argv(with_url(test, url, nothing)), timeout).passed


def listening_in(system: System, service: str, container: str) -> list[int]:
    """Give the ports at which something in a container listens, as far as that can be asked.

    Args:
        system: The target.
        service: The service.
        container: The container's name.
    """
    ways = [way for way in system.network.ways(service) if way.container == container]
    return sorted({it.port for way in ways for it in way.listeners or ()})
