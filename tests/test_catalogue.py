"""The catalogue: one name for a remediation everywhere, and the guide's part it carries out."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployments import docs, docs_guide, registration
from deployments.docs_flows import carried_out, sections_of
from deployments.docs_kinds import kinds_of_change
from flows.catalogue import guide_of, load, load_all, section_of
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.remediation import Remediation
from tests.broken_flows import make_section

ROOT = Path(__file__).resolve().parents[1]
FILES = sorted(path for path in (ROOT / "flows").glob("*/*.py") if path.name != "__init__.py")
PAGES = ROOT / "docs" / "remediations"
FLOWS = load_all()
SOLUTIONS = docs_guide.read(ROOT / "docs")
# They serve the engine: what they do is what another remediation planned.
ENGINE = {"undo_remediation", "recover_remediation", "reap_remediations"}
SECTIONS = {
    "Application Issues": 8,
    "Database Issues": 8,
    "Docker Issues": 6,
    "Performance Issues": 8,
    "Network Issues": 5,
    "Authentication Issues": 5,
    "Getting Help": 2,
}


def deployments() -> dict[str, dict[str, Any]]:
    """Read the deployments of prefect.yaml by their name."""
    found = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]
    assert len({one["name"] for one in found}) == len(found)
    return {one["name"]: one for one in found}


def test_there_are_flows() -> None:
    """The other tests of this file have something to look at."""
    assert {"restore_from_backup", *ENGINE} <= set(FLOWS)
    assert {path.stem for path in FILES} == set(FLOWS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_file_function_and_slug_have_one_name(path: Path) -> None:
    """The file is named as its function, the flow's slug is that with dashes."""
    flow = FLOWS[path.stem]
    assert flow.fn.__name__ == path.stem
    assert flow.name == path.stem.replace("_", "-")
    assert flow.fn.__module__ == f"flows.{path.parent.name}.{path.stem}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_deployment_has_the_same_name(path: Path) -> None:
    """prefect.yaml deploys the flow under its slug, from its file, tagged with its section."""
    found = deployments()[FLOWS[path.stem].name]
    assert found["entrypoint"] == f"{path.relative_to(ROOT).as_posix()}:{path.stem}"
    assert f"section:{path.parent.name}" in found["tags"]
    assert [tag for tag in found["tags"] if tag.startswith("risk:")]
    assert found["work_pool"]["name"]


@pytest.mark.parametrize("name", FLOWS)
def test_deployment_is_described_as_its_page_shows_it(name: str) -> None:
    """Markdown of what it does, changes and takes back; the form describes its parameters."""
    said = deployments()[FLOWS[name].name]["description"]
    sections = sections_of(inspect.getdoc(FLOWS[name].fn) or "")
    parts = [sections[""], "**Changes:**", sections["Changes"], "**Undo:**", sections["Undo"]]
    assert said.split() == " ".join(parts).split()
    assert "Args:" not in said
    assert not re.search(r"\S\n\S", said)  # which the page would show as broken lines


def test_form_says_where_names_of_targets_are_found() -> None:
    """Who starts a remediation for the first time knows the command, not the name."""
    described = [
        flow.parameters.properties["target"]["description"]
        for flow in FLOWS.values()
        if "target" in flow.parameters.properties
    ]
    assert described
    assert all("`remedy target list`" in one for one in described)


def test_runs_of_remediations_are_told_apart_by_a_tag() -> None:
    """The reaper, which runs each minute, has it not."""
    tagged = {name for name, one in deployments().items() if "remediation" in one["tags"]}
    assert tagged == {flow.name for flow in FLOWS.values() if isinstance(flow, Remediation)}
    assert "reap-remediations" not in tagged


def test_nothing_else_is_deployed() -> None:
    """No deployment is left of a flow that is gone."""
    assert set(deployments()) == {flow.name for flow in FLOWS.values()}


def test_each_flow_has_its_page_and_no_page_is_left() -> None:
    """docs/remediations has a page for each flow, an index that links to it, and no other."""
    pages = {path.stem for path in PAGES.glob("*.md")}
    assert pages == {"README", *FLOWS}
    index = (PAGES / "README.md").read_text()
    assert [name for name in FLOWS if f"]({name}.md)" not in index] == []


@pytest.mark.parametrize("name", FLOWS)
def test_docstring_says_what_is_changed_and_how_it_is_undone(name: str) -> None:
    """A docstring has what page and form are made of, and describes every parameter."""
    flow = FLOWS[name]
    sections = sections_of(inspect.getdoc(flow.fn) or "")
    assert sections[""]
    assert sections["Changes"]
    assert sections["Undo"]
    described = set(re.findall(r"^(\w+):", sections.get("Args", ""), re.MULTILINE))
    assert described == set(flow.parameters.properties)


