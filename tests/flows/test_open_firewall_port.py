"""open_firewall_port on firewalls of a namespace's own, asked from other namespaces."""

import os
import signal
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from flows.help.undo_remediation import undo_remediation
from flows.network.open_firewall_port import open_firewall_port
from tasks.guardrails.plan import Standing, Work
from tasks.network.firewall.guard import mark_of
from tasks.network.firewall.opening import LetPortIn
from tasks.network.firewall.rules import Rule
from tasks.platforms import targets
from tests.approving import carry_out
from tests.firewall_fixtures import KINDS, PORT, Machine, every
from tests.killing import killed, recovered
from tests.namespaces import output
from tests.prefect_fixtures import Runs
from tests.waiting import until


@every(*KINDS)
def test_a_range_is_let_in_and_nobody_else(runs: Runs, walled: Machine) -> None:
    """Dropped before, served after; a stranger is dropped still; the undo is exact."""
    before, closed = walled.rules(), walled.asks(walled.friend)
    assert not closed.startswith("HTTP")
    with walled.asked_by(walled.friend):
        case, state = carry_out(
            runs, walled.sandbox, open_firewall_port, port=PORT, source=walled.source
        )
    assert state.name == "Remediated", state.message
    assert walled.asks(walled.friend).startswith("HTTP")
    assert walled.asks(walled.stranger) == closed
    assert any("Logged in by SSH: nobody." in one.what for one in case.stages[0].stage.findings)
    again, state = carry_out(
        runs, walled.sandbox, open_firewall_port, port=PORT, source=walled.source
    )
    assert state.name == "Unchanged", state.message
    assert "already" in again.stages[0].stage.findings[-1].what
    _, undone = carry_out(runs, walled.sandbox, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert walled.rules() == before
    assert walled.asks(walled.friend) == closed


@every("nft")
def test_where_nobody_comes_through_the_rule_goes(runs: Runs, walled: Machine) -> None:
    """Others ask meanwhile, and the machine itself: neither counts."""
    before = walled.rules()
    with walled.asked_by(walled.stranger), walled.asked_by(walled.inside):
        _, state = carry_out(
            runs,
            walled.sandbox,
            open_firewall_port,
            port=PORT,
            source=walled.source,
            confirm_seconds=5,
        )
    assert state.name == "Undone", state.message
    assert "nobody came through the rule" in (state.message or "")
    assert walled.rules() == before


@every("ufw", "nft", "iptables")
def test_killed_the_guard_takes_the_rule_back(walled: Machine) -> None:
    """With -9, while it waits for somebody: nobody of ours is left, and the rule goes."""
    before = walled.rules()
    chain = ("inet", "filter", "input") if walled.native() else ()
    rule = Rule(
        program=walled.kind,
        port=PORT,
        source=walled.source,
        comment=f"remedy killed-{os.getpid()}",
        chain=chain,
    )
    change = LetPortIn(rule=rule, confirm_seconds=60)
    told = Work(target="sandbox", remediation="killed")
    child = applied_apart(change, told)
    machine = targets.load("sandbox").machine
    until(lambda: any(one.line(machine) for one in rule.live(machine)))
    os.kill(child, signal.SIGKILL)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert any(one.line(machine) for one in rule.live(machine)), "somebody else has taken it back"
    let_time_pass(rule)
    until(lambda: walled.rules() == before)
    until(lambda: change.observe(told).standing is Standing.BEFORE)
    assert not walled.asks(walled.friend).startswith("HTTP")


def applied_apart(change: LetPortIn, told: Work) -> int:
    """Begin a change in a process of its own; gives its number."""
    child = os.fork()
    if not child:
        try:
            change.apply(told)
        finally:
            os._exit(0)
    return child


def let_time_pass(rule: Rule) -> None:
    """End what a guard waits by, as its time does; one that is a timer is waited for."""
    for one in psutil.process_iter():
        with suppress(psutil.Error):
            parent = one.parent() if one.name() == "sleep" else None
            if parent and mark_of(rule) in parent.cmdline():
                one.kill()


@every("ufw")
def test_a_start_of_the_machine_ends_what_nobody_confirmed(walled: Machine) -> None:
    """What is on its disk is as before while it waits; /run and guard go with the machine."""
    before, machine = walled.rules(), targets.load("sandbox").machine
    rule = Rule(
        program="ufw", port=PORT, source=walled.source, comment=f"remedy started-{os.getpid()}"
    )
    change = LetPortIn(rule=rule, confirm_seconds=600)
    told = Work(target="sandbox", remediation="started", begun_at=datetime.now(UTC))
    child = applied_apart(change, told)
    until(lambda: any(one.line(machine) for one in rule.live(machine)))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert change.observe(told).standing is Standing.HALF
    assert walled.asks(walled.friend).startswith("HTTP")
    Path(mark_of(rule)).unlink()
    let_time_pass(rule)  # nobody is left who waits
    walled.inside.run("ufw", "reload")  # from its files, as a start does
    assert change.observe(told).standing is Standing.BEFORE
    assert walled.rules() == before
    assert not walled.asks(walled.friend).startswith("HTTP")


@every("nft")
@pytest.mark.parametrize("point", ["watched", "added"])
def test_killed_it_is_recovered(point: str, runs: Runs, walled: Machine, home: Path) -> None:
    """It goes on where somebody comes through; the older guard lets its rule be."""
    fault = f"KILL=network.let_port_in:{point}"
    asked = {"port": PORT, "source": walled.source, "confirm_seconds": 60}
    case = killed(runs, open_firewall_port, walled.settings, home, fault, **asked)
    with walled.asked_by(walled.friend):
        state = recovered(runs, case)
    assert state.name == "Remediated", state.message
    assert walled.asks(walled.friend).startswith("HTTP")
    (rule,) = [one.rule for one in case.stages[0].stage.changes if isinstance(one, LetPortIn)]
    assert not Path(mark_of(rule)).exists()


@every("nft")
@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"port": 5432}, "Give the range, as 10.0.0.0/8"),
        ({"port": PORT, "source": "0.0.0.0/1"}, "Give the range, as 10.0.0.0/8"),
        ({"port": PORT, "source": "10.0.0.1/8"}, "has host bits set"),
    ],
)
def test_what_is_too_wide_is_refused(
    runs: Runs, walled: Machine, asked: dict[str, Any], why: str
) -> None:
    """Everybody, or half of everybody, at a port that is not for them; what is no range."""
    before = walled.rules()
    _, state = carry_out(runs, walled.sandbox, open_firewall_port, **asked)
    assert state.name == "Refused", state.message
    assert why in (state.message or "")
    assert walled.rules() == before


