"""Plans: frozen, written in one form, read back by the kind of what is in them."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tasks.guardrails.errors import BadInput
from tasks.guardrails.plan import (
    Change,
    Effects,
    Finding,
    Plan,
    Risk,
    Stage,
    StageOutline,
    canonical_json,
    digest_of,
)
from tasks.guardrails.registry import Registered, kinds
from tests import toy
from tests.toy import CountAtMost, FileReads, WriteFile

ROOT = Path(__file__).resolve().parents[2]
PLAN = Plan(
    title="Write files",
    risk=Risk.DISRUPTIVE,
    findings=(Finding(what="a is missing", how="a look", columns=("n",), rows=(("1",),)),),
    changes=(WriteFile(name="a", after="new"), toy.RemoveForEver(name="b", after="", needs=("x",))),
    checks=(FileReads(name="a", text="new"),),
    limits=(CountAtMost(at_most=5, unit="rows"),),
    effects=Effects(outage="0.3 s", disk_needed=7),
    later=(StageOutline(name="swap", title="Swap", risk=Risk.DESTRUCTIVE, kinds=("k",)),),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
READER = """
import json, sys
from tasks.guardrails.plan import Change
print(type(Change.from_json(json.loads(sys.argv[1]))).__qualname__)
"""


class Moved(WriteFile):
    """A change in its first version."""

    kind: ClassVar[str] = "toy.moved"


class MovedAgain(Moved):
    """The same change with a field that the first had not."""

    schema_version: ClassVar[int] = 2

    how: str


def test_plan_comes_back_from_json_as_it_was() -> None:
    """Changes, checks and limits come back as what they were, with all fields."""
    written = json.loads(json.dumps(PLAN.model_dump(mode="json")))
    read = Plan.model_validate(written)
    assert read == PLAN
    assert [type(change) for change in read.changes] == [WriteFile, toy.RemoveForEver]
    assert read.changes[1].needs == ("x",)
    assert written["changes"][0] == {
        "kind": "toy.write_file",
        "schema_version": 1,
        "module": "tests.toy",
        "needs": [],
        "name": "a",
        "before": "",
        "after": "new",
    }


def test_first_stage_is_told_from_a_later_one() -> None:
    """A later stage outlines nothing: what only a plan has is refused."""
    with pytest.raises(ValidationError, match="later"):
        Stage.model_validate(PLAN.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("field", "value"), [("risk", Risk.HARMLESS), ("changes", ()), ("effects", Effects())]
)
def test_plan_is_frozen(field: str, value: object) -> None:
    """Nothing in a plan can be set after it was made."""
    with pytest.raises(ValidationError, match="frozen"):
        setattr(PLAN, field, value)
    with pytest.raises(ValidationError, match="frozen"):
        PLAN.changes[0].__setattr__("needs", ("y",))


@pytest.mark.parametrize(
    "update",
    [
        {"title": "Write file"},
        {"risk": Risk.HARMLESS},
        {"changes": PLAN.changes[:1]},
        {"changes": PLAN.changes[::-1]},
        {"limits": (CountAtMost(at_most=6, unit="rows"),)},
        {"effects": Effects(outage="0.3 s", disk_needed=8)},
        {"notes": ("",)},
        {"later": ()},
    ],
)
def test_digest_is_another_for_any_other_plan(update: dict[str, Any]) -> None:
    """An approval of a plan is none of one that differs anywhere."""
    other = PLAN.model_copy(update=update)
    assert digest_of(other.model_dump(mode="json")) != digest_of(PLAN.model_dump(mode="json"))


@given(value=JSON)
def test_canonical_json_has_one_form(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Equal values are written equally, whatever the order of their keys, and read back."""

    def turned(one: Any) -> Any:  # noqa: ANN401 - any JSON value
        if isinstance(one, dict):
            return {key: turned(one[key]) for key in reversed(one)}
        return [turned(each) for each in one] if isinstance(one, list) else one

    assert canonical_json(turned(value)) == canonical_json(value)
    assert json.loads(canonical_json(value)) == value


def test_digest_is_the_sha256_of_known_bytes() -> None:
    """The form of what is hashed never changes: old digests have to stay comparable."""
    assert canonical_json({"b": [1, "ä"], "a": None}) == '{"a":null,"b":[1,"ä"]}'
    assert digest_of({}) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    with pytest.raises(ValueError, match="Out of range float"):
        canonical_json(math.nan)


