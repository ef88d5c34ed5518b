"""Recording: every step of a remediation is in the ledger before the next one begins."""

from collections.abc import Mapping
from typing import Any

from tasks.guardrails import notify, render, report, surface, systems
from tasks.guardrails.case import Case, Facts, StageRecord, stage_digest
from tasks.guardrails.errors import PreconditionFailed, WorldMoved
from tasks.guardrails.leases import Lease
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Plan, Stage
from tasks.guardrails.planner import Planner
from tasks.guardrails.policy import policy_of
from tasks.guardrails.version import code_version

_MOST_PLANS = 5


class AskAgain(Exception):
    """A limit was exceeded before anything of the stage was done: plan and ask anew."""


class Recorder:
    """The case at work, kept up with the ledger.

    Args:
        ledger: The ledger.
        remediation: Id of the remediation.
        run: Id of the Prefect run at work.
        lease: The remediation's lease: who has lost it records nothing any more.
    """

    def __init__(self, ledger: Ledger, remediation: str, run: str, lease: Lease) -> None:
        """Read the case."""
        self.ledger, self.run, self.lease = ledger, run, lease
        self._case = Case.read(ledger, remediation)

    @property
    def case(self) -> Case:
        """The case with all entries written so far, by this process or another."""
        last = self._case.entries[-1].seq if self._case.entries else 0
        self._case.entries += self.ledger.entries(remediation=self._case.id, after=last)
        return self._case

    def append(self, kind: str, body: Mapping[str, Any], actor: str = "engine") -> None:
        """Append an entry about this case.

        Raises:
            LeaseLost: Another process carries the case on; nothing was written.
        """
        self.ledger.append(
            kind,
            body,
            insist=self.lease.insist_in,
            remediation=self._case.id,
            run=self.run,
            actor=actor,
        )

    def stage(self, planner: Planner, name: str) -> StageRecord:
        """Give a stage from the ledger, or plan and record it: a stage is planned once.

        Where the code or the policy is another one than the stage was planned under, and
        nothing of it was begun, it is planned anew.

        Args:
            planner: The remediation's planning functions.
            name: Name of the stage; '' for the first.

        Returns:
            The stage as recorded.

        Raises:
            WorldMoved: The target is another system than the first stage was planned for.
            PreconditionFailed: It touches more objects than the policy lets it.
        """
        case = self.case
        record = self._recorded(name)
        if record is not None and self._is_superseded(record):
            record = None
        system = systems.load(case.target)
        self.insist_on_same_system(system)
        facts = self._facts(system)
        if record is not None and not self._is_stale(record, facts):
            self._insist_on_blast_radius(record.stage)
            return record
        if name:
            earlier = tuple(done.stage for done in case.stages if done.stage.name != name)
            stage = planner.later_stage(case, name, earlier)
        else:
            stage = planner.plan(case)
        return self._record(stage, facts)

    def _recorded(self, name: str) -> StageRecord | None:
        stages = self.case.stages
        if not name:
            return stages[0] if stages else None
        return self.case.stage(name)

    def _facts(self, system: systems.SystemFacts) -> Facts:
        return Facts(
            policy_version=policy_of(self.ledger, self.case.target).version,
            target_fingerprint=system.fingerprint(),
            code_version=code_version(),
            identity=system.identity(),
        )

    def _is_superseded(self, record: StageRecord) -> bool:
        return any(
            entry.facts["digest"] == record.digest and entry.seq > record.seq
            for entry in self.case.of_kind("superseded")
        )

    def _is_stale(self, record: StageRecord, now: Facts) -> bool:
        if any(step.begun for step in self.case.steps(record)) or self.is_stage_done(
            record.stage.name
        ):
            return False
        then = record.facts
        return (then.policy_version, then.code_version) != (now.policy_version, now.code_version)

    def insist_on_same_system(self, system: systems.SystemFacts) -> None:
        """Make sure that the target is the system that the first stage was planned for.

        Raises:
            WorldMoved: It says that it is another one, or its configuration was edited.
        """
        stages = self.case.stages
        if not stages:
            return
        then, identity = stages[0].facts, system.identity()
        moved = [
            f"{key} was {value!r} and is {identity[key]!r}"
            for key, value in then.identity.items()
            if key in identity and identity[key] != value
        ]
        if then.target_fingerprint != system.fingerprint():
            moved.append("the target's configuration was edited")
        if moved:
            raise WorldMoved(
                expected=f"target {self.case.target} as it was when the plan was made.",
                found="; ".join(moved) + ".",
                state="Nothing was begun on what is there now.",
                todo="Find out why, then start the remediation again.",
            )

    def _record(self, stage: Stage, facts: Facts) -> StageRecord:
        case = self.case
        # Through JSON and back, so that what is shown and done is what was recorded.
        stage = type(stage).model_validate(stage.model_dump(mode="json"))
        first = isinstance(stage, Plan)
        others = [record for record in case.stages if record.stage.name != stage.name]
        previous = others[-1].digest if others and not first else ""
        digest = stage_digest(case, stage, facts, previous)
        plan = case.plan
        outline = next((o for o in plan.later if o.name == stage.name), None) if plan else None
        beyond = outline.exceeded_by(stage) if outline else "the first plan did not outline it"
        self.append(
            "planned",
            {
                "first": first,
                "stage": stage.model_dump(mode="json"),
                "digest": digest,
                "facts": facts.model_dump(mode="json"),
                "exceeds": "" if first else beyond,
            },
        )
        record = self._recorded(stage.name)
        if record is None:
            message = f"stage {stage.name} was recorded and is not found"
            raise RuntimeError(message)
        surface.show(
            render.artifact_key(case.id, f"plan-{stage.name}"),
            render.plan(self.case, record),
            f"Plan of {case.name} on {case.target}, stage {stage.name}",
        )
        self._insist_on_blast_radius(stage)
        return record

    def _insist_on_blast_radius(self, stage: Stage) -> None:
        most = policy_of(self.ledger, self.case.target).policy.blast_radius
        if len(stage.objects) > most:
            raise PreconditionFailed(
                expected=f"a plan that touches at most {most} objects (the policy's blast radius).",
                found=f"{len(stage.objects)} objects: {', '.join(stage.objects[:5])}, ...",
                todo="Narrow the parameters, or have the policy changed: remedy policy set.",
            )

    def supersede(self, record: StageRecord, why: str) -> None:
        """Give a stage's plan up, so that it is planned and approved anew."""
        self.append("superseded", {"digest": record.digest, "why": why})
        if (gate := self.case.open_gate) is not None:
            closed = {
                "gate": gate.facts["gate"],
                "digest": gate.facts["digest"],
                "how": "superseded",
            }
            self.append("gate_closed", closed)
        if len(self.case.of_kind("superseded")) > _MOST_PLANS:
            raise PreconditionFailed(
                expected="amounts that stay within what was approved.",
                found=f"they moved on {_MOST_PLANS} times; last: {why}.",
                todo="Start again with a wider limit, or when there is less load.",
            )

    def is_stage_done(self, name: str) -> bool:
        """Say whether a stage was carried out and proved."""
        record = self._recorded(name)
        return record is not None and any(
            entry.facts["digest"] == record.digest for entry in self.case.of_kind("stage_done")
        )

    def end(self, outcome: str, why: str) -> None:
        """Record the outcome, and report it."""
        self.append("ended", {"outcome": outcome, "why": why})
        self.report()

    def report(self) -> None:
        """Tell the webhook, show the report and anchor the ledger; once, if nothing dies here.

        Where the report or the anchor fails, the outcome stands: the log says what is missing.
        """
        case = self.case
        (*_, ended) = case.of_kind("ended")
        outcome, why = ended.facts["outcome"], ended.facts["why"]
        notify.tell(
            self.ledger.config,
            "stuck" if outcome == "stuck" else "ended",
            case,
            f"{case.name} on {case.target}: {outcome}. {why}",
        )
        try:
            surface.show(
                render.artifact_key(case.id, "report"),
                report.report(case),
                f"Report of {case.name} on {case.target}: {outcome}",
            )
        except surface.UNREACHABLE as error:
            surface.log(f"the report is missing here, `remedy show {case.id}` has it: {error}")
        try:
            self.ledger.anchor()
        except OSError as error:
            surface.log(f"the ledger's head was not anchored: {error}")
        self.append("reported", {})
