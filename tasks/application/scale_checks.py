"""Proof that several containers serve as one: alike, each by itself, and each reached by users."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import httpx

from tasks.application.requests import TIMEOUT_SECONDS, NotAnswered, ProbeClient, TooManyRequests
from tasks.guardrails.plan import Answer, Check, Limit, Verdict, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.protocols import System

# An application may count an address's requests: far below a hundred a minute.
_ASKED_EACH, _MOST = 12, 60
_SESSIONS = """
    SELECT current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int AS most,
           coalesce(host(client_addr), '') AS address, count(pid)::int AS many
      FROM (SELECT 1) one
      LEFT JOIN pg_stat_activity ON backend_type = 'client backend' AND pid <> pg_backend_pid()
     GROUP BY client_addr
"""


class ReplicasAreAlike(Check):
    """A session that one container has begun is known to each of the others.

    Args:
        count: How many containers there have to be.
    """

    kind: ClassVar[str] = "application.replicas_are_alike"

    count: int

    @property
    def title(self) -> str:
        """The claim."""
        return f"{counted(self.count, 'container')} serve, and each knows the others' sessions"

    def ask(self, work: Work) -> Answer:
        """Log in to the first past the proxy, then read from each with what that gave."""
        system = targets.load(work.target)
        replicas = system.application.replicas()
        served = [one.name for one in replicas if one.serves]
        if len(replicas) != self.count or len(served) != self.count:
            seen = f"{counted(len(replicas), 'container')}; {', '.join(served) or 'none'} serve"
            return Answer(Verdict.NOT_ASKED, seen)  # what counts them is the change itself
        account = system.probe_account
        if account is None:
            return Answer(Verdict.NOT_ASKED, "the target has no probe account")
        known = {"username": account.username, "password": system.probe_password, "unique": ""}
        try:
            with ProbeClient(replicas[0].url, known) as client:
                client.send(account.login)
                known = client.known
            for one in replicas:
                with ProbeClient(one.url, known) as client:
                    for request in account.read:
                        client.send(request)
        except TooManyRequests as error:
            return Answer(Verdict.NOT_ASKED, f"{error}: too many requests, try again later")
        except NotAnswered as error:
            return Answer(Verdict.NOT_HELD, f"with a session of {replicas[0].name}: {error}")
        return Answer(
            Verdict.HELD,
            f"logged in to {replicas[0].name}, and read from {', '.join(served)} with that",
        )


class LoadIsShared(Check):
    """Requests that come in where users come in reach each container."""

    kind: ClassVar[str] = "application.load_is_shared"

    @property
    def title(self) -> str:
        """The claim."""
        return "requests of users reach each container"

    def ask(self, work: Work) -> Answer:
        """Send requests through the proxy, and look which containers it has opened new ones to."""
        system = targets.load(work.target)
        scaling, before = system.scaling, system.scaling.reached()
        sent, most = 0, min(_ASKED_EACH * len(before), _MOST)
        new: dict[str, int] = {}
        with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
            while sent < most and not (new and all(new.values())):
                for _ in range(len(before) * 2):
                    try:
                        client.get(system.application.url)
                    except httpx.HTTPError as error:
                        return Answer(Verdict.NOT_HELD, f"{type(error).__name__} {error}".strip())
                    sent += 1
                now = scaling.reached()
                new = {name: len(now.get(name, before[name]) - before[name]) for name in before}
        shown = ", ".join(f"{name} {many}" for name, many in new.items())
        held = bool(new) and all(new.values())
        return Answer(
            Verdict.HELD if held else Verdict.NOT_HELD,
            f"new connections from the proxy while {counted(sent, 'request')} were sent: {shown}",
        )


class RoomForReplicas(Limit):
    """The machine has the memory that more containers will use."""

    kind: ClassVar[str] = "application.room_for_replicas"

    @property
    def title(self) -> str:
        """What is limited."""
        return "memory of the machine that is available"

    def measure(self, work: Work) -> float:
        """Measure what may still be used without swapping."""
        host = targets.load(work.target).memory.host()
        return float(host.total if host.available is None else host.available)


class RoomForSessions(Limit):
    """The database has the connections that all containers may open."""

    kind: ClassVar[str] = "application.room_for_sessions"

    @property
    def title(self) -> str:
        """What is limited."""
        return "connections that the database has for the application"

    def measure(self, work: Work) -> float:
        """Count those that nobody else has, and that are not kept for superusers."""
        return float(measure_sessions(targets.load(work.target)).left)


@dataclass(frozen=True)
class Sessions:
    """A server's connections.

    Args:
        most: How many there may be, without those that are kept for superusers.
        by_container: How many each of the application's containers has.
        others: How many others have.
    """

    most: int
    by_container: Mapping[str, int]
    others: int

    @property
    def left(self) -> int:
        """How many the application may have."""
        return self.most - self.others


def measure_sessions(system: System) -> Sessions:
    """Count the connections to the database's server, by who has them.

    Args:
        system: The target.

    Raises:
        Transient: The server does not answer.
    """
    with system.database.connect() as session:
        rows = session.execute(_SESSIONS).fetchall()
    of = {address: one.name for one in system.scaling.seen() for address in one.addresses}
    by_container = dict.fromkeys(of.values(), 0)
    others = 0
    for row in rows:
        if name := of.get(row["address"]):
            by_container[name] += row["many"]
        else:
            others += row["many"]
    return Sessions(rows[0]["most"], by_container, others)
