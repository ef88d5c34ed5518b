"""A case: one remediation as the ledger has it, folded from its entries."""

import base64
import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from tasks.guardrails.entries import Entry
from tasks.guardrails.errors import RemediationError, error_from
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Change, Plan, Stage, digest_of


class Requester(BaseModel):
    """Who asked for a remediation; known only when authenticated."""

    model_config = ConfigDict(frozen=True)

    name: str
    known: bool
    how: str


class Facts(BaseModel):
    """What lies under a stage's digest beside the stage: it all has to stay as it was."""

    model_config = ConfigDict(frozen=True)

    policy_version: int
    target_fingerprint: str
    code_version: str
    identity: dict[str, str]


@dataclass(frozen=True)
class StageRecord:
    """A stage as it was recorded before anything was touched."""

    seq: int
    at: datetime
    stage: Stage
    digest: str
    facts: Facts
    exceeds: str


@dataclass(frozen=True)
class Step:
    """What the ledger says of one change of a stage."""

    begun: Entry | None = None
    done: Entry | None = None
    reverted: Entry | None = None

    @property
    def stands(self) -> bool:
        """Whether the change was begun and not taken back: an undo has to revert it."""
        return self.begun is not None and self.reverted is None


@dataclass
class Case:
    """A remediation with all that was recorded about it."""

    id: str
    entries: list[Entry] = field(default_factory=list)

    @classmethod
    def read(cls, ledger: Ledger, remediation: str) -> "Case":
        """Read a case from the ledger; it may have no entries yet."""
        return cls(remediation, ledger.entries(remediation=remediation))

    def of_kind(self, *kinds: str) -> list[Entry]:
        """Give the entries of these kinds in order."""
        return [entry for entry in self.entries if entry.kind in kinds]

    @property
    def request(self) -> dict[str, Any]:
        """The facts of the request; empty for a case that does not exist."""
        requests = self.of_kind("requested")
        return requests[0].facts if requests else {}

    @property
    def name(self) -> str:
        """Name of the remediation, as 'restore_from_backup'."""
        return str(self.request.get("name", ""))

    @property
    def target(self) -> str:
        """Name of the target."""
        return str(self.request.get("target", ""))

    @property
    def requester(self) -> Requester:
        """Who asked for it."""
        return Requester.model_validate(self.request["requester"])

    @property
    def runs(self) -> list[str]:
        """Ids of the Prefect runs that worked on it, first to last."""
        return list(dict.fromkeys(entry.run for entry in self.entries if entry.run))

    @property
    def outcome(self) -> str:
        """The outcome, '' while there is none."""
        ended = self.of_kind("ended")
        return str(ended[-1].facts["outcome"]) if ended else ""

    @property
    def stages(self) -> list[StageRecord]:
        """The stages recorded, each in its last version, in order."""
        found: dict[str, StageRecord] = {}
        for entry in self.of_kind("planned"):
            record = _stage_record(entry)
            found[record.stage.name] = record
        return list(found.values())

    def stage(self, name: str) -> StageRecord | None:
        """Give a stage by its name; None where it is not planned yet."""
        return next((record for record in self.stages if record.stage.name == name), None)

    @property
    def plan(self) -> Plan | None:
        """The first stage, which outlines the later ones."""
        first = next(iter(self.stages), None)
        return first.stage if first and isinstance(first.stage, Plan) else None

    def steps(self, record: StageRecord) -> list[Step]:
        """Give what is recorded of each change of a stage, in the order of its changes.

        A change that is begun again after it was taken back counts as begun.
        """
        steps = [Step() for _ in record.stage.changes]
        for entry in self.of_kind("begun", "done", "reverted"):
            facts = entry.facts
            if facts["digest"] != record.digest:
                continue
            now = steps[facts["index"]]
            if entry.kind == "begun":
                steps[facts["index"]] = Step(begun=now.begun if now.stands else entry)
            elif entry.kind == "done":
                steps[facts["index"]] = Step(now.begun, entry, None)
            else:
                steps[facts["index"]] = Step(now.begun, now.done, entry)
        return steps

    def standing(self, record: StageRecord) -> list[Change]:
        """Give the changes of a stage that were begun and not taken back, in order."""
        pairs = zip(record.stage.changes, self.steps(record), strict=True)
        return [change for change, step in pairs if step.stands]

    def measured(self, record: StageRecord) -> dict[str, float]:
        """Give what a stage's limits measured last, by their titles."""
        return {
            entry.facts["limit"]: entry.facts["amount"]
            for entry in self.of_kind("measured")
            if entry.facts["digest"] == record.digest and entry.facts["amount"] is not None
        }

    @property
    def has_acted(self) -> bool:
        """Whether any change was begun and not taken back."""
        return any(self.standing(record) for record in self.stages)

    @property
    def can_be_undone(self) -> bool:
        """Whether changes stand that can be taken back, and none that cannot."""
        reverts = {one.reverts for record in self.stages for one in self.standing(record)}
        return "exact" in reverts and "impossible" not in reverts

    @property
    def has_reverted(self) -> bool:
        """Whether any change was taken back."""
        return bool(self.of_kind("reverted"))

    @property
    def was_cancelled(self) -> bool:
        """Whether a person ended its run by hand."""
        return bool(self.of_kind("cancelled"))

    @property
    def failure(self) -> RemediationError | None:
        """What made it fail or was the end of it by hand: from then on it only undoes."""
        for entry in reversed(self.of_kind("failed", "cancelled")):
            return error_from(entry.facts)
        return None

    @property
    def open_gate(self) -> Entry | None:
        """The opening of the gate that waits now."""
        last = self.of_kind("gate_opened", "gate_closed")[-1:]
        return last[0] if last and last[0].kind == "gate_opened" else None


def _stage_record(entry: Entry) -> StageRecord:
    facts = entry.facts
    model = Plan if facts["first"] else Stage
    return StageRecord(
        seq=entry.seq,
        at=entry.when,
        stage=model.model_validate(facts["stage"]),
        digest=facts["digest"],
        facts=Facts.model_validate(facts["facts"]),
        exceeds=facts["exceeds"],
    )


def stage_digest(case: Case, stage: Stage, facts: Facts, previous: str) -> str:
    """Give the digest to which an approval of a stage binds.

    Args:
        case: The remediation: what was requested, and how often a plan was superseded, so
            that the approval of one that was given up never counts for its like.
        stage: The stage with the evidence shown.
        facts: Policy, target, code and identity.
        previous: Digest of the stage before, '' for the first.

    Returns:
        sha256 over all of it.
    """
    return digest_of(
        {
            "request": {key: case.request[key] for key in ("name", "target", "parameters")},
            "remediation": case.id,
            "superseded": len(case.of_kind("superseded")),
            "stage": stage.model_dump(mode="json"),
            "facts": facts.model_dump(mode="json"),
            "previous": previous,
        }
    )


def id_of_run(run: str) -> str:
    """Give the id of the remediation that a Prefect run starts: the same at each execution."""
    digest = hashlib.sha256(f"remedy/{run}".encode()).digest()
    return base64.b32encode(digest[:6]).decode().lower().rstrip("=")


def open_cases(ledger: Ledger) -> list[str]:
    """Give the ids of all remediations without an outcome."""
    asked = [entry.remediation for entry in ledger.entries(kinds=("requested",))]
    ended = {entry.remediation for entry in ledger.entries(kinds=("ended",))}
    return [remediation for remediation in asked if remediation not in ended]
