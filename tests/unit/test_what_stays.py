"""What an undo leaves, as the outcome names it."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from tasks.guardrails.case import Case, Facts, StageRecord
from tasks.guardrails.entries import Entry
from tasks.guardrails.plan import Change, Reverts, Risk, Stage
from tasks.guardrails.undoing import titles_that_stay
from tests.toy import WriteFile

FACTS = Facts(policy_version=1, target_fingerprint="f", code_version="c", identity={})


class Apply(WriteFile):
    """A change that stays."""

    kind: ClassVar[str] = "toy.apply_and_leave"
    reverts: ClassVar[Reverts] = "pointless"


class Fill(WriteFile):
    """A change that goes with what was made before it."""

    kind: ClassVar[str] = "toy.fill"
    reverts: ClassVar[Reverts] = "pointless"


@dataclass
class Known(Case):
    """A case of one stage."""

    changes: tuple[Change, ...] = ()

    @property
    def stages(self) -> list[StageRecord]:
        """Give the stage."""
        stage = Stage(name="", title="A stage", risk=Risk.HARMLESS, changes=self.changes)
        return [StageRecord(1, datetime.now(UTC), stage, "d", FACTS, "")]


def entry(kind: str, index: int) -> Entry:
    """Record something of a change."""
    body = json.dumps({"digest": "d", "index": index})
    return Entry(1, "2026-01-01T00:00:00+00:00", kind, "id", "", "", body, "", "", "")


def test_what_is_done_and_pointless_to_take_back_is_named() -> None:
    """What was begun only, was taken back, or went with what was taken back is not."""
    changes = (
        WriteFile(name="copy", after="a"),
        Fill(name="filled", after="a", needs=(WriteFile.kind,)),
        Apply(name="first", after="a"),
        Apply(name="second", after="a", needs=(Apply.kind,)),
        Apply(name="third", after="a", needs=(Apply.kind,)),
    )
    entries = [entry(kind, index) for index in range(4) for kind in ("begun", "done")]
    entries += [entry("begun", 4), *(entry("reverted", index) for index in (4, 3, 2, 1, 0))]
    assert titles_that_stay(Known("id", entries, changes)) == "write first; write second"
    assert titles_that_stay(Known("id", entries[:4], changes)) == ""
