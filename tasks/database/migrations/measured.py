"""What a rehearsal measured of a revision, kept where a later look finds it: on its copy."""

import json

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.database.migrations.lock_watch import Held
from tasks.guardrails.words import counted

_BEFORE_JSON = "rehearses migrations, goes at the end: "
_SHOWN = 4


class Measured(BaseModel):
    """What a rehearsed revision took, and which locks it held.

    Args:
        revision: The revision.
        seconds: How long it was at work in the database; None where that was not seen.
        locks: Table, mode and seconds of each lock on a table of before, those that users
            wait for first.
        differs: How live's schema differed from the copy's before it; '' where it did not.
        changes: What it changed of the schema, where that was looked at; so are the next ones.
        dropped: Schema, table and column ('' for all of it) of what it dropped.
        fewer: Tables that stay and have fewer rows after it, with how many fewer.
        back: The way back: what it took, how the schema then `differs` from the one before.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: str
    seconds: float | None = None
    locks: tuple[tuple[str, str, float], ...] = ()
    differs: str = ""
    changes: str = ""
    dropped: tuple[tuple[str, str, str], ...] = ()
    fewer: tuple[tuple[str, int], ...] = ()
    back: "Measured | None" = None

    @property
    def held(self) -> tuple[Held, ...]:
        """The locks."""
        return tuple(Held(*lock) for lock in self.locks)

    @property
    def stall(self) -> float | None:
        """How long users of a table wait at most; None where nothing was measured."""
        if self.seconds is None:
            return None
        return max((one.seconds for one in self.held if one.stalls), default=0.0)

    @property
    def sentence(self) -> str:
        """What it took, in words."""
        if self.seconds is None:
            return "not measured: the rehearsal was interrupted at its end"
        stalls = [one.sentence for one in self.held if one.stalls]
        more = f" and {counted(len(stalls) - _SHOWN, 'table')} more" if len(stalls) > _SHOWN else ""
        locks = "; ".join(stalls[:_SHOWN]) + more or "no lock seen that users wait for"
        return f"{self.seconds:.2f} s at work; {locks}"


def as_text(measured: tuple[Measured, ...]) -> str:
    """Write what was measured as the comment on a copy has it."""
    return _BEFORE_JSON + json.dumps([one.model_dump(mode="json") for one in measured])


def from_text(text: str) -> tuple[Measured, ...]:
    """Read what was measured from a comment or a sentence that holds it; none where it does not.

    Args:
        text: What `as_text` gave, with anything before it.
    """
    _, found, written = text.partition(_BEFORE_JSON)
    if not found:
        return ()
    try:
        return tuple(Measured.model_validate(one) for one in json.loads(written))
    except (ValueError, ValidationError, TypeError):  # cut, or edited by hand
        return ()
