"""What the Prefect UI shows: what decides comes first, and nothing is too wide for it."""

import base64
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tasks.database.migrations.downgrading import DowngradeRevision
from tasks.guardrails.approval import Count, Gate, stage_gate
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Effects, Finding, Plan, Risk, StageOutline
from tasks.guardrails.render import evidence, form, plan
from tasks.guardrails.report import decisions, report, watch_sentence
from tasks.guardrails.words import counted
from tests.toy import CountAtMost, FileReads, NothingIsDown, RemoveForEver, WriteFile

WIDEST = 72
VISIBLE = 400  # characters of the form's text that a small window shows at once
LATER = datetime(2026, 12, 1, 20, 15, tzinfo=UTC)
LONG = "a database whose name is as long as names of databases can be on PostgreSQL"
SHOWN = Plan(
    title="Swap planner with planner_restore_x",
    risk=Risk.DISRUPTIVE,
    findings=(
        Finding(
            what="9 rows <b>differ</b>",
            how="a look",
            columns=("table", "rows"),
            rows=(("public.programs", "9"),),
        ),
        Finding(what="backups", how="a list", columns=("name", "why"), rows=((LONG, LONG),)),
        Finding(what="a patch", how="a look", patch="-old\n+new"),
    ),
    changes=(WriteFile(name="a", after=LONG), WriteFile(name="b", after="new")),
    checks=(FileReads(name="a", text="new"),),
    limits=(CountAtMost(at_most=5, unit="rows"),),
    watches=(NothingIsDown(),),
    effects=Effects(outage="at most 0.3 s", lost="7 rows", locks="a name", undo_until=LATER),
    notes=("the queue stays unproved",),
    later=(StageOutline(name="next", title="Tidy up", risk=Risk.HARMLESS),),
)
ASKED = {
    "name": "restore_from_backup",
    "target": "sandbox",
    "parameters": {},
    "reason": "rows are gone",
    "requester": {"name": "somebody", "known": False, "how": "no code"},
}


def case_of(ledger: Ledger, stage: Plan = SHOWN, exceeds: str = "") -> Case:
    """Record a remediation that has planned a stage."""
    facts = {"policy_version": 1, "target_fingerprint": "", "code_version": "", "identity": {}}
    planned = {"first": True, "stage": stage.model_dump(mode="json"), "digest": "d" * 64}
    for kind, body in (
        ("requested", ASKED),
        ("planned", {**planned, "facts": facts, "exceeds": exceeds}),
    ):
        ledger.append(kind, body, remediation="abc")
    return Case.read(ledger, "abc")


def stand(*approved_by: str) -> Count:
    """Say that two have to approve."""
    return Count(2, approved_by, "", "", LATER - timedelta(days=7))


def form_of(case: Case, note: str = "") -> str:
    """Write the form's text for the stage."""
    return form(case, stage_gate(case.stages[0]), stand("dana"), note)


def ended(case: Case, ledger: Ledger) -> Case:
    """Carry the stage out, in the record."""
    digest = case.stages[0].digest
    step = {"digest": digest, "seen": "it is there", "note": None}
    said: list[tuple[str, dict[str, Any]]] = [
        ("decided", {"gate": "act", "digest": digest, "approver": "dana", "decision": "approve"}),
        *(("begun", {**step, "index": n, "title": f"write {n}"}) for n in range(2)),
        *(("done", {**step, "index": n, "title": f"write {n} <{LONG}>"}) for n in range(2)),
        *(
            ("checked", {"title": "rows are there", "phase": phase, "verdict": verdict})
            for phase, verdict in (("before", "not_held"), ("after", "not_asked"))
        ),
        ("ended", {"outcome": "remediated", "why": "Done and proved."}),
    ]
    for kind, body in said:
        more = {"via": "ui", "comment": "they_may go"} if kind == "decided" else {}
        ledger.append(kind, {**body, **more, "detail": LONG}, remediation="abc")
    return Case.read(ledger, "abc")


def lines(markdown: str) -> list[str]:
    """Give the lines of a text without the chart, which is no text."""
    return [line for line in markdown.splitlines() if "data:image" not in line]


def test_the_form_begins_with_what_is_decided_on(sqlite_ledger: Ledger) -> None:
    """What is done, its risk, the approvals, what is lost and the outage, in five short lines."""
    text = form_of(case_of(sqlite_ledger))
    first = text[:VISIBLE].split("\n\n")[0].split("<br>")
    assert first == [
        "**Swap planner with planner\\_restore\\_x?**",
        "Risk **disruptive** · 1 of 2 approvals (dana)",
        "**Lost:** 7 rows",
        "**Outage:** at most 0.3 s",
        "**Can be undone:** until 2026-12-01 20:15:00 UTC",
    ]


def test_the_form_is_short_and_says_where_the_rest_is(sqlite_ledger: Ledger) -> None:
    """A digest: no table and no heading, but notes, limits and a pointer to the whole plan."""
    text = form_of(case_of(sqlite_ledger))
    assert not re.search(r"^(#|\|)", text, re.MULTILINE)
    assert "`remedy approve abc --as NAME`" in text
    order = ["1. write a", "1. write b", "unproved", "at most 5 rows", "Tidy up", "9 rows"]
    order += ["`plan-act-abc`", "waits until 2026-11-24 20:15:00 UTC", "rows are gone"]
    assert sorted(order, key=text.index) == order
    assert text.count("Swap planner") == 1
    assert len(text) < len(plan(case_of(sqlite_ledger), case_of(sqlite_ledger).stages[0]))


