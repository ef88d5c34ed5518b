"""`remedy runs` and `remedy show`."""

import os
from collections.abc import Iterator
from typing import Annotated, Any

from cyclopts import Parameter
from rich.console import Group, RenderableType
from rich.text import Text

from deployments.cli import plans
from deployments.cli.lookup import find_case, standing
from deployments.cli.numbers import Count
from deployments.cli.output import AsJson, emit, outcome, table
from deployments.cli.waiting import summary
from tasks.guardrails.approval import count, waiting_gate
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.report import ANSWERS
from tasks.guardrails.undo_plan import undone_by


def runs(
    *,
    limit: Annotated[Count, Parameter(help="How many at most.")] = 20,
    target: Annotated[str, Parameter(help="Only those on this target.")] = "",
    open_: Annotated[
        bool, Parameter(name="--open", negative="", help="Only those that have not ended.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List remediations from the ledger, newest first."""
    ledger = Ledger()
    found: list[Case] = []
    for entry in reversed(ledger.entries(kinds=("requested",))):
        if target and entry.facts["target"] != target:
            continue
        case = Case.read(ledger, entry.remediation)
        if not (open_ and case.outcome):
            found.append(case)
        if len(found) >= limit:
            break
    rows = [
        (
            case.id,
            case.entries[0].when.strftime("%m-%d %H:%M"),
            case.name,
            case.target,
            outcome(standing(case)),
        )
        for case in found
    ]
    shown: RenderableType = (
        table(("id", "asked (UTC)", "name", "target", "stands"), rows)
        if rows
        else Text("No remediation yet. Start one: remedy run restore-from-backup --target ...")
    )
    data = [{**summary(case), "requested_at": case.entries[0].at} for case in found]
    emit(data, shown, as_json=as_json)


def show(
    run: Annotated[
        str,
        Parameter(help="A remediation's id, the beginning of it, or a Prefect run's id or name."),
    ],
    /,
    *,
    plan: Annotated[bool, Parameter(help="Show the plans.")] = True,
    as_json: AsJson = False,
) -> None:
    """Show a remediation: plan, decisions, steps, proof, outcome, and how to undo it."""
    ledger = Ledger()
    case = find_case(ledger, run)
    if as_json:
        emit(_data(case), "", as_json=True)
    else:
        emit(None, Group(*_parts(ledger, case, with_plans=plan)), as_json=False)


def _parts(ledger: Ledger, case: Case, *, with_plans: bool) -> Iterator[RenderableType]:
    yield _head(case)
    if with_plans:
        for record in case.stages:
            yield Text()
            yield plans.stage(record)
    yield from history(case)
    if case.open_gate and not case.outcome:
        gate = waiting_gate(case)
        yield Text.assemble(
            ("\nWaits: ", "bold magenta"),
            f"{gate.question} {count(ledger, case, gate).sentence()}\n",
            f"Decide: remedy approve {case.id} --as NAME    or: remedy refuse {case.id} --as NAME",
        )
    elif case.outcome and case.can_be_undone:
        undone = undone_by(ledger, case.id)
        yield Text(f"\nUndone by {undone}." if undone else f"\nTo undo: remedy undo {case.id}")


def _head(case: Case) -> Text:
    requester = case.requester
    known = "" if requester.known else " (not authenticated)"
    head = Text.assemble((f"{case.name} on {case.target}: ", "bold"), outcome(standing(case)))
    if ended := case.of_kind("ended"):
        head.append(f"\n{ended[-1].facts['why']}")
    head.append(f"\nremediation {case.id}, asked for by {requester.name}{known}")
    head.append(f"\nreason: {case.request['reason'] or 'none given'}")
    given = ", ".join(f"{key}={value}" for key, value in case.request["parameters"].items())
    head.append(f"\nparameters: {given}")
    for run in case.runs:
        head.append(f"\nrun: {_url(run)}")
    return head


def _url(run: str) -> str:
    base = os.environ.get("PREFECT_UI_URL") or os.environ.get("PREFECT_API_URL", "")
    return f"{base.removesuffix('/api')}/runs/flow-run/{run}" if base else run


def history(case: Case) -> Iterator[RenderableType]:
    """Show what was decided, done and proved.

    Args:
        case: The remediation.

    Yields:
        A heading and a table for each that there is.
    """
    decisions = [
        (e.at[11:19], e.facts["approver"], e.facts["decision"], e.facts["gate"], e.facts["comment"])
        for e in case.of_kind("decided")
    ] + [
        (e.at[11:19], e.facts["given_by"], "standing", e.facts["gate"], e.facts["standing"])
        for e in case.of_kind("standing_used")
    ]
    steps = [
        (e.at[11:19], e.kind, e.facts["title"], e.facts.get("note") or e.facts.get("seen", ""))
        for e in case.of_kind("begun", "done", "skipped", "reverted")
    ]
    checks = [
        (e.facts["title"], e.facts["phase"], ANSWERS[e.facts["verdict"]], e.facts["detail"])
        for e in case.of_kind("checked")
    ]
    for title, columns, rows in (
        ("Decisions", ("at", "who", "decision", "on", "comment"), decisions),
        ("Steps", ("at", "what", "change", "seen"), steps),
        ("Proof", ("check", "when", "answer", "evidence"), checks),
    ):
        if rows:
            yield Text(f"\n{title}", style="bold")
            yield table(columns, rows)


def _data(case: Case) -> dict[str, Any]:
    return {
        **summary(case),
        "parameters": case.request["parameters"],
        "stages": [
            {
                "digest": record.digest,
                "exceeds": record.exceeds,
                **record.stage.model_dump(mode="json"),
            }
            for record in case.stages
        ],
        "entries": [
            {"seq": e.seq, "at": e.at, "kind": e.kind, "actor": e.actor, **e.facts}
            for e in case.entries
            if e.kind != "planned"
        ],
    }
