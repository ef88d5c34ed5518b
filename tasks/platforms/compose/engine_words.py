"""What goes wrong on the way to an engine, in words of ours: the one place for its library."""

import re
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import requests
from cryptography import x509
from docker.errors import APIError, DockerException

from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient

PAIR, AUTHORITY = ("cert.pem", "key.pem"), "ca.pem"
_SERVER_ERROR = 500
_CONFLICT = 409
_BY_OPENSSL = re.compile(r"\[SSL[^]]*\] (.*?) \(_ssl")
_UNKNOWN = "Whether that had an effect is not known; what came before it stands."
_NOTHING = "Nothing was asked of it."


@dataclass(frozen=True)
class _Known:
    """A complaint of ssh, OpenSSL or docker's program.

    Args:
        words: How it is known; in lower case.
        todo: What to do.
        passes: Whether it may pass by itself.
    """

    words: str
    todo: str
    passes: bool = False


_BY_SSH = (
    _Known(
        "identification has changed",
        "Find out whether that machine was made anew. Only then remove its old key from "
        "known_hosts (`ssh-keygen -R HOST`), and add the new one.",
    ),
    _Known(
        "host key verification failed",
        "Compare that machine's key with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there, "
        "then add it to known_hosts of the worker's user.",
    ),
    _Known(
        "permission denied (",
        "Let the worker's user in there: its public key in authorized_keys. A key with a "
        "passphrase needs an agent; nobody is asked for one.",
    ),
    _Known("load key", "Correct IdentityFile in ssh's configuration, or the key's rights (0600)."),
    _Known(
        "administratively prohibited",
        "Allow it in sshd_config there (AllowTcpForwarding), or publish the port there.",
    ),
    _Known(
        "open failed: connect failed: open failed",
        "Start the engine there. Where it runs: let the user of `engine_url` reach it (group "
        "docker), write the path of its socket behind the host of `engine_url` where that is not "
        "/var/run/docker.sock, and allow AllowStreamLocalForwarding in sshd_config.",
        passes=True,
    ),
    _Known("ssh: no such file", "Install ssh (openssh-client) on the worker's machine."),
    _Known("bad configuration option", "Correct `engine_ssh_config` of the target."),
    _Known("can't open user config", "Correct `engine_ssh_config` of the target."),
)
_BY_TLS = (
    _Known(
        "mismatch",
        "Write `engine_url` with a name or address that the engine's certificate has, or "
        "give the engine a certificate with this one.",
    ),
    _Known("certificate has expired", "Renew the certificate of the engine's server."),
    _Known("certificate is not yet valid", "Correct the clock of this machine or of that one."),
    _Known(
        "wrong version number",
        "That port speaks no TLS, so whoever reaches it is root there: have dockerd run with "
        "--tlsverify, or use ssh://.",
    ),
    _Known(
        "record layer failure",
        "That port speaks no TLS, so whoever reaches it is root there: have dockerd run with "
        "--tlsverify, or use ssh://.",
    ),
    _Known(
        "certificate verify failed",
        "Put the authority that has signed the engine's certificate into ca.pem of "
        "`engine_certificates`; where that is right, somebody else answers there.",
    ),
    _Known(
        "alert",
        "Have cert.pem of `engine_certificates` signed for clients by the authority that the "
        "engine was given as --tlscacert.",
    ),
)