@pytest.mark.parametrize(
    ("given_", "expected", "found"),
    [
        (
            {"kind": "toy.never", "schema_version": 1},
            "a known kind of change.",
            "'toy.never' in version 1.",
        ),
        (
            {"kind": "toy.write_file", "schema_version": 9},
            "a known kind of change.",
            "'toy.write_file' in version 9.",
        ),
        (FileReads(name="a", text="").to_json(), "a known kind of change.", "'toy.file_reads'"),
        ({"name": "a"}, "a change with its kind.", "{'name': 'a'}."),
        (None, "a change with its kind.", "None."),
        (
            {"kind": "toy.write_file", "name": "a", "extra": 1},
            "the fields of 'toy.write_file' in version 1.",
            "after: Field required; extra: Extra inputs are not permitted.",
        ),
        (
            {"kind": "toy.never", "module": "tasks.database.gone_since"},
            "a known kind of change.",
            "'toy.never' in version 1.",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(given_: object, expected: str, found: str) -> None:
    """An unknown kind, another sort of thing and wrong fields are each told by name."""
    with pytest.raises(BadInput) as refused:
        Change.from_json(given_)
    assert refused.value.expected == expected
    assert refused.value.found.startswith(found)


@pytest.mark.parametrize("module", ["tasks.database.gone_since", "tasks.database"])
def test_a_class_that_has_moved_is_found_by_its_kind(module: str) -> None:
    """A process that has imported no task yet reads what was written before the class moved."""
    given_ = {
        "kind": "database.vacuum_table",
        "module": module,
        "schema_name": "public",
        "name": "users",
        "oid": 1,
        "before": "",
        "freeze": False,
    }
    read = "from tasks.guardrails.plan import Change; import json, sys; "
    read += "print(Change.from_json(json.loads(sys.argv[1])).title)"
    done = subprocess.run(
        [sys.executable, "-c", read, json.dumps(given_)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "vacuum and analyse public.users", done.stderr


def test_kind_names_one_class_for_ever() -> None:
    """A second class under a kind that is taken is refused when it is defined."""
    with pytest.raises(TypeError, match=re.escape("kind 'toy.write_file' version 1 is")):
        type("Other", (Change,), {"kind": "toy.write_file", "__module__": "tests.other"})
    assert kinds()["toy.write_file"] is WriteFile


def test_old_version_stays_readable() -> None:
    """A change that was recorded in an older version is read as that version."""
    old = Moved(name="a", after="b").to_json()
    new = MovedAgain(name="a", after="b", how="c").to_json()
    assert (old["schema_version"], new["schema_version"]) == (1, 2)
    assert type(Change.from_json(old)) is Moved
    assert type(Change.from_json(new)) is MovedAgain
    assert kinds()["toy.moved"] is MovedAgain


def test_process_that_never_imported_a_kind_can_read_it() -> None:
    """A recovery in a fresh process reads a plan from the module that is written with it."""
    from tasks.cache.keys import ClearCache  # noqa: PLC0415 - what another process has

    written = json.dumps(ClearCache(moment="before").to_json())
    done = subprocess.run(
        [sys.executable, "-c", READER, written],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "ClearCache\n"


def test_no_foreign_module_is_imported_for_a_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading an entry imports our tasks and nothing else that somebody wrote into it."""
    monkeypatch.delitem(sys.modules, "antigravity", raising=False)
    with pytest.raises(BadInput):
        Registered.from_json({"kind": "toy.never", "module": "antigravity"})
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    ("amount", "at_most", "at_least", "exceeded"),
    [
        (5, 5, None, False),
        (5.1, 5, None, True),
        (5, None, 5, False),
        (4.9, None, 5, True),
        (0, 0, None, False),
        (1, 0, None, True),
        (9, None, None, False),
    ],
)
def test_limit_is_exceeded_beyond_what_was_approved(
    amount: float, at_most: float | None, at_least: float | None, *, exceeded: bool
) -> None:
    """The amount approved itself is within; nought is a limit like any other."""
    assert CountAtMost(at_most=at_most, at_least=at_least).exceeded(amount) is exceeded


def test_stage_names_each_object_once() -> None:
    """What the blast radius counts are objects, not changes."""
    stage = Stage(changes=(PLAN.changes[0], *PLAN.changes))
    assert stage.objects == ("file a", "file b")


def test_next_higher_risk_ends_at_the_highest() -> None:
    """A stage beyond its outline asks for more, and for no more than there is."""
    assert [risk.next_higher for risk in Risk] == [
        Risk.DISRUPTIVE,
        Risk.DESTRUCTIVE,
        Risk.DESTRUCTIVE,
    ]
