"""The engine's rules in a machine's packet filter: what leads a published port to its container.

Sources: docs.docker.com/engine/network/packet-filtering-firewalls; iptables-save(8). A firewall
that loads its own rules anew takes those of the engine away, which then does not notice.
"""

import re
from collections.abc import Sequence

from tasks.platforms.networks import Binding, Rules

_CHAIN = re.compile(r"^:DOCKER ", re.MULTILINE)
_JUMP = re.compile(r"^-A (?:FORWARD|DOCKER-FORWARD)\b.*-j (?:DOCKER|DOCKER-BRIDGE)\b", re.MULTILINE)


def rules_of(saved: str, inside: Sequence[str], binding: Binding) -> Rules:
    """Find the rules by which a published port leads to a container.

    Args:
        saved: What `iptables-save` says.
        inside: The container's addresses.
        binding: What it publishes.

    Returns:
        Whether they are there, and what is missing.
    """
    if "docker-bridges" in saved:
        return Rules(None, "the engine keeps its rules in nftables of its own")
    if not _CHAIN.search(saved):
        return _gone("the engine's chain DOCKER is gone from the packet filter")
    places = "|".join(re.escape(f"{one}:{binding.port}") for one in inside) or "(?!)"
    leads = re.compile(
        rf"^-A DOCKER .*--dport {binding.outside} .*-j DNAT --to-destination (?:{places})$",
        re.MULTILINE,
    )
    if not leads.search(saved):
        return _gone(f"no rule of chain DOCKER (nat) leads port {binding.outside} to the container")
    addresses = "|".join(re.escape(one) for one in inside)
    lets_in = re.compile(
        rf"^-A DOCKER -d (?:{addresses})/32 .*--dport {binding.port} -j ACCEPT$", re.MULTILINE
    )
    if not lets_in.search(saved):
        return _gone("no rule of chain DOCKER (filter) lets what comes to it in")
    if not _JUMP.search(saved):
        return _gone("chain FORWARD does not go to the engine's chain DOCKER any more")
    return Rules(
        lead_there=True, said=f"chain DOCKER leads port {binding.outside} to the container"
    )


def _gone(said: str) -> Rules:
    return Rules(lead_there=False, said=said)