def told(error: Exception, engine: str) -> RemediationError:
    """Turn an error of the SDK or the engine into ours.

    Args:
        error: What the SDK raised; stays as the cause.
        engine: Whom we spoke to, as 'the engine at unix:///var/run/docker.sock'.

    Returns:
        Transient where it may pass by itself, else PreconditionFailed.
    """
    expected = f"{engine} to carry out what it was asked."
    if isinstance(error, APIError):
        passing = (error.status_code or _SERVER_ERROR) >= _SERVER_ERROR
        passing = passing or error.status_code == _CONFLICT
        return (Transient if passing else PreconditionFailed)(
            expected=expected,
            found=f"{error.explanation or error} (status {error.status_code}).",
            state=_UNKNOWN if passing else "That had no effect; what came before it stands.",
            todo="Look at the engine's log, then try again."
            if passing
            else "Correct the target, or what its compose files say.",
        )
    if isinstance(error, requests.exceptions.SSLError):
        said = _BY_OPENSSL.search(str(error))
        found = said[1] if said else str(error)
        return _of_the_way(_BY_TLS, f"{engine} to be reached by TLS.", found)
    shut_out = "ermission denied" in str(error)
    setup = isinstance(error, DockerException)
    kind = PreconditionFailed if shut_out or setup else Transient
    todo = "Start the engine, or correct `engine_url` of the target."
    if "tcp://" in engine:
        todo += " Where its log says `bad certificate`: have cert.pem signed by its authority."
    if shut_out:
        todo = "Let the worker's user reach the engine: group docker, or as root."
    found = f"{str(error) or type(error).__name__}."
    return kind(expected=expected, found=found, state=_UNKNOWN, todo=todo)


def told_of_ssh(said: str, engine: str) -> RemediationError:
    """Turn what ssh has said into an error of ours.

    Args:
        said: Its words.
        engine: Whom we wanted to reach.

    Returns:
        Transient where it may pass by itself, else PreconditionFailed.
    """
    return _of_the_way(_BY_SSH, f"{engine} to be reached by ssh.", said)


def _of_the_way(known: tuple[_Known, ...], expected: str, said: str) -> RemediationError:
    way = next((one for one in known if one.words in said.lower()), None)
    if way is None:
        todo = "Correct `engine_url` of the target, or what keeps this machine from reaching it."
        return Transient(expected=expected, found=f"{said.rstrip('.')}.", state=_UNKNOWN, todo=todo)
    kind = Transient if way.passes else PreconditionFailed
    return kind(expected=expected, found=f"{said.rstrip('.')}.", state=_NOTHING, todo=way.todo)


def require_certificates(folder: Path, engine: str) -> None:
    """Look at our own side of TLS, as the library says of it only that it is wrong.

    Args:
        folder: Where ca.pem, cert.pem and key.pem are.
        engine: Whom we want to reach.

    Raises:
        PreconditionFailed: One is missing or no certificate, or ours has expired.
    """
    expected = f"{', '.join((AUTHORITY, *PAIR))} in {folder}, for {engine}."
    try:
        texts = {name: (folder / name).read_bytes() for name in (AUTHORITY, *PAIR)}
        own = x509.load_pem_x509_certificate(texts[PAIR[0]])
        x509.load_pem_x509_certificates(texts[AUTHORITY])
        context = ssl.create_default_context(cadata=texts[AUTHORITY].decode())
        # Nobody is asked for a passphrase.
        context.load_cert_chain(folder / PAIR[0], folder / PAIR[1], password=lambda: "")
    except (OSError, ValueError) as error:
        name = getattr(error, "filename", None)
        why = f"{Path(name).name}: {error.strerror}" if name and isinstance(error, OSError) else ""
        raise PreconditionFailed(
            expected=expected,
            found=f"{why or error}.",
            state=_NOTHING,
            todo="Correct `engine_certificates` of the target, the files, or their rights.",
        ) from error
    until = own.not_valid_after_utc
    if until < datetime.now(UTC):
        raise PreconditionFailed(
            expected="our certificate for the engine to be valid.",
            found=f"{folder / PAIR[0]} was valid until {until:%Y-%m-%d %H:%M} UTC.",
            state=_NOTHING,
            todo="Have a new one signed by the engine's authority, with its key beside it.",
        )


def open_to_all(engine: str) -> PreconditionFailed:
    """Say why an engine without TLS is not spoken to."""
    return PreconditionFailed(
        expected=f"{engine} to know who we are.",
        found="tcp:// without `engine_certificates`: whoever reaches that port is root there, and "
        "whoever is on the way reads the passwords.",
        state=_NOTHING,
        todo="Give `engine_certificates` and have dockerd run with --tlsverify, or use ssh://.",
    )
