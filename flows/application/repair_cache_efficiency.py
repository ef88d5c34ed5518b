"""Measure how well the cache serves, and give it the memory and the policy that it lacks."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.application.answers import find_unproved
from tasks.application.serves import ApplicationServes
from tasks.cache.checks import ApplicationUsesCache
from tasks.cache.efficiency_need import find_cache_need
from tasks.cache.options import CacheKeepsOptions, shown
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.platforms.targets import TargetName

Policy = Literal[
    "",
    "keep",
    "noeviction",
    "volatile-lru",
    "volatile-lfu",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
]


@remediation(guide="Application Issues / Slow Response Times / Cache Not Working")
def repair_cache_efficiency(
    target: TargetName,
    watch_seconds: Annotated[float, Field(ge=0, le=3600)] = 30,
    memory: Annotated[str, Field(pattern=r"^(keep|[1-9]\d{0,11}[kKmMgG]?[bB]?)?$")] = "",
    policy: Policy = "",
) -> Plan:
    """Measure how well the cache serves, and give it the memory and the policy that it lacks.

    The guide's count of hits says nothing of what was asked in vain. Here hits and misses,
    evictions and expiries are measured over a time, and a part of the keys is looked at: their
    sizes, and which never expire. More memory is proposed where what is used still was evicted
    meanwhile and its container or machine has it; another policy where a full cache would evict
    waiting jobs. Both are set while it runs, and kept where its next start finds them. What only
    the application can mend is said.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        watch_seconds: For how long it is measured, in seconds; longer says more.
        memory: The memory that it shall have, as 512M; empty to propose, "keep" to leave it. Less
            than now is refused.
        policy: What it shall evict when that is full; empty to propose, "keep" to leave it.

    Changes:
        `maxmemory` and `maxmemory-policy` of the running cache, and of its configuration file or
        its command in the compose file. Nothing is restarted.

    Undo:
        The options are as before, and the file byte for byte. Where more is cached by then than
        had room before, that is said, and a person decides.
    """
    need = find_cache_need(target, watch_seconds, memory, policy, remediation_id())
    if not need.changes or need.options is None:
        return Plan(
            name="report",
            title="Report how well the cache serves",
            risk=Risk.HARMLESS,
            findings=need.findings,
        )
    return Plan(
        name="repair",
        title=f"Have the cache of {target} work with {shown(need.options)}",
        risk=Risk.DISRUPTIVE,
        findings=need.findings,
        changes=need.changes,
        checks=(CacheKeepsOptions(options=need.options), ApplicationUsesCache()),
        watches=(ApplicationServes(),),
        effects=Effects(outage="none: nothing is restarted"),
        notes=(*need.notes, *find_unproved(target)),
    )