@pytest.mark.parametrize("name", sorted(set(FLOWS) - ENGINE))
def test_remediation_says_which_part_of_the_guide_it_carries_out(name: str) -> None:
    """What is no engine flow names a solution or a diagnosis, and lies in its section's folder."""
    flow = FLOWS[name]
    assert isinstance(flow, Remediation)
    said = guide_of(flow)
    problem = said.removesuffix(" / Diagnosis")  # each problem of the guide has one
    known = ((one.path, f"{one.section} / {one.problem}") for one in SOLUTIONS)
    part = next(
        (
            one
            for one, (path, its_problem) in zip(SOLUTIONS, known, strict=True)
            if path == said or (problem not in ("", said) and its_problem == problem)
        ),
        None,
    )
    assert part is not None, f"{name} says {guide_of(flow)!r}, which the guide does not have"
    folder = "help" if part.section == "Getting Help" else part.section.split()[0].lower()
    assert section_of(flow) == folder


@pytest.mark.parametrize("name", sorted(ENGINE))
def test_engine_flows_name_no_part_of_the_guide(name: str) -> None:
    """The exempt are really exempt: none of them counts as coverage."""
    assert guide_of(FLOWS[name]) == ""


def test_guide_has_its_42_solutions() -> None:
    """The guide numbers 40 solutions; its help section is counted as two."""
    assert len(SOLUTIONS) == 42
    assert [one.number for one in SOLUTIONS] == list(range(1, 43))
    assert len({one.path for one in SOLUTIONS}) == 42
    by_section: dict[str, int] = {}
    for one in SOLUTIONS:
        by_section[one.section] = by_section.get(one.section, 0) + 1
    assert by_section == SECTIONS
    paths = {one.path for one in SOLUTIONS}
    assert "Database Issues / Database Corruption / Restore from Backup" in paths
    assert [one.path for one in SOLUTIONS[-2:]] == [
        "Getting Help / Gather Evidence",
        "Getting Help / Escalate",
    ]


def test_numbers_in_code_are_no_solutions() -> None:
    """Only numbered items in bold under a problem count, not what stands in a code block."""
    text = "## A\n\n### B\n\n1. **C**\n   ```bash\n1. **D**\n   ```\n2. E\n\n## F\n\n1. **G**\n"
    assert [one.path for one in docs_guide.solutions(text)] == ["A / B / C"]


def test_docs_say_what_is_missing() -> None:
    """The table marks each solution that nobody carries out, and the index lists it."""
    missing = [one for one in SOLUTIONS if one.path not in carried_out(FLOWS)]
    table = (ROOT / "docs" / "guide.md").read_text()
    index = (PAGES / "README.md").read_text()
    assert len(re.findall(r"\| missing \|$", table, re.MULTILINE)) == len(missing)
    assert re.findall(r"^- \[(.+)\]\(", index, re.MULTILINE) == [one.path for one in missing]


def test_pages_name_the_kinds_of_change() -> None:
    """What the planning functions of all stages reach is on the page, and nothing beyond."""
    kinds = {change.kind for change in kinds_of_change(FLOWS["restore_from_backup"])}
    assert {"database.load_backup", "database.swap_databases", "cache.clear"} <= kinds
    assert "database.back_up_database" not in kinds
    page = (PAGES / "restore_from_backup.md").read_text()
    assert set(re.findall(r"^\| `([\w.]+\.\w+)` \|", page, re.MULTILINE)) == kinds
    assert kinds_of_change(FLOWS["recover_remediation"]) == []


@pytest.fixture
def section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A section to put broken files in."""
    return make_section(tmp_path, monkeypatch)


def test_a_broken_file_keeps_no_other_out(section: Path) -> None:
    """The others are loaded; of the broken ones it is said which, why, and where."""
    (section / "no_python.py").write_text("def no_python(:\n")
    (section / "no_module.py").write_text("import tasks.nothing\n")
    (section / "half_done.py").write_text("\n\nprint(1 / 0)\n")
    found = load()
    assert found.flows == FLOWS
    there = f"flows.{section.name}"
    assert found.broken == {
        "half_done": f"ZeroDivisionError: division by zero ({there}.half_done line 3)",
        "no_module": "ModuleNotFoundError: No module named 'tasks.nothing' "
        f"({there}.no_module line 1)",
        "no_python": "SyntaxError: invalid syntax (no_python.py, line 1)",
    }


def test_a_broken_folder_is_said_of_each_of_its_files(section: Path) -> None:
    """A section that cannot be imported as a whole breaks all that lies in it."""
    (section / "__init__.py").write_text("raise OSError('no disk')\n")
    (section / "sound.py").touch()
    assert load().broken == {"sound": f"OSError: no disk (flows.{section.name} line 1)"}


@pytest.mark.parametrize(
    "make",
    [load_all, registration.prefect_yaml, docs.pages],
    ids=lambda make: str(make.__name__),
)
def test_nothing_is_made_while_a_file_is_broken(section: Path, make: Callable[[], object]) -> None:
    """Registration, prefect.yaml and the pages refuse: a flow would be missing from them."""
    (section / "half_done.py").write_text("raise RuntimeError('a stage is missing')\n")
    with pytest.raises(PreconditionFailed, match="half_done: RuntimeError: a stage is missing"):
        make()
