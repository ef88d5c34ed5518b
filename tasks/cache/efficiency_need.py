"""What keeps a cache from serving well, and which of its options mend that."""

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.cache.efficiency import Measured, measure
from tasks.cache.options import MEMORY, POLICY, SetCacheOptions
from tasks.cache.options_kept import find_kept
from tasks.containers.meaning import bytes_of
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Finding
from tasks.guardrails.probe import probe
from tasks.platforms import targets
from tasks.platforms.protocols import System

KEEP = "keep"
_SPARING = "volatile-lru"
_SHOWN = 10
_FULL, _MOST_OF_MACHINE = 0.9, 0.6  # a fork for its file may need as much again, of what changes
_LASTING, _LOW, _FRAGMENTED = 0.05, 0.5, 1.5
_MIB = 2**20
_FEWEST = 100


@dataclass(frozen=True)
class Need:
    """What a cache needs.

    Args:
        findings: What was seen.
        changes: What mends it; none where its options do not.
        options: The options as they shall be.
        notes: What the approver should know.
    """

    findings: tuple[Finding, ...]
    changes: tuple[Change, ...] = ()
    options: dict[str, str] | None = None
    notes: tuple[str, ...] = ()


@probe
def find_cache_need(
    target: str, watch_seconds: float, memory: str, policy: str, remediation: str
) -> Need:
    """Measure a cache, and find which of its options keep it from serving well.

    Args:
        target: Name of the target.
        watch_seconds: For how long it is measured.
        memory: The memory that it shall have, as 512M; '' to propose, 'keep' to leave it.
        policy: What it shall evict; '' to propose, 'keep' to leave it.
        remediation: Id of the remediation.

    Returns:
        What was measured, and the changes.

    Raises:
        PreconditionFailed: There is no room for so much, or its next start cannot be made to keep
            it.
    """
    system = targets.load(target)
    seen = measure(system.cache_server, system.cache, watch_seconds)
    room = _room(system, seen)
    wanted = {**_memory(seen, room, memory), **_policy(system, seen, policy)}
    now = {MEMORY: str(seen.most), POLICY: seen.policy}
    after = {name: value for name, value in wanted.items() if value != now[name]}
    findings = (_table(seen), _keys(seen), *_causes(system, seen, room))
    if not after:
        return Need(findings)
    before = {name: now[name] for name in after}
    kept, notes = find_kept(system, seen.file, before, after, remediation)
    return Need(findings, (*kept, SetCacheOptions(before=before, after=after)), after, notes)


def _room(system: System, seen: Measured) -> int:
    """Give the most memory that it may have: a part of its container's, or of its machine's."""
    most = seen.machine
    try:
        used = system.memory.use(system.cache_server.address[0])
    except PreconditionFailed:
        used = []
    limits = [one.limit for one in used if one.limit]
    return int(min([most, *limits]) * _MOST_OF_MACHINE) // _MIB * _MIB


def _memory(seen: Measured, room: int, asked: str) -> dict[str, str]:
    if asked == KEEP:
        return {}
    if asked:
        amount = bytes_of(asked)
        if not isinstance(amount, int) or not max(seen.used, seen.most) <= amount <= room:
            raise PreconditionFailed(
                expected=f"between {max(seen.used, seen.most) / _MIB:,.0f} and "
                f"{room / _MIB:,.0f} MiB: what it uses and may use now, and {_MOST_OF_MACHINE:.0%} "
                "of the memory of its container or machine.",
                found=f"{asked!r}.",
                todo="Ask for that; or give its container more first (raise_memory_limit). Less "
                "evicts at once: set that by hand.",
            )
        return {MEMORY: str(amount)}
    if seen.most and seen.evicted and seen.used > seen.most * _FULL:
        more = min(seen.most * 2, room) // _MIB * _MIB
        return {MEMORY: str(more)} if more > seen.most else {}
    return {}


def _policy(system: System, seen: Measured, asked: str) -> dict[str, str]:
    if asked == KEEP:
        return {}
    if asked:
        return {POLICY: asked}
    may_lose = seen.policy.startswith("allkeys") and bool(system.cache.queues)
    expires = seen.keys.seen and seen.keys.lasting <= seen.keys.seen * _LASTING
    return {POLICY: _SPARING} if may_lose and expires else {}


