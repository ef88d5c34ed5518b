"""Network namespaces of a test's own: machines beside this one, of which nothing stays."""

import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

# RFC 2544: for tests of networks, and nobody's.
NET = "198.18"
_numbers = itertools.count(1)
_ASK = (
    "import socket, sys\n"
    "try:\n"
    "    where = (sys.argv[1], int(sys.argv[2]))\n"
    "    me = (sys.argv[3], 0) if len(sys.argv) > 3 else None\n"
    "    with socket.create_connection(where, 2, me) as one:\n"
    "        one.settimeout(60)\n"  # a server answers later than the kernel lets in
    "        one.sendall(b'GET /health HTTP/1.0\\r\\n\\r\\n')\n"
    "        print(one.recv(64).decode().splitlines()[0])\n"
    "except (OSError, IndexError) as error:\n"
    "    print(type(error).__name__)\n"
)


@dataclass(frozen=True)
class Namespace:
    """A network namespace.

    Args:
        name: Its name.
        address: Its address.
        beside: The address of the one that it is tied to.
    """

    name: str
    address: str
    beside: str

    @property
    def prefix(self) -> list[str]:
        """What stands before a command that runs in it."""
        return ["ip", "netns", "exec", self.name]

    def run(self, *command: str) -> str:
        """Run a command in it."""
        return output(*self.prefix, *command)

    def asks(self, address: str, port: int, *source: str) -> str:
        """Say what somebody in it meets at a port: the first line of an answer, or an error."""
        return self.run("python3", "-c", _ASK, address, str(port), *source).strip()


def output(*command: str) -> str:
    """Run a command that has to end well."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@contextmanager
def namespace(beside: Namespace | None = None) -> Iterator[Namespace]:
    """Make a namespace that is tied to this machine, or to another one; nothing of it stays."""
    if os.geteuid() or not shutil.which("ip"):
        pytest.skip("needs root and `ip`, to make network namespaces")
    number = next(_numbers)
    name, net = f"remedy-{os.getpid()}-{number}", f"{NET}.{os.getpid() % 200}.{number % 63 * 4}"
    base, _, last = net.rpartition(".")
    inner, outer = f"{base}.{int(last) + 2}", f"{base}.{int(last) + 1}"
    device = f"rm{os.getpid() % 10**7}x{number}"
    output("ip", "netns", "add", name)
    try:
        made = ("ip", "link", "add", f"{device}o", "type", "veth", "peer", "name", f"{device}i")
        output(*made)
        there = beside.prefix if beside else []
        output("ip", "link", "set", f"{device}i", "netns", name)
        if beside:
            output("ip", "link", "set", f"{device}o", "netns", beside.name)
        output(*there, "ip", "address", "add", f"{outer}/30", "dev", f"{device}o")
        output(*there, "ip", "link", "set", f"{device}o", "up")
        found = Namespace(name, inner, outer)
        found.run("ip", "link", "set", "lo", "up")
        found.run("ip", "address", "add", f"{inner}/30", "dev", f"{device}i")
        found.run("ip", "link", "set", f"{device}i", "up")
        found.run("ip", "route", "add", "default", "via", outer)
        yield found
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=False)
