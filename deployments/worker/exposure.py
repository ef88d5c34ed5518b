"""Whether anybody who reaches Prefect's API may use it; then the worker does not start."""

import socket
from collections.abc import Iterator

import httpx
import psutil

from tasks.guardrails.errors import PreconditionFailed

_LOOPBACK = ("localhost", "127.", "::1")
_CONNECT_SECONDS = 0.5
_ANSWER_SECONDS = 10


def insist_on_protection(url: str, *, has_password: bool) -> None:
    """Make sure that an API which others reach asks for a password.

    Args:
        url: URL of the API.
        has_password: Whether an authentication string or key is configured here.

    Raises:
        PreconditionFailed: It is served beyond loopback, and needs no password; or it cannot
            be found out whether it does.
    """
    beyond = next(reached_beyond_loopback(url), "")
    if not beyond:
        return
    try:
        is_open = answers_anybody(url)
    except httpx.HTTPError as error:
        raise PreconditionFailed(
            expected=f"an answer of {url}.",
            found=f"{type(error).__name__}: {error}",
            state="The worker did not start.",
            todo="Correct PREFECT_API_URL, or start the server.",
        ) from error
    if is_open or not has_password:
        raise PreconditionFailed(
            expected="a password on an API that is served beyond loopback.",
            found=f"{beyond} answers without one." if is_open else "no password is set here.",
            state="The worker did not start.",
            todo="Set PREFECT_SERVER_API_AUTH_STRING=USER:PASSWORD on the server and the same as "
            "PREFECT_API_AUTH_STRING here; or serve the API on 127.0.0.1 only.",
        )


def answers_anybody(url: str) -> bool:
    """Say whether the API answers a question without a password.

    It is a question that changes nothing: those that could are refused for lack of a CSRF token
    by a server that would hand one out to anybody.
    """
    asked = httpx.get(f"{url}/admin/version", timeout=_ANSWER_SECONDS, trust_env=False)
    return asked.is_success


def reached_beyond_loopback(url: str) -> Iterator[str]:
    """Give the addresses by which others than this machine reach an API.

    Args:
        url: URL of the API.

    Yields:
        Its own host, or those addresses of this machine at which its port answers too.
    """
    where = httpx.URL(url)
    if not where.host.startswith(_LOOPBACK):
        yield where.host
        return
    port = where.port or (443 if where.scheme == "https" else 80)
    for interface in psutil.net_if_addrs().values():
        for one in interface:
            outward = one.family in (socket.AF_INET, socket.AF_INET6) and not (
                one.address.startswith(_LOOPBACK)
            )
            if outward and _answers(one.family, one.address, port):
                yield one.address


def _answers(family: int, address: str, port: int) -> bool:
    with socket.socket(family) as probe:
        probe.settimeout(_CONNECT_SECONDS)
        try:
            # An IPv6 address of a link carries its interface: getaddrinfo makes the number of it.
            where = socket.getaddrinfo(address, port, family, socket.SOCK_STREAM)[0][4]
            return probe.connect_ex(where) == 0
        except OSError:
            return False
