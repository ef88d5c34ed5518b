"""Let users in at a port that the machine's firewall holds back."""

from typing import Annotated

from pydantic import Field

from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.network.firewall.opening import PortIsLetIn
from tasks.network.firewall.opening_need import find_held_back
from tasks.platforms.targets import TargetName


@remediation(guide="Network Issues / Cannot Access Application / Firewall Blocking")
def open_firewall_port(
    target: TargetName,
    port: Annotated[int, Field(ge=1, le=65535)] = 8000,
    source: Annotated[str, Field(pattern=r"^[0-9a-fA-F.:/]{0,43}$")] = "",
    confirm_seconds: Annotated[int, Field(ge=5, le=3600)] = 300,
) -> Plan:
    """Add one rule that lets a range in at a port, and keep it once somebody came through.

    Which filter is in charge is found first (ufw, nftables, iptables of either kind), whether
    anything listens at the port, whether a Docker engine leads it past all of them, who is logged
    in by SSH, and what the rules say of the port. A port that somebody has closed on purpose is
    refused, as are two filters in charge. The firewall is never switched on or loaded anew, as
    the guide does: ufw takes the rule up at once.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        port: The machine's port.
        source: The range that users come from, as 10.0.0.0/8; everybody, that is empty, for
            ports 80 and 443 alone.
        confirm_seconds: Within how many seconds somebody has to open a connection through the
            rule, from outside; else it goes again.

    Changes:
        A rule with the remediation's id as its comment. A guard that outlives this run takes it
        back where nobody came through it in time. By ufw it is kept across restarts, once
        somebody came: until then it is in ufw's chain alone, and a restart ends it. Elsewhere
        the line for the file is told.

    Undo:
        Exactly this rule goes.
    """
    need = find_held_back(target, port, source, confirm_seconds, remediation_id())
    if need.change is None:
        return Plan(
            name="open",
            title=f"Report what holds port {port} back",
            risk=Risk.HARMLESS,
            findings=need.findings,
        )
    return Plan(
        name="open",
        title=f"Let {need.change.rule.source or 'everybody'} in at port {port} of {target}",
        risk=need.risk,
        findings=need.findings,
        changes=(need.change,),
        checks=(PortIsLetIn(rule=need.change.rule),),
        effects=Effects(duration=f"until somebody comes through it, at most {confirm_seconds} s"),
        notes=need.notes,
    )
