"""Whether a port is answered behind, asked from outside of the containers."""

import socket
from typing import ClassVar

import httpx

from tasks.guardrails.plan import Answer, Check, Verdict, Work
from tasks.platforms import targets
from tasks.platforms.networks import is_loopback

_SECONDS = 5.0
_WAITS_SECONDS = 1.0
_SERVER_ERROR = 500


def why_not_reached(address: str, port: int, path: str = "") -> str:
    """Ask a port.

    Args:
        address: Where.
        port: The port.
        path: Path that answers HTTP, '' where it does not speak that.

    Returns:
        Why nothing answers, '' where something does.
    """
    if path:
        host = f"[{address}]" if ":" in address else address
        try:
            status = httpx.get(
                f"http://{host}:{port}{path}", timeout=_SECONDS, trust_env=False
            ).status_code
        except httpx.HTTPError as error:
            return f"{type(error).__name__}: {error}"
        return f"status {status}" if status >= _SERVER_ERROR else ""
    try:
        asked = socket.create_connection((address, port), timeout=_SECONDS)
    except OSError as error:
        return error.strerror or str(error) or type(error).__name__
    with asked:
        asked.settimeout(_WAITS_SECONDS)
        try:
            # The engine's proxy takes every connection, and ends it where nothing is behind.
            return "" if asked.recv(1) else "the connection is ended at once"
        except TimeoutError:
            return ""  # it waits for us to speak first
        except OSError as error:
            return error.strerror or str(error)


class PortAnswers(Check):
    """A published port is answered behind.

    Args:
        service: The service.
        address: Address of the machine at which it is published, '' for all.
        outside: The machine's port.
    """

    kind: ClassVar[str] = "network.port_answers"

    service: str
    address: str
    outside: int

    @property
    def title(self) -> str:
        """The claim."""
        where = f"address {self.address}" if self.address else "the addresses"
        return f"{self.service} answers at port {self.outside} of {where} of the machine"

    def ask(self, work: Work) -> Answer:
        """Ask at that address; at the one by which others reach the machine where it is for all."""
        network = targets.load(work.target).network
        address = self.address or network.address()
        if not network.reaches(address):
            return Answer(Verdict.NOT_ASKED, f"{address} is another machine's than the worker's")
        if not address:
            return Answer(Verdict.NOT_ASKED, "the machine has no address but loopback to ask at")
        why = why_not_reached(address, self.outside, network.health_path(self.service))
        own = "" if is_loopback(address) else "; asked from the worker's machine, not from others"
        if why:
            return Answer(Verdict.NOT_HELD, f"{address}:{self.outside}: {why}")
        return Answer(Verdict.HELD, f"{address}:{self.outside} answers{own}")
