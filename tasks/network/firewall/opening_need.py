"""What holds a port back on a machine, and the one rule that lets a source in."""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_network

from tasks.guardrails.errors import BadInput, PreconditionFailed
from tasks.guardrails.plan import Finding, Risk
from tasks.guardrails.probe import probe
from tasks.network.firewall.filters import Filter, find_filters
from tasks.network.firewall.opening import LetPortIn
from tasks.network.firewall.rules import Rule
from tasks.network.firewall.seen import (
    closed_by_engine,
    find_engine_rules,
    find_logins,
    listening_at,
)
from tasks.network.way_out import DATA_PORTS
from tasks.platforms import targets

FOR_EVERYBODY = (80, 443)
# Wider than that is everybody by another name.
_WIDEST = {4: 8, 6: 16}


@dataclass(frozen=True)
class Need:
    """What a port needs to be let in.

    Args:
        findings: What was seen.
        change: The rule, None where nothing of the machine holds it back.
        risk: Its risk.
        notes: What the approver should know.
    """

    findings: tuple[Finding, ...]
    change: LetPortIn | None = None
    risk: Risk = Risk.DISRUPTIVE
    notes: tuple[str, ...] = ()


def source_of(text: str, port: int) -> str:
    """Read who is to be let in.

    Args:
        text: An address or a range; '' for everybody.
        port: The port.

    Returns:
        The range as rules have it; '' for everybody.

    Raises:
        BadInput: It is no range.
        PreconditionFailed: It is everybody, and the port is not one for everybody.
    """
    try:
        net = ip_network(text) if text else None
    except ValueError as error:
        raise BadInput(
            expected="an address or a range, as 10.0.0.0/8.",
            found=f"{text!r}: {error}.",
            todo="Give the range that users come from.",
        ) from error
    if net is not None and net.prefixlen >= _WIDEST[net.version]:
        return str(net)
    if port not in FOR_EVERYBODY:
        raise PreconditionFailed(
            expected=f"a `source` for port {port}: the range that users come from.",
            found=f"{text or 'everybody'}.",
            todo="Give the range, as 10.0.0.0/8; everybody is let in at ports 80 and 443 alone.",
        )
    return "" if net is None or not net.prefixlen else str(net)


@probe
def find_held_back(
    target: str, port: int, source: str, confirm_seconds: int, remediation: str
) -> Need:
    """Find what holds a port back on the machine of a target.

    Args:
        target: Name of the target.
        port: The port.
        source: Who is to be let in, '' for everybody.
        confirm_seconds: Within how many somebody has to come through.
        remediation: Its id, by which the rule is known.

    Returns:
        What was seen, and the rule.

    Raises:
        PreconditionFailed: More than one filter is in charge, or the port is closed on purpose.
    """
    wanted, machine = source_of(source, port), targets.load(target).machine
    heard, why = listening_at(machine, port)
    found = find_filters(machine, port, six=":" in wanted)
    findings = [heard, _in_charge(found, port)]
    if by_engine := find_engine_rules(machine, port):
        return Need((*findings, closed_by_engine(by_engine, port, wanted)))
    if not found or why:
        return Need(tuple(findings))
    if len(found) > 1:
        raise PreconditionFailed(
            expected="one packet filter in charge of the machine.",
            found=f"{'; '.join(one.said for one in found)}.",
            todo="Decide which of them is to be in charge: a packet has to get through each.",
        )
    (one,) = found
    if one.holding:
        raise PreconditionFailed(
            expected=f"port {port} held back only as no rule lets it in.",
            found=f"somebody has closed it on purpose: {'; '.join(one.holding)}.",
            todo="Ask who did, and take that rule out by hand.",
        )
    if letting := one.letting(wanted):
        seen = f"A rule lets {wanted or 'everybody'} in at port {port} already: {letting[0]}"
        return Need((*findings, Finding(what=seen, how="the filter's rules")))
    rule = Rule(
        program=one.program,
        port=port,
        source=wanted,
        comment=f"remedy {remediation}",
        chain=one.chain,
    )
    data = port in DATA_PORTS and bool(wanted) and ip_network(wanted).is_global
    return Need(
        (*findings, find_logins(machine), *_persistence(one, rule)),
        LetPortIn(rule=rule, confirm_seconds=confirm_seconds),
        Risk.DESTRUCTIVE if data else Risk.DISRUPTIVE,
        tuple(_notes(rule, confirm_seconds)),
    )


def _in_charge(found: list[Filter], port: int) -> Finding:
    words = "; ".join(one.said for one in found) or "no filter of the machine holds anything back"
    return Finding(
        what=f"In charge: {words}.",
        how="ufw status, iptables-save (and -legacy-), nft list ruleset",
        columns=("program", f"what it says of port {port}"),
        rows=tuple((one.program, "; ".join(one.rules) or "nothing") for one in found),
    )


def _persistence(one: Filter, rule: Rule) -> Iterator[Finding]:
    if one.program == "ufw":
        return
    kept = (
        f"# where iptables-persistent is installed; the rule is {rule}\nnetfilter-persistent save\n"
    )
    if one.program == "nft":
        kept = f"# in /etc/nftables.conf, tried by `nft -c -f` before it is loaded:\n{rule}\n"
    yield Finding(
        what="The rule is in force until the filter is loaded anew: which file that is loaded "
        "from, only its owner knows.",
        how="the program in charge",
        patch=kept,
    )


def _notes(rule: Rule, confirm_seconds: int) -> Iterator[str]:
    yield (
        f"somebody has to come through it within {confirm_seconds} s (`nc -vz HOST {rule.port}` "
        "from there), else a guard takes it back, also where this run is killed"
    )
    yield "a rule that lets in shuts nobody out; the firewall is never switched on or loaded anew"
    if not rule.source and rule.program.startswith("iptables"):
        yield "it is for IPv4 alone: chain INPUT of ip6tables stays as it is"
    yield "a firewall before the machine (security groups) is not seen from here"
