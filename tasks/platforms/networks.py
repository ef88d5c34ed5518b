"""The capability of a network: which ports of a service are reached from outside, and how."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Literal, Protocol

from tasks.guardrails.errors import BadInput

Role = Literal["application", "database", "cache", "proxy", "other"]
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - compared with, not listened at


def normalised(address: str) -> str:
    """Write an address of a machine in one way, all of them as 0.0.0.0 or ::.

    Args:
        address: The address, '' for none.

    Raises:
        BadInput: There is no such address.
    """
    if not address:
        return ""
    try:
        return str(ip_address(address))
    except ValueError as error:
        raise BadInput(
            expected="an address of the machine, as 127.0.0.1 or ::1.",
            found=f"{address!r}.",
            todo="Correct it.",
        ) from error


def is_loopback(address: str) -> bool:
    """Say whether an address is reached from its own machine alone."""
    return address not in EVERYWHERE and ip_address(address).is_loopback


@dataclass(frozen=True, order=True)
class Binding:
    """A port of a service at an address of its machine.

    Args:
        port: The port inside.
        address: The machine's address; '' for all of them.
        outside: The machine's port; 0 for one that the engine chooses.
    """

    port: int
    address: str
    outside: int

    def __str__(self) -> str:
        """Write it as compose files have it."""
        address = f"[{self.address}]" if ":" in self.address else self.address
        return ":".join(filter(None, (address, str(self.outside or ""), str(self.port))))

    def covers(self, address: str) -> bool:
        """Say whether who comes to an address ('' for any that is not loopback) is let in."""
        if self.address in EVERYWHERE:
            return True
        return not is_loopback(self.address) if address == "" else self.address == address


@dataclass(frozen=True)
class Listener:
    """What a process in a container listens at."""

    address: str
    port: int


@dataclass(frozen=True)
class Way:
    """A container, and what leads to it.

    Args:
        container: Its name.
        runs: Whether its processes are at work.
        mode: Its network: 'host', 'none', 'container:...', or that of a bridge.
        internal: Whether every network that it is on lets nothing in or out.
        addresses: Its address by network.
        listeners: What listens in it, without the engine's own; None where it cannot be asked.
        asked: What it was made with.
        bound: What of that the engine has in force.
    """

    container: str
    runs: bool
    mode: str
    internal: bool
    addresses: Mapping[str, str]
    listeners: tuple[Listener, ...] | None
    asked: tuple[Binding, ...]
    bound: tuple[Binding, ...]


@dataclass(frozen=True)
class Rules:
    """What the machine's packet filter does with a published port.

    Args:
        lead_there: Whether it leads to the container; None where it cannot be asked.
        said: What was seen, as a sentence.
    """

    lead_there: bool | None
    said: str


class Network(Protocol):
    """Ports of a project's services."""

    def role(self, service: str) -> Role:
        """Say what a service is in the target."""

    def port_of(self, service: str) -> int:
        """Give the port at which a service is expected to listen; 0 where nobody knows."""

    def health_path(self, service: str) -> str:
        """Give the path at which a service answers HTTP; '' for one that does not speak it."""

    def ways(self, service: str) -> list[Way]:
        """Look at a service's containers."""

    def taken_by(self, service: str, binding: Binding) -> str:
        """Say who else has a port of the machine; '' where nobody."""

    def rules(self, way: Way, binding: Binding) -> Rules:
        """Look into the machine's packet filter."""

    def sent_on_by_proxy(self, service: str, port: int) -> bool | None:
        """Say whether the proxy names a service's port; None where there is no proxy."""

    def reaches(self, address: str) -> bool:
        """Say whether an address of the machine means that machine on this one, too."""

    def address(self) -> str:
        """Give an address of the machine as others reach it; '' where it has none."""

    def remake(self, service: str) -> None:
        """Make a service's container anew from the files, and wait until it is up.

        Raises:
            PreconditionFailed: It does not come up.
        """


class Networked(Protocol):
    """What a target has whose services publish ports."""

    @property
    def network(self) -> Network:
        """The ports of its services."""