def _table(seen: Measured) -> Finding:
    most = f"{seen.most / _MIB:,.0f} MiB" if seen.most else "no limit"
    rows = (
        ("hits", f"{seen.hits:,}", f"{seen.hits_ever:,}"),
        ("misses", f"{seen.misses:,}", f"{seen.misses_ever:,}"),
        ("hit rate", _rate(seen.hits, seen.misses), _rate(seen.hits_ever, seen.misses_ever)),
        ("evicted for want of memory", f"{seen.evicted:,}", f"{seen.evicted_ever:,}"),
        ("expired", f"{seen.expired:,}", ""),
    )
    return Finding(
        what=f"In {seen.seconds:,.0f} s the hit rate was {rows[2][1]}; the cache uses "
        f"{seen.used / _MIB:,.1f} MiB of {most}, its policy is {seen.policy}, its process has "
        f"{seen.fragmentation:.2f} times of that; jobs wait: {sum(seen.queued.values()):,}.",
        how="INFO at the beginning and at the end",
        columns=("what", "in that time", "since its start"),
        rows=rows,
    )


def _rate(hits: int, misses: int) -> str:
    return f"{hits / (hits + misses):.1%}" if hits + misses else "nothing asked"


def _keys(seen: Measured) -> Finding:
    keys = seen.keys
    return Finding(
        what=f"Of {keys.seen:,} keys that were looked at {keys.lasting:,} have no expiry.",
        how="SCAN of the application's namespace, TTL and MEMORY USAGE; ids are folded",
        columns=("keys", "how many", "MiB", "largest kB") if keys.seen else (),
        rows=tuple(
            (name, f"{keys.counts[name]:,}", f"{size / _MIB:,.1f}", _kilobytes(keys.largest[name]))
            for name, size in keys.sizes.most_common(_SHOWN)
        ),
    )


def _kilobytes(size: int) -> str:
    return f"{size / 1000:,.1f}"


def _causes(system: System, seen: Measured, room: int) -> Iterator[Finding]:
    """Say what is wrong in words; a patch where a person has to do it."""
    keys, asked = seen.keys, seen.hits + seen.misses
    how = "what is measured above"
    if seen.policy.startswith("allkeys") and system.cache.queues:
        queues, lasting = ", ".join(system.cache.queues), keys.lasting > keys.seen * _LASTING
        yield Finding(
            what=f"With {seen.policy} a full cache evicts waiting jobs ({queues}) like anything "
            f"else; {_SPARING} takes only what expires by itself.",
            how="the server's policy, and the target's queues",
            patch="first give each cached key an expiry: SET key value EX seconds" * lasting,
        )
    if seen.most and seen.evicted and seen.used > seen.most * _FULL and room <= seen.most:
        yield Finding(
            what=f"It evicts what is used still ({seen.evicted:,} keys), and its container or "
            f"machine has no more memory for it than {room / _MIB:,.0f} MiB.",
            how=how,
            patch=f"remedy run raise-memory-limit --param service={system.cache_server.address[0]}",
        )
    if asked >= _FEWEST and seen.hits < asked * _LOW and not seen.evicted:
        yield Finding(
            what=f"Less than {_LOW:.0%} of what is asked for is there, and nothing was evicted: "
            "it was never put there, or expires before it is asked for again.",
            how=how,
            patch="longer expiries for what is read often, or fewer variants of one key",
        )
    if keys.seen >= _FEWEST and keys.lasting > keys.seen * _LASTING:
        yield Finding(
            what=f"{keys.lasting:,} of {keys.seen:,} cached keys never expire: they stay until "
            "they are evicted, however old what they say is.",
            how="TTL",
            patch="SET key value EX seconds, wherever the application caches something",
        )
    if seen.fragmentation > _FRAGMENTED and seen.used > 64 * _MIB:
        yield Finding(
            what=f"Its process has {seen.fragmentation:.2f} times the memory of what it holds.",
            how="mem_fragmentation_ratio",
            patch="CONFIG SET activedefrag yes, where it was built with jemalloc",
        )
