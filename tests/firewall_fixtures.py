"""Machines behind a firewall of their own, in namespaces; loaded by conftest as a plugin."""

import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.sandbox.services import Sandbox
from infra.testbed.docker.debian import install
from infra.testbed.docker.engine import locked
from tasks.network.firewall.rules import Program
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget
from tests.compose_fixtures import or_missing
from tests.namespaces import Namespace, namespace
from tests.waiting import until

PORT = 8000
SERVES = (
    "import http.server as h, socketserver as s\n"
    "class T(s.ThreadingMixIn, h.HTTPServer): address_family = __import__('socket').AF_INET\n"
    f"T(('0.0.0.0', {PORT}), h.SimpleHTTPRequestHandler).serve_forever()\n"
)
ETC = Path("/etc/netns")
MARKS = Path("/run/remedy")
NFT = """\
table inet filter {
  chain input {
    type filter hook input priority filter; policy accept;
    ct state established,related accept
    iif lo accept
    tcp dport 22 accept
    counter drop
  }
}
"""
# By program, the package of Debian that has it.
PROGRAMS = {"ufw": "ufw", "nft": "nftables", "iptables": "iptables", "ss": "iproute2"}
KINDS = ("ufw", "nft", "iptables", "iptables-legacy")


def closed_by(kind: str, machine: Namespace) -> None:
    """Close a machine but for SSH, as its owner does with a kind of firewall."""
    if kind == "ufw":
        machine.run("ufw", "allow", "22/tcp")
        machine.run("ufw", "--force", "enable")
    elif kind == "nft":
        machine.run("sh", "-c", 'echo "$1" | nft -f -', "nft", NFT)
    else:
        established = ("-m", "conntrack", "--ctstate", "ESTABLISHED")
        for rule in (("-i", "lo"), established, ("-p", "tcp", "--dport", "22")):
            machine.run(kind, "-A", "INPUT", *rule, "-j", "ACCEPT")
        if kind == "iptables":
            machine.run(kind, "-A", "INPUT", "-j", "REJECT")
        else:
            machine.run(kind, "-P", "INPUT", "DROP")


@dataclass
class Machine:
    """A machine behind a firewall, two that ask it, and the sandbox that stands for its target."""

    inside: Namespace
    friend: Namespace
    stranger: Namespace
    sandbox: Sandbox
    kind: Program

    @property
    def settings(self) -> dict[str, Any]:
        """The target's fields."""
        return {**self.sandbox.target_settings(), "host_command_prefix": self.inside.prefix}

    @property
    def source(self) -> str:
        """The range of the friend."""
        return f"{self.friend.address}/32"

    def rules(self) -> str:
        """List all rules, without counters."""
        files = ETC / self.inside.name / "ufw"
        kept = "".join((files / one).read_text() for one in ("user.rules", "user6.rules"))
        kinds = ("iptables-save", "iptables-legacy-save", "ip6tables-save")
        lines = "".join(self.inside.run(one) for one in kinds).splitlines()
        native = self.inside.run("nft", "list", "table", "inet", "filter") if self.native() else ""
        saved = "\n".join(one.partition(" [")[0] for one in lines if one[:1] != "#")
        return kept + saved + native.partition("counter packets")[0]

    def native(self) -> bool:
        """Say whether there is a table of nftables."""
        return "inet filter" in self.inside.run("nft", "list", "tables")

    def asks(self, who: Namespace) -> str:
        """Say what somebody meets at the port."""
        return who.asks(who.beside, PORT)

    @contextmanager
    def asked_by(self, who: Namespace) -> Iterator[None]:
        """Have somebody ask again and again, as the person does who waits for it."""
        ended = threading.Event()

        def ask() -> None:
            while not ended.wait(0.2):
                self.asks(who)

        asking = threading.Thread(target=ask)
        asking.start()
        try:
            yield
        finally:
            ended.set()
            asking.join()


@pytest.fixture
def walled(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Machine]:
    """A machine closed by a kind of firewall; nothing of it stays."""
    kind = request.param
    with or_missing():
        _provide()
    with ExitStack() as held:
        inside = held.enter_context(namespace())
        own = ETC / inside.name / "ufw"
        held.callback(shutil.rmtree, own.parent)
        shutil.copytree("/etc/ufw", own)  # what ufw writes stays in the namespace
        friend = held.enter_context(namespace(beside=inside))
        stranger = held.enter_context(namespace(beside=inside))
        serves = subprocess.Popen([*inside.prefix, sys.executable, "-c", SERVES])
        held.callback(serves.wait)
        held.callback(serves.kill)
        found = Machine(inside, friend, stranger, sandbox, kind)
        until(lambda: found.asks(friend).startswith("HTTP"))
        closed_by(kind, inside)
        targets.give(SandboxTarget(**found.settings))
        marks = set(MARKS.glob("guard-*"))  # another run's
        yield found
        for mark in set(MARKS.glob("guard-*")) - marks:
            mark.unlink(missing_ok=True)  # its guard may wake up just now


def _provide() -> None:
    """Have the programs on this machine; ufw is not switched on by its package."""
    if missing := [one for one in PROGRAMS if not shutil.which(one)]:
        with locked(Path(tempfile.gettempdir()) / "remedy-test-firewall.lock"):
            install([PROGRAMS[one] for one in missing], purpose="firewalls to test with")


def every(*kinds: str) -> pytest.MarkDecorator:
    """Have a test run behind some kinds of firewall."""
    return pytest.mark.parametrize("walled", kinds, indirect=True)