def test_the_form_warns_of_what_goes_beyond_and_cannot_be_undone(sqlite_ledger: Ledger) -> None:
    """Both stand among the first lines, behind the note on an answer that did not count."""
    stage = SHOWN.model_copy(
        update={
            "risk": Risk.DISRUPTIVE,
            "changes": (*SHOWN.changes, RemoveForEver(name="z", after="")),
        }
    )
    case = case_of(sqlite_ledger, stage, exceeds="outlined as harmless, it is disruptive")
    text = form_of(case, "The last decision does not count")
    head, command = text.split("\n\n")[:2]
    assert "**Beyond its outline:** outlined as harmless, it is disruptive" in head
    assert "approved as destructive" in head
    assert "**Can be undone:** NOT write z" in head
    assert head.startswith("**The last decision does not count**<br>**Swap planner")
    assert "destructive" in command  # the form does not count for it


def test_what_an_exact_undo_does_not_bring_back_is_told(
    sqlite_ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the change, and where it says whether all of it can be undone."""
    monkeypatch.setattr(WriteFile, "but", ", but no row")
    stage = Plan(title="Drop a column", changes=(WriteFile(name="z", after=""),))
    text = form_of(case := case_of(sqlite_ledger, stage))
    assert "**Can be undone:** yes, but no row" in text.split("\n\n", 1)[0]
    assert "undo: exact, but no row" in plan(case, case.stages[0])
    assert DowngradeRevision.but.startswith(", but nothing of what it dropped")


def test_a_question_is_asked_with_what_stands(sqlite_ledger: Ledger) -> None:
    """A question in the middle has its own figures; what was done stands below."""
    case = case_of(sqlite_ledger)
    digest = case.stages[0].digest
    sqlite_ledger.append(
        "begun", {"digest": digest, "index": 0, "title": "write a"}, remediation="abc"
    )
    gate = Gate("act/undo", "e" * 64, Risk.DISRUPTIVE, "Undo, though 7 rows go?", at_least=1)
    text = form(Case.read(sqlite_ledger, "abc"), gate, stand(), "")
    assert text.startswith("**Undo, though 7 rows go?**<br>Risk **disruptive** · 0 of 2 approvals")
    assert "- write a: begun" in text


def test_no_line_of_a_table_is_too_wide(sqlite_ledger: Ledger) -> None:
    """Rows with wide cells become a list, narrow ones stay a table; HTML of a target is text."""
    case = case_of(sqlite_ledger)
    for text in (plan(case, case.stages[0]), report(ended(case, sqlite_ledger))):
        tables = [line for line in lines(text) if line.lstrip().startswith("|")]
        assert "| public.programs | 9 |" in [line.strip() for line in tables]
        assert max(map(len, tables)) <= WIDEST
        assert f"  - **{LONG}** · why: {LONG}" in text
        assert "\\<b\\>differ" in text
        assert not re.search(r"<(?!br>)\w", text.replace("\\<", ""))


@pytest.mark.parametrize(("rows", "more"), [(50, ""), (51, "1 more row."), (53, "3 more rows.")])
def test_rows_are_cut(rows: int, more: str) -> None:
    """Fifty are shown, and how many more there are."""
    text = evidence(("a", "b"), [("x", str(n)) for n in range(rows)])
    assert text.count("| x |") == 50
    assert (text.rpartition("... and ")[2] if "..." in text else "") == more


def test_the_report_reads_as_sentences(sqlite_ledger: Ledger) -> None:
    """No raw words of the ledger, times as people write them, each plan behind a heading."""
    text = report(ended(case_of(sqlite_ledger), sqlite_ledger))
    assert "<details>" not in text
    assert not re.search(r"not_\w|\d{4}-\d\d-\d\dT", "\n".join(lines(text)))
    assert re.search(
        r"- \S+ \S+ UTC: \*\*dana\*\* approved act in Prefect's form: they\\_may", text
    )
    assert "rows are there: **does not hold** before the act" in text
    assert "rows are there: **could not be asked** after the act" in text
    assert "1. **write 0 \\<a database" in text
    heads = re.findall(r"^#+ .*$", text, re.MULTILINE)
    assert heads[0] == "# restore\\_from\\_backup on sandbox: remediated"
    assert "## Swap planner with planner\\_restore\\_x" in heads
    assert heads[-1] == "### What was found"


def test_the_chart_fits_the_page(sqlite_ledger: Ledger) -> None:
    """Its bars have the numbers of the steps, and it is not wider than the page's text."""
    text = report(ended(case_of(sqlite_ledger), sqlite_ledger))
    encoded = re.search(r"base64,([^)]+)\)", text)
    assert encoded
    chart = base64.b64decode(encoded[1]).decode()
    width = re.search(r'width="(\d+)"', chart)
    assert width
    assert int(width[1]) <= 560
    assert re.findall(r">(\d+)</text>", chart) == ["1", "2"]
    assert LONG[:10] not in chart


def test_a_decision_is_told_of_its_gate_only(sqlite_ledger: Ledger) -> None:
    """The artifact of a closed gate."""
    case = ended(case_of(sqlite_ledger), sqlite_ledger)
    assert "**dana** approved act" in decisions(case, stage_gate(case.stages[0]), "approved")
    other = Gate("other", "e" * 64, Risk.HARMLESS, "Go on?")
    assert "Nobody decided." in decisions(case, other, "expired")


def test_one_is_not_many() -> None:
    """Singular and plural."""
    assert [counted(n, "table") for n in (0, 1, 1000)] == ["0 tables", "1 table", "1,000 tables"]
    assert counted(2, "index", "indexes") == "2 indexes"
    seen = {"asked": 1, "slowest_seconds": 0.1, "problem": "", "failed": 0}
    assert watch_sentence(seen).startswith("asked 1 time, ")
