"""What a PostgreSQL server says of itself in its log, wherever that is kept."""

import re

_SHOWN = 6
_SEVERITY = re.compile(r"\b(LOG|FATAL|PANIC|HINT): +(.*)")
# Of LOG only what a server says of its start and end: statements are logged at LOG, too.
_OF_THE_SERVER = re.compile(
    r"starting PostgreSQL|listening on|database system|redo |syncing data|checkpoint |"
    r"could not|invalid |received .*shutdown|all server processes|startup process|"
    r"server process|terminating any other|archive recovery|entering standby|configuration file|"
    r"unrecognized|lock file|selected new timeline"
)
# What FATAL says to a client, while the server itself is well.
_TO_A_CLIENT = re.compile(
    r"authentication failed|pg_hba.conf (entry|rejects)|the database system is|slots|too many|"
    r"terminating connection|(role|database) .*does not exist|connection to client lost|"
    r"is not permitted|not currently accepting|unsupported frontend"
)


def of_the_server(text: str) -> list[str]:
    """Give what a server has said of itself.

    Args:
        text: Lines of its log.

    Returns:
        Lines without their prefix; no statement, detail or answer to a client.
    """
    said: list[str] = []
    follows = False  # a hint speaks of the line before it
    for found in text.splitlines():
        line = _of_the_server(found)
        if line and (follows or not line.startswith("HINT")):
            said.append(line)
        follows = bool(line)
    return said


def last_words(said: list[str]) -> list[str]:
    """Give what it said last as FATAL or PANIC since it was started last, with hints.

    Args:
        said: What `of_the_server` gave.
    """
    starts = [i for i, line in enumerate(said) if "starting PostgreSQL" in line]
    last = said[starts[-1] :] if starts else said
    return [line for line in last if not line.startswith("LOG")][-_SHOWN:]


def _of_the_server(line: str) -> str:
    found = _SEVERITY.search(line)
    if found is None:
        return ""
    severity, text = found.groups()
    if severity == "LOG" and not _OF_THE_SERVER.match(text):
        return ""
    if severity == "FATAL" and _TO_A_CLIENT.search(text):
        return ""
    return f"{severity}: {text}"
