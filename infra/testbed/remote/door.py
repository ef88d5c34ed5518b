"""A second door to an engine, by TCP with TLS as dockerd's own; the engine knows nothing of it."""

import select
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread

from infra.testbed.remote.certificates import Authority, Signed

_BYTES = 1 << 16


@contextmanager
def open_door(
    at: str, engine: Path, folder: Path, authority: Authority | None, server: Signed | None
) -> Iterator[int]:
    """Lead an address to an engine's socket while the block runs.

    Args:
        at: The address.
        engine: The engine's socket.
        folder: Where the certificate is put for a moment.
        authority: Who has to have signed a client's certificate.
        server: What the door shows; None for one without TLS.

    Yields:
        The port.
    """
    context = _context(folder, authority, server) if authority and server else None
    with socket.create_server((at, 0)) as listener:
        Thread(target=_serve, args=(listener, engine, context), daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


def _context(folder: Path, authority: Authority, server: Signed) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    both = folder / "server.pem"
    both.write_bytes(server.key + server.certificate)
    context.load_cert_chain(both)
    context.load_verify_locations(cadata=authority.certificate.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def _serve(listener: socket.socket, engine: Path, context: ssl.SSLContext | None) -> None:
    with suppress(OSError):  # until it is shut
        while True:
            there, _ = listener.accept()
            Thread(target=_lead, args=(there, engine, context), daemon=True).start()


def _lead(there: socket.socket, engine: Path, context: ssl.SSLContext | None) -> None:
    outside = there
    if context:
        try:
            outside = context.wrap_socket(there, server_side=True, do_handshake_on_connect=False)
        except OSError:  # it has gone away already
            there.close()
            return
    with suppress(OSError), socket.socket(socket.AF_UNIX) as inside, outside:
        if isinstance(outside, ssl.SSLSocket) and not _lets_in(outside):
            return
        inside.connect(str(engine))
        _carry(outside, inside)


def _lets_in(outside: ssl.SSLSocket) -> bool:
    """Shake hands; a client that is not let in has read why before the connection ends."""
    try:
        outside.do_handshake()
    except ssl.SSLError:
        outside.shutdown(socket.SHUT_WR)
        while outside.recv(_BYTES):
            pass
        return False
    return True


def _carry(outside: socket.socket, inside: socket.socket) -> None:
    to = {outside: inside, inside: outside}
    while True:
        waiting = isinstance(outside, ssl.SSLSocket) and outside.pending()
        for one in [outside] if waiting else select.select([outside, inside], [], [])[0]:
            if not (read := one.recv(_BYTES)):
                return  # TLS has no half of a connection
            to[one].sendall(read)
