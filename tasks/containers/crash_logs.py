"""What the log of a service that ended says of the reason, without the values that it repeats.

Logs repeat what they complain of, and a record is for ever: only names are taken over.

Sources: CPython's, pydantic's, uvicorn's, Alembic's, libpq's and Node's own messages.
"""

import re
from dataclasses import dataclass

_LEVELS = "DEBUG|INFO|NOTICE|WARNING|ERROR|CRITICAL|FATAL|PANIC|LOG|HINT|DETAIL|STATEMENT|CONTEXT"
_NAME = rf"(?!(?:{_LEVELS})\b)[A-Z][A-Z0-9_]{{2,63}}"
_MISSING = "not set|not defined|unset|missing|required|must be set"
_MODULE = r"[A-Za-z_@][\w./@-]{0,99}"


@dataclass(frozen=True)
class Complaint:
    """Something that a log says.

    Args:
        cause: 'memory', 'module', 'environment', 'credentials', 'migration', 'dependency',
            'port', 'disk', 'command', 'error'.
        what: It as a sentence, with names only.
        names: The variables that it names.
    """

    cause: str
    what: str
    names: tuple[str, ...] = ()


# Pattern, cause, sentence; a group `name` is a variable's. The first is the most certain one.
_KNOWN: tuple[tuple[str, str, str], ...] = (
    (r"[Nn]o space left on device", "disk", "It could not write: no space left on device."),
    (
        r"(?:^|\d: |\s)Killed(?:\s|$)",
        "memory",
        "A process in it was killed by signal 9, as the kernel does for want of memory.",
    ),
    (
        rf"No module named ['\"](?P<it>{_MODULE})['\"]",
        "module",
        "Its image lacks the Python module {it}.",
    ),
    (
        rf"cannot import name ['\"](?P<it>\w{{1,99}})['\"] from ['\"](?P<of>{_MODULE})['\"]",
        "module",
        "Its image has another version of {of} than its code needs: there is no {it} in it.",
    ),
    (
        rf"Could not import module ['\"](?P<it>{_MODULE})['\"]",
        "module",
        "Its server cannot import {it}.",
    ),
    (
        rf"Cannot find module ['\"](?P<it>{_MODULE})['\"]",
        "module",
        "Its image lacks the module {it}.",
    ),
    (
        r"error while loading shared libraries: (?P<it>[\w.+-]+)",
        "module",
        "Its image lacks the library {it}.",
    ),
    (
        rf"^(?P<name>{_NAME})\n  .*\[type=(?P<it>\w+)",
        "environment",
        "Its settings are refused: {name} ({it}).",
    ),
    (
        rf"^KeyError: ['\"](?P<name>{_NAME})['\"]",
        "environment",
        "It looks for the variable {name}, which it has not.",
    ),
    (
        rf"\b(?P<name>{_NAME})\b[\"']?:? (?:\w+ ){{0,4}}(?:{_MISSING})",
        "environment",
        "It says that {name} is not set.",
    ),
    (
        r"Can't locate revision identified by ['\"](?P<it>[0-9a-f]{4,40})['\"]",
        "migration",
        "The database is at revision {it}, which its image does not know.",
    ),
    (
        r"alembic(?:\.util\.exc\.CommandError|/runtime/migration\.py|/versions/)",
        "migration",
        "A migration of the schema fails when it starts.",
    ),
    (
        r"password authentication failed|role \"[^\"]*\" does not exist|NOAUTH|WRONGPASS",
        "credentials",
        "A server refuses the credentials that it was given.",
    ),
    (
        r"could not translate host name|[Nn]ame resolution|Name or service not known|getaddrinfo",
        "dependency",
        "It does not find the host of another service by its name.",
    ),
    (
        r"[Aa]ddress already in use|EADDRINUSE",
        "port",
        "Inside of it another process listens at its port already.",
    ),
    (
        r"[Cc]onnection refused|ECONNREFUSED|ConnectionRefusedError",
        "dependency",
        "Another service does not accept its connections.",
    ),
    (
        r"(?:exec|sh|bash):? .*?(?P<it>not found|[Pp]ermission denied|format error)",
        "command",
        "Its command cannot be executed: {it}.",
    ),
    (
        r"^(?P<it>(?:[a-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Warning|Exit))(?::|$)",
        "error",
        "It ends with {it}.",
    ),
)


def complaints(log: str) -> tuple[Complaint, ...]:
    """Read what a log says of why a service ended.

    Args:
        log: Its last lines.

    Returns:
        What is known of it, the most telling first; each once.
    """
    found: dict[tuple[str, str], Complaint] = {}
    for pattern, cause, sentence in _KNOWN:
        for one in re.finditer(pattern, log, re.MULTILINE):
            names = one.groupdict()
            what = sentence.format(**names)
            variable = (names["name"],) if names.get("name") else ()
            found.setdefault((cause, what), Complaint(cause, what, variable))
    known = tuple(found.values())
    return tuple(one for one in known if one.cause != "error") or known
