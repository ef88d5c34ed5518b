"""What a migration said when it failed, without the secrets and the rows in it."""

import re
from collections.abc import Iterable, Mapping

from tasks.platforms.applications import Completed

# SQLAlchemy's error ends with the statement and its parameters: rows, passwords.
_STATEMENT = re.compile(r"\[(?:SQL|parameters|generated)\b.*?(?=\(Background on|\Z)", re.DOTALL)
_BACKGROUND = re.compile(r"\(Background on this error at:[^)]*\)")
# The server quotes rows in these: 'Key (email)=(somebody) already exists', 'LINE 1: ...'.
_ROWS = re.compile(r"^\s*(?:DETAIL|LINE \d+|CONTEXT|QUERY|PL/pgSQL)\b.*$", re.MULTILINE)
_VALUE = re.compile(r"((?:invalid|malformed|out of range|too long)[^\"\n]*)\"[^\"\n]*\"")
_ADDRESS = re.compile(r"(\w+://[^\s:/@]*:)[^\s@]*@")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[^\n\x20-\x7e\x80-\U0010ffff]|[\x80-\x9f]")
_SECRET_NAMES = re.compile(r"PASS|SECRET|KEY|TOKEN|URL|DSN|CREDENTIAL", re.IGNORECASE)
_SHORTEST_SECRET = 4
_LINES, _LONGEST = 4, 300
# The names of psycopg's and psycopg2's classes: the server's own words may be translated.
_NO_LOCK = re.compile(r"LockNotAvailable|DeadlockDetected|SerializationFailure|lock timeout")


def failed_for_a_lock(done: Completed) -> bool:
    """Say whether a migration failed as it did not get a lock: it may, a moment later.

    Args:
        done: How it ended.
    """
    return done.status != 0 and bool(_NO_LOCK.search(done.errors))


def what_it_said(done: Completed, secrets: Iterable[str], settings: Mapping[str, str]) -> str:
    """Give the last lines of what a command said that failed, fit for the ledger.

    Its errors, and Alembic's own `FAILED:`; what a revision prints is anybody's guess.
    Statements, parameters and rows are left out, secrets replaced by '***'.

    Args:
        done: How it ended.
        secrets: Secrets that it was given.
        settings: The application's settings, the values of secrets among them.

    Returns:
        A few lines in one.
    """
    failed = [line for line in done.output.splitlines() if line.startswith("FAILED:")]
    text = _CONTROL.sub("", "\n".join([done.errors, *failed]))
    for pattern in (_STATEMENT, _BACKGROUND, _ROWS):
        text = pattern.sub("", text)
    named = [value for name, value in settings.items() if _SECRET_NAMES.search(name)]
    known = {one for one in (*secrets, *named) if len(one) >= _SHORTEST_SECRET}
    for secret in sorted(known, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _VALUE.sub(r'\1"…"', _ADDRESS.sub(r"\1***@", text))
    lines = [
        line.strip()[:_LONGEST]
        for line in text.splitlines()
        # The indented ones are the traceback's: paths and code.
        if line.strip() and not line.startswith((" ", "INFO", "Traceback", "The above exception"))
    ]
    return " / ".join(lines[-_LINES:]) or "nothing"
