"""What PostgreSQL's errors mean for us: what passes by itself, and what a person does.

Source: PostgreSQL manual, appendix A (error codes).
"""

import psycopg

from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient

NOT_PERMITTED = "42501"  # the SQLSTATE: insufficient_privilege
# Class or whole code: connection, resources (not a full disk), rollback, lock, cancel, shutdown.
_PASSING = ("08", "532", "533", "534", "40", "55P03", "55006", "57014", "57P")
_NO_CHECKPOINT = "checkpoint request failed"
# Starting up, shutting down, in recovery, not yet accepting connections.
_PASSING_ANSWERS = ("the database system is", "connection slots", "too many")


def told(error: psycopg.Error, server: str) -> RemediationError:
    """Turn an error of psycopg or the server into ours: the one place for this library.

    Args:
        error: What psycopg raised; stays as the cause, with its `sqlstate`.
        server: Whom we spoke to, as 'database planner on 127.0.0.1:5432'.

    Returns:
        Transient where it may pass by itself, else PreconditionFailed.
    """
    code = error.sqlstate or ""
    lines = [line.strip() for line in str(error).strip().splitlines() if line.strip()]
    text = " ".join(lines[:4]) or type(error).__name__
    refused = "FATAL:" in text and not any(answer in text for answer in _PASSING_ANSWERS)
    # A checkpoint that found no room, mostly; the answer's code is that of damaged data.
    passing = code.startswith(_PASSING) or _NO_CHECKPOINT in text if code else not refused
    if not code and not isinstance(error, psycopg.OperationalError):
        passing = False
    kind: type[RemediationError] = Transient if passing else PreconditionFailed
    return kind(
        expected=f"{server} to carry out what it was asked.",
        found=f"{text}{f' (SQLSTATE {code})' if code else ''}.",
        state="The statement had no effect; what came before it stands.",
        todo="Wait until the server answers, then try again." if passing else _todo(code, text),
    )


def sqlstate(error: BaseException) -> str:
    """Give the SQLSTATE behind one of our errors, or ''."""
    cause = error if isinstance(error, psycopg.Error) else error.__cause__
    return (cause.sqlstate or "") if isinstance(cause, psycopg.Error) else ""


def _todo(code: str, text: str) -> str:
    if code == NOT_PERMITTED:
        return "Grant the maintenance user what is missing, or use one that has it."
    if code.startswith("XX00"):
        return "The data on disk is damaged: run restore_from_backup or rebuild_indexes."
    if code == "53100":
        return "Free space on the server's disk."
    if "authentication" in text or "pg_hba" in text:
        return "Correct user and password in the target, or the server's pg_hba.conf."
    return "Look at the server's log, and correct the target or the database."
