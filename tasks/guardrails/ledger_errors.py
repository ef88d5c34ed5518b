"""What is said where the ledger cannot be written, does not answer, or is not ours."""

from sqlalchemy.exc import DBAPIError

from tasks.guardrails.errors import LedgerBroken


def not_written(error: DBAPIError) -> LedgerBroken:
    """Say that the database refuses what is written."""
    return LedgerBroken(
        expected="a ledger that can be written.",
        found=f"{type(error.orig).__name__}: {error.orig}.",
        state="The step that was to be recorded has not begun.",
        todo="Bring the ledger's database back; `remedy ledger verify` shows its state.",
    )


def no_answer(error: DBAPIError, seconds: float) -> LedgerBroken:
    """Say that the database was waited for in vain."""
    return LedgerBroken(
        expected="the ledger's database to answer.",
        found=f"no answer for {seconds} s: {error.orig}.",
        state="What had begun may be done; it is not recorded as done.",
        todo="Bring the ledger's database back; the reaper then goes on.",
    )


def not_read(error: DBAPIError) -> LedgerBroken:
    """Say that the database is there and cannot be read."""
    return LedgerBroken(
        expected="a ledger that can be read.",
        found=f"{type(error.orig).__name__}: {error.orig}.",
        todo="Put a copy of its database back and run `remedy ledger verify`.",
    )


def not_ours(seq: int) -> LedgerBroken:
    """Say that an entry was written past us."""
    return LedgerBroken(
        expected=f"entry {seq} as it was written and signed.",
        found="other contents or a signature that is not ours.",
        todo="Run `remedy ledger verify`, and find out who writes to the database.",
    )
