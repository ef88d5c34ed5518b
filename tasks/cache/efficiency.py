"""How well a cache serves: measured over a time, and by a look at a part of its keys.

Source: Redis manual, INFO (keyspace_hits and keyspace_misses are counted since the start).
"""

import itertools
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.cache_servers import Cache, CacheServer

if TYPE_CHECKING:
    import redis

_MOST_KEYS, _BATCH = 5_000, 500
_ID = re.compile(r"[0-9a-fA-F-]{8,}|\d+|[^:/.]*@[^:/]*")
_COUNTED = ("keyspace_hits", "keyspace_misses", "evicted_keys", "expired_keys")


@dataclass(frozen=True)
class Keys:
    """A part of the application's keys, its queues left out.

    Args:
        seen: How many were looked at.
        lasting: How many of them have no expiry.
        sizes: Bytes by name, ids folded.
        counts: How many by name.
        largest: Bytes of the largest by name.
    """

    seen: int = 0
    lasting: int = 0
    sizes: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)
    largest: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Measured:
    """What was measured of a cache.

    Args:
        seconds: For how long.
        hits, misses, evicted, expired: How many in that time.
        hits_ever, misses_ever, evicted_ever: How many since its start.
        used: Bytes that it uses.
        most: Bytes that it may use, 0 for no limit.
        machine: Bytes of memory that its machine has.
        policy: What it evicts where that is reached.
        fragmentation: How many times what it uses its process has of the machine.
        file: The file from which it was started, '' for none.
        keys: A part of its keys.
        queued: Jobs that wait, by queue.
    """

    seconds: float
    hits: int
    misses: int
    evicted: int
    expired: int
    hits_ever: int
    misses_ever: int
    evicted_ever: int
    used: int
    most: int
    machine: int
    policy: str
    fragmentation: float
    file: str
    keys: Keys
    queued: Mapping[str, int]


def measure(server: CacheServer, cache: Cache, seconds: float) -> Measured:
    """Measure a cache over a time.

    Args:
        server: Its server.
        cache: The application's part of it.
        seconds: For how long.

    Returns:
        What was measured.

    Raises:
        PreconditionFailed: It was started anew meanwhile.
        Transient: It does not answer.
    """
    first = _info(server)
    time.sleep(seconds)
    last = _info(server)
    if first["run_id"] != last["run_id"]:
        raise PreconditionFailed(
            expected=f"a cache that runs on for {seconds:.0f} s.",
            found="it was started anew meanwhile, and counts from nothing.",
            todo="Find why it ends (repair_cache_connection, repair_crash_loop), then run again.",
        )
    moved = {name: int(last[name]) - int(first[name]) for name in _COUNTED}
    with server.connect(cache.number) as client:
        keys = _look(client, cache)
    return Measured(
        seconds=seconds,
        hits=moved["keyspace_hits"],
        misses=moved["keyspace_misses"],
        evicted=moved["evicted_keys"],
        expired=moved["expired_keys"],
        hits_ever=int(last["keyspace_hits"]),
        misses_ever=int(last["keyspace_misses"]),
        evicted_ever=int(last["evicted_keys"]),
        used=int(last["used_memory"]),
        most=int(last.get("maxmemory", 0)),
        machine=int(last.get("total_system_memory", 0)),
        policy=str(last.get("maxmemory_policy", "")),
        fragmentation=float(last.get("mem_fragmentation_ratio", 0)),
        file=str(last.get("config_file") or ""),
        keys=keys,
        queued=cache.queued(),
    )


def _info(server: CacheServer) -> dict[str, Any]:
    with server.connect() as client:
        found: dict[str, Any] = client.info()
    return found


def _look(client: "redis.Redis", cache: Cache) -> Keys:
    found, names = Keys(), itertools.islice(_names(client, cache), _MOST_KEYS)
    seen = lasting = 0
    while batch := list(itertools.islice(names, _BATCH)):
        asked = client.pipeline(transaction=False)
        for name in batch:
            asked.ttl(name)
            asked.memory_usage(name)
        answers = iter(asked.execute())
        for name, expiry, size in zip(batch, answers, answers, strict=False):
            if size is None:  # gone meanwhile
                continue
            seen += 1
            lasting += expiry == -1
            folded = _ID.sub("{id}", name)
            found.sizes[folded] += size
            found.counts[folded] += 1
            found.largest[folded] = max(found.largest[folded], size)
    return Keys(seen, lasting, found.sizes, found.counts, found.largest)


def _names(client: "redis.Redis", cache: Cache) -> Iterator[str]:
    pattern = re.sub(r"([*?\[\]\\])", r"\\\1", cache.namespace) + "*"
    for key in client.scan_iter(match=pattern, count=_BATCH):
        if key not in cache.queues:
            yield key
