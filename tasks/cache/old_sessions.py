"""Who still logs in to a cache with an older password: by its sessions, and by who is refused.

Source: Redis manual, CLIENT LIST ("age"), ACL LOG, INFO ("errorstats").
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.words import counted
from tasks.platforms.cache_servers import CacheServer

if TYPE_CHECKING:
    import redis

OURS = "remedy:"
_LEAVE_WITHIN_SECONDS = 15.0
_WATCH_SECONDS = 3.0


def find_sessions(client: "redis.Redis", user: str) -> list[dict[str, str]]:
    """List the sessions of a user, remediations' own left out.

    Args:
        client: A session.
        user: The user's name.

    Returns:
        What CLIENT LIST says of each.
    """
    listed: list[dict[str, str]] = client.client_list()
    return [
        one
        for one in listed
        if one.get("user", user) == user and not one.get("name", "").startswith(OURS)
    ]


def described(sessions: list[dict[str, str]]) -> tuple[tuple[str, ...], ...]:
    """Count sessions by address, name, library and protocol.

    Args:
        sessions: What CLIENT LIST says of each.

    Returns:
        Rows for a table.
    """
    rows = Counter(
        (
            one.get("addr", "").rpartition(":")[0],
            one.get("name", ""),
            f"{one.get('lib-name', '')} {one.get('lib-ver', '')}".strip(),
            one.get("resp", ""),
        )
        for one in sessions
    )
    return tuple((str(count), *row) for row, count in sorted(rows.items()))


def await_leave(server: CacheServer, user: str, began: int) -> None:
    """Wait until no session is left that was opened before a moment.

    Args:
        server: The server.
        user: The user's name.
        began: The moment, in seconds of the server's clock.

    Raises:
        PreconditionFailed: Some stay.
    """
    deadline = time.monotonic() + _LEAVE_WITHIN_SECONDS
    with server.connect() as client:
        while old := _older(client, user, began):
            if time.monotonic() >= deadline:
                shown = "; ".join(
                    f"{count} from {address} ({name or 'no name'}, {library or 'no library named'})"
                    for count, address, name, library, _ in described(old)
                )
                raise PreconditionFailed(
                    expected="no session with the cache that was opened with the old password.",
                    found=f"sessions that are not the application's: {shown}.",
                    state="The old password is right as before.",
                    todo="Give these clients the new password, or a user of their own; then "
                    "run again.",
                )
            time.sleep(0.2)


def _older(client: "redis.Redis", user: str, began: int) -> list[dict[str, str]]:
    now = int(client.time()[0])
    return [one for one in find_sessions(client, user) if now - int(one["age"]) < began]


@contextmanager
def watch_refusals(server: CacheServer, user: str, *, first: bool) -> Iterator[Callable[[], str]]:
    """Count whom the server refuses from the beginning of the block.

    Args:
        server: The server.
        user: The user's name.
        first: Whether it had no password until now: who sends none is refused in another way.

    Yields:
        A question for the block's end: it waits, and says who was refused, '' for nobody.
    """
    with server.connect() as client:
        before = _refused(client, user, first=first)

        def refused() -> str:
            deadline = time.monotonic() + _WATCH_SECONDS
            while not (now := _refused(client, user, first=first) - before):
                if time.monotonic() >= deadline:
                    return ""
                time.sleep(0.1)
            return f"{counted(now.total(), 'log-in')} from {', '.join(sorted(now))}"

        yield refused


def _refused(client: "redis.Redis", user: str, *, first: bool) -> Counter[str]:
    """Count the refusals of a user by address, those without any login where that is `first`."""
    found: Counter[str] = Counter()
    for one in client.acl_log():
        if one["reason"] == "auth" and one["username"] == user:
            found[_address(one["client-info"])] += int(str(one["count"]))
    if first:
        errors: Mapping[str, Any] = client.info("errorstats")
        said: dict[str, int] = dict(errors.get("errorstat_NOAUTH", {}))
        found["an address that is not known, without a password"] = said.get("count", 0)
    return found


def _address(information: object) -> str:
    known = information if isinstance(information, Mapping) else {}
    return str(known.get("addr", "")).rpartition(":")[0] or "an address that is not known"
