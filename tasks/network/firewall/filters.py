"""Which packet filter is in charge of a machine, and what it does with a port.

Sources: ufw(8), iptables-save(8), nft(8), libnftables-json(5), firewall-cmd(1).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from tasks.guardrails.errors import PreconditionFailed
from tasks.network.firewall.rules import Program, asked
from tasks.platforms.hosts import Host

_MISSING = 127
_INPUT = re.compile(r"^-A (?:INPUT|ufw6?-user-input|ufw6?-before-input|ufw6?-after-input) ")


@dataclass(frozen=True)
class Filter:
    """A packet filter that holds back what no rule lets in.

    Args:
        program: By which its rules are made.
        said: How it is known to be in charge.
        rules: What it says of one port, each as it is listed.
        chain: Of nft: family, table and chain.
    """

    program: Program
    said: str
    rules: tuple[str, ...] = ()
    chain: tuple[str, ...] = ()

    @property
    def holding(self) -> tuple[str, ...]:
        """The rules that hold the port back on purpose."""
        return tuple(one for one in self.rules if re.search(r"-j (DROP|REJECT)|drop|reject", one))

    def letting(self, source: str) -> tuple[str, ...]:
        """Give the rules that let a source in already."""
        return tuple(
            one
            for one in self.rules
            if re.search(r"-j ACCEPT|accept", one) and _is_for(one, source)
        )


def find_filters(machine: Host, port: int, *, six: bool) -> list[Filter]:
    """Find every filter that holds back what comes in.

    Args:
        machine: The machine.
        port: The port that is looked for.
        six: Whether who is to be let in comes by IPv6.

    Returns:
        Those in force; none where the machine lets everything in.

    Raises:
        PreconditionFailed: They cannot be listed, or firewalld is in charge.
    """
    _insist_on_no_firewalld(machine)
    ufw = machine.run(["ufw", "status"])
    by_ufw = "Status: active" in ufw.output
    if ufw.status not in (0, _MISSING):
        asked(machine, "ufw", "status")
    found = []
    names: tuple[Program, ...] = ("iptables", "iptables-legacy")
    if six:
        names = ("ip6tables", "ip6tables-legacy")
    for name in names:
        # All tables that there are: to name one would make it.
        done = machine.run([f"{name}-save"])
        if done.status == _MISSING:
            continue
        saved = done.output if not done.status else asked(machine, f"{name}-save")
        text = saved.partition("*filter\n")[2].partition("COMMIT")[0]
        if by_ufw and "ufw-user-input" in text:
            found.append(Filter("ufw", "`ufw status` says active", _of_port(text, port)))
        elif _holds(text):
            said = f"chain INPUT of {name} holds back what no rule lets in"
            found.append(Filter(name, said, _of_port(text, port)))
    return [*found, *_native(machine, port, six=six)]


def _insist_on_no_firewalld(machine: Host) -> None:
    if machine.run(["firewall-cmd", "--state"]).output.strip() == "running":
        raise PreconditionFailed(
            expected="ufw, nftables or iptables in charge of the machine.",
            found="firewalld runs, and makes the rules anew from its zones.",
            todo="Open the port there: `firewall-cmd --zone=ZONE --add-rich-rule=...`, first "
            "without --permanent and with --timeout=300.",
        )


def _holds(saved: str) -> bool:
    return bool(re.search(r"^:INPUT DROP|^-A INPUT -j (?:DROP|REJECT)\b", saved, re.MULTILINE))


def _of_port(saved: str, port: int) -> tuple[str, ...]:
    of_it = re.compile(rf"-p tcp .*--dports? (?:\S*,)?{port}(?:,\S*)? ")
    return tuple(one for one in saved.splitlines() if _INPUT.match(one) and of_it.search(one))


def _is_for(rule: str, source: str) -> bool:
    # What is for one interface or for others than somebody is not taken for them.
    if re.search(r"! -s|saddr [^0-9a-fA-F:]|(?<!! )-i |iif(?:name)? \"", rule):
        return False
    named = re.search(r"(?:-s|saddr) ([0-9a-fA-F.:/]+)", rule)
    if named is None or not source:
        return named is None
    theirs, ours = ip_network(named[1], strict=False), ip_network(source)
    return (
        theirs.version == ours.version
        and theirs.prefixlen <= ours.prefixlen
        and ours.supernet(new_prefix=theirs.prefixlen) == theirs
    )


def _native(machine: Host, port: int, *, six: bool) -> Iterator[Filter]:
    """Find base chains of nftables that iptables has not made."""
    done = machine.run(["nft", "-j", "list", "ruleset"])
    if done.status == _MISSING:
        return
    if done.status:
        asked(machine, "nft", "-j", "list", "ruleset")
    known = json.loads(done.output)["nftables"]
    families = ("inet", "ip6" if six else "ip")
    for chain in (one["chain"] for one in known if "chain" in one):
        name = (chain["family"], chain["table"], chain["name"])
        if chain.get("hook") != "input" or name[0] not in families or name[2] == "INPUT":
            continue
        rules = [one["rule"] for one in known if _is_in(one, name)]
        if chain.get("policy") != "drop" and not any(map(_holds_all, rules)):
            continue
        listed = asked(machine, "nft", "list", "chain", *name).splitlines()
        of_port = re.compile(rf"(?:tcp|th) dport (?:{port}\b|\{{[^}}]*\b{port}\b)")
        of_it = tuple(one.strip() for one in listed if of_port.search(one))
        yield Filter("nft", f"chain {' '.join(name)} holds back the rest", of_it, name)


def _is_in(one: Mapping[str, Any], name: tuple[str, ...]) -> bool:
    rule = one.get("rule") or {}
    return bool(rule) and (rule["family"], rule["table"], rule["chain"]) == name


def _holds_all(rule: Mapping[str, Any]) -> bool:
    said = [next(iter(one)) for one in rule["expr"]]
    return bool({"drop", "reject"} & set(said)) and "match" not in said
