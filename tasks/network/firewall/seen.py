"""What else of a machine matters to a port: who listens, who is logged in, what the engine leads.

Sources: ss(8); docs.docker.com/engine/network/packet-filtering-firewalls (DOCKER-USER).
"""

import re

from tasks.guardrails.plan import Finding
from tasks.network.firewall.rules import asked
from tasks.platforms.hosts import Host
from tasks.platforms.networks import is_loopback

_SSH = 22


def listening_at(machine: Host, port: int) -> tuple[Finding, str]:
    """Look whether anything listens at a port.

    Returns:
        What was seen; why no rule helps, '' where one may.
    """
    lines = asked(machine, "ss", "-Hltnp", f"sport = :{port}").splitlines()
    at = [_address(line.split()[3]) for line in lines]
    names = sorted({name for line in lines for name in re.findall(r'\(\("([^"]+)"', line)})
    who = f" ({', '.join(names)})" if names else ""
    how = "ss -ltnp"
    if not at:
        why = f"Nothing listens at port {port}: no rule of a firewall helps."
        patch = f"ss -ltnp 'sport = :{port}'   # empty: start what should listen there\n"
        return Finding(what=why, how=how, patch=patch), why
    if all(is_loopback(one) for one in at):
        why = f"What listens at port {port}{who} does so at {', '.join(at)} alone: no rule helps."
        patch = "# have it listen at 0.0.0.0, or at the address that users come to\n"
        return Finding(what=why, how=how, patch=patch), why
    return Finding(what=f"At port {port} of {', '.join(at)} somebody listens{who}.", how=how), ""


def _address(place: str) -> str:
    address = place.rpartition(":")[0].strip("[]").partition("%")[0]
    return "" if address == "*" else address


def find_engine_rules(machine: Host, port: int) -> list[str]:
    """Find the rules by which a Docker engine leads a port past chain INPUT."""
    leads = re.compile(rf"^-A DOCKER .*--dport {port} .*-j DNAT")
    saved = [machine.run([name]).output for name in ("iptables-save", "iptables-legacy-save")]
    lines = [line for text in saved for line in text.splitlines()]
    if not any(leads.match(line) for line in lines):
        return []
    return [line for line in lines if leads.match(line) or line.startswith("-A DOCKER-USER")]


def closed_by_engine(rules: list[str], port: int, source: str) -> Finding:
    """Say that a published port does not come by chain INPUT, and what to run."""
    own = [one for one in rules if one.startswith("-A DOCKER-USER") and "-j RETURN" not in one]
    held = "holds something back" if own else "holds nothing back"
    who = f"-s {source} " if source else ""
    return Finding(
        what=f"Port {port} is published by a Docker engine: it comes by chain FORWARD, past ufw "
        f"and chain INPUT. What is to be held back stands in DOCKER-USER, which {held}.",
        how="iptables-save",
        columns=("rule",),
        rows=tuple((one,) for one in rules),
        patch=f"iptables -I DOCKER-USER {who}-p tcp -m conntrack --ctorigdstport {port} -j RETURN\n"
        if own
        else "# where it does not answer: remedy run publish-port says where the way stops\n",
    )


def find_logins(machine: Host) -> Finding:
    """Say who is logged in by SSH, and whether a rule goes on to let that in."""
    heard = asked(machine, "ss", "-Hltnp").splitlines()
    ports = {int(one.split()[3].rpartition(":")[2]) for one in heard if '"sshd"' in one} or {_SSH}
    peers = [
        f"{_address(line.split()[3])} at port {port}"
        for port in sorted(ports)
        for line in asked(
            machine, "ss", "-Htn", "state", "established", f"sport = :{port}"
        ).splitlines()
    ]
    saved = (
        "\n".join(machine.run([one]).output for one in ("iptables-save", "iptables-legacy-save"))
        + machine.run(["nft", "list", "ruleset"]).output
    )
    let_in = [
        str(port)
        for port in sorted(ports)
        if re.search(rf"(--dports? \S*\b{port}\b.*-j ACCEPT|dport .*\b{port}\b.*accept)", saved)
    ]
    shut = sorted({str(port) for port in ports} - set(let_in))
    words = f"Logged in by SSH: {', '.join(peers) or 'nobody'}."
    if let_in:
        words += f" A rule lets new logins in at port {', '.join(let_in)}."
    if shut:
        words += (
            f" No rule by itself lets new logins in at port {', '.join(shut)}: it is left as it is."
        )
    return Finding(what=words, how="ss, the filter's rules")
