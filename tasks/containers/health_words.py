"""The command of a health check: what it asks, and the same asked in other ways.

Sources: Dockerfile reference (HEALTHCHECK); curl(1), wget(1) of GNU and of BusyBox.
"""

import re
import shlex
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit, urlunsplit

_URL = re.compile(r"https?://[^\s'\"|;,)]+")
# Nothing that a shell or a program would read otherwise, and no place for a secret.
_PLAIN_URL = re.compile(r"https?://[A-Za-z0-9._-]+(:\d+)?(/[A-Za-z0-9._~/-]*)?")
# What a request may be given without being another request than GET of its URL.
_PLAIN_WORD = re.compile(
    r"-[fsSLkIqvO]+|--(fail|silent|show-error|location|head|spider|quiet|no-verbose|insecure)|-nv"
    r"|-(o|O|T|t|m)|--(output|output-document|max-time|connect-timeout|timeout|tries)(=\S+)?"
    r"|-|/dev/null|\d+|-O-|-qO-|\|\||exit|true|false|:|;"
)
_CLIENTS = re.compile(r"(/\S*/)?(curl|wget|python3?|node)")
DEAD = "the same at a port where nothing listens"


def argv(test: Sequence[str]) -> tuple[str, ...]:
    """Give program and arguments of a check, as the engine runs it.

    Args:
        test: 'CMD' with program and arguments, or 'CMD-SHELL' with a line.
    """
    return tuple(test[1:]) if test[0] == "CMD" else ("/bin/sh", "-c", *test[1:])


def _words(test: Sequence[str]) -> list[str]:
    if test[0] == "CMD":
        return list(test[1:])
    try:
        return shlex.split(" ".join(test[1:]))
    except ValueError:  # a quote that is not closed
        return []


def program_in(test: Sequence[str]) -> str:
    """Name the program that a check runs; '' where that is not seen."""
    words = _words(test)
    return words[0] if words else ""


def url_in(test: Sequence[str]) -> str:
    """Give the one plain URL that a check asks; '' where there is none, or more than that."""
    found = set(_URL.findall(" ".join(test[1:])))
    return found.pop() if len(found) == 1 and _PLAIN_URL.fullmatch(next(iter(found))) else ""


def is_plain(test: Sequence[str]) -> bool:
    """Say whether a check does nothing but get its URL: then another program may ask as well."""
    program, *rest = [*_words(test), ""]
    if not _CLIENTS.fullmatch(program) or not url_in(test):
        return False
    return all(
        not word or _PLAIN_WORD.fullmatch(word) or _PLAIN_URL.fullmatch(word) for word in rest
    )


def with_url(test: Sequence[str], old: str, new: str) -> tuple[str, ...]:
    """Have a check ask another URL."""
    return (test[0], *(word.replace(old, new) for word in test[1:]))


def ways_to_ask(url: str) -> Iterator[tuple[str, ...]]:
    """Give checks that get a URL, fail where it is refused or answers 400 and more.

    Args:
        url: A plain one.
    """
    yield "CMD", "curl", "-fsS", "-o", "/dev/null", url
    yield "CMD", "wget", "-q", "-O", "/dev/null", url
    for python in ("python3", "python"):
        yield "CMD", python, "-c", f"import urllib.request as r; r.urlopen('{url}')"
    answer = "r => process.exit(r.ok ? 0 : 1), () => process.exit(1)"
    yield "CMD", "node", "-e", f"fetch('{url}').then({answer})"


def port_of(url: str) -> int:
    """Give the port that a URL names, or means."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def changed(
    url: str, *, scheme: str = "", host: str = "", port: int = 0, path: str | None = None
) -> str:
    """Give a URL with other parts.

    Args:
        url: The URL.
        scheme: Another one, '' for its own.
        host: The same for its host.
        port: The same for its port, 0 for its own.
        path: The same for its path.
    """
    parts = urlsplit(url)
    place = f"{host or parts.hostname}:{port or port_of(url)}"
    return urlunsplit((scheme or parts.scheme, place, parts.path if path is None else path, "", ""))


def is_plain_url(url: str) -> bool:
    """Say whether a URL can be written into a check as it is."""
    return _PLAIN_URL.fullmatch(url) is not None


def shown(test: Sequence[str]) -> str:
    """Show a check that is plain; of another one its program alone, as it may hold a secret."""
    if is_plain(test):
        return " ".join(test[1:])
    return f"{program_in(test)} ..."