@every("nft")
def test_what_no_rule_mends_is_told(runs: Runs, walled: Machine) -> None:
    """Nobody listens; the port is closed on purpose; two filters are in charge; Docker leads it."""

    def tried(port: int) -> tuple[str, str]:
        case, state = carry_out(
            runs, walled.sandbox, open_firewall_port, port=port, source="10.0.0.0/8"
        )
        found = [one.what for stage in case.stages for one in stage.stage.findings]
        return str(state.name), f"{state.message} {' '.join(found)}"

    name, said = tried(9)
    assert name == "Advised"
    assert "Nothing listens at port 9" in said
    place = ("inet", "filter", "input")
    walled.inside.run("nft", "insert", "rule", *place, "tcp", "dport", str(PORT), "drop")
    name, said = tried(PORT)
    assert name == "Refused"
    assert f"somebody has closed it on purpose: tcp dport {PORT} drop" in said
    walled.inside.run("iptables", "-P", "INPUT", "DROP")
    name, said = tried(PORT)
    assert name == "Refused"
    assert "a packet has to get through each" in said
    walled.inside.run("iptables", "-t", "nat", "-N", "DOCKER")
    lead = ("-p", "tcp", "--dport", str(PORT), "-j", "DNAT", "--to-destination", "10.1.1.1:80")
    walled.inside.run("iptables", "-t", "nat", "-A", "DOCKER", *lead)
    name, said = tried(PORT)
    assert name == "Advised"
    assert "past ufw and chain INPUT" in said


def test_this_machines_own_rules_were_left_alone() -> None:
    """Nothing of ours is in them."""
    assert "remedy" not in output("iptables-save") + output("nft", "list", "ruleset")
