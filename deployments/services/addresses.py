"""The addresses of this machine at which something is served."""

import ipaddress
import socket
from collections.abc import Iterable

from tasks.guardrails.errors import BadInput


def listening(address: str, port: int) -> socket.socket:
    """Listen at an address.

    Args:
        address: An IP address of this machine; `0.0.0.0` or `::` for all of a family.
        port: The port, 0 for any.

    Returns:
        The socket.

    Raises:
        OSError: It is no address of this machine, or the port is taken.
    """
    numeric = socket.AI_NUMERICHOST
    family, *_, where = socket.getaddrinfo(
        address, port, type=socket.SOCK_STREAM, flags=numeric | socket.AI_PASSIVE
    )[0]
    return socket.create_server(where[:2] if family is socket.AF_INET else where, family=family)


def is_free(port: int, addresses: Iterable[str]) -> bool:
    """Say whether nobody listens on a port at any of some addresses."""
    try:
        for address in addresses:
            listening(address, port).close()
    except OSError:
        return False
    return True


def insist_on_own(address: str) -> None:
    """Make sure that something can be served at an address.

    Raises:
        BadInput: It is no IP address, or none of this machine.
    """
    try:
        ipaddress.ip_address(address)  # getaddrinfo takes "0" as well
        listening(address, 0).close()
    except (OSError, ValueError) as error:
        raise BadInput(
            expected="an IP address of this machine: 127.0.0.1 for itself only, 0.0.0.0 for all.",
            found=f"{address!r}: {error}.",
            todo="Correct --host; `ip address` shows those that there are.",
        ) from error
