"""What listens in a container, read from the kernel's table of sockets.

Source: proc(5), /proc/net/tcp and /proc/net/tcp6: addresses are words in the machine's byte order.
"""

import ipaddress
import sys

from tasks.platforms.networks import Listener

_LISTENS = "0A"
_ENGINES_OWN = "127.0.0.11"  # its name server in every container of a user's network
_FIELDS = 4
_V4_DIGITS = 8


def listeners_in(table: str) -> tuple[Listener, ...]:
    """Read the listeners of a table.

    Args:
        table: What /proc/net/tcp and /proc/net/tcp6 hold.

    Returns:
        Each once, sorted by port; the engine's own name server is left out.
    """
    found = set()
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < _FIELDS or fields[3] != _LISTENS or ":" not in fields[1]:
            continue
        digits, _, port = fields[1].partition(":")
        address = _address(digits)
        if address != _ENGINES_OWN:
            found.add((int(port, 16), address))
    return tuple(Listener(address, port) for port, address in sorted(found))


def _address(digits: str) -> str:
    words = [digits[place : place + _V4_DIGITS] for place in range(0, len(digits), _V4_DIGITS)]
    packed = b"".join(int(word, 16).to_bytes(4, sys.byteorder) for word in words)
    address = ipaddress.ip_address(packed)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
