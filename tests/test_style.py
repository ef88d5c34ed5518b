"""The shape of the code: sizes, names, descriptions, reasons, and contracts that hold all of it."""

import importlib
import importlib.util
import pkgutil
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from prefect.blocks.core import Block
from pydantic import BaseModel
from pydantic_settings import BaseSettings

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("flows", "tasks", "deployments", "infra")
LONGEST = 250
# Longer than that, with the reason.
LONGER = {
    "tasks/platforms/postgresql.py": "one class for one service: its address and its sessions",
}
VAGUE = re.compile(r"(utils?|helpers?|common|misc)(_.*)?|.*_(utils?|helpers?|common|misc)")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))
# A rule that is switched off, without the reason behind it.
NO_REASON = re.compile(
    r"#\s*noqa(?::\s*[A-Z0-9, ]+)?\s*$|#\s*noqa\b(?!:)|#\s*type:\s*ignore(?:\[[\w, -]+\])?\s*$"
)


def name_of(path: Path) -> str:
    """Give a file's name in the project."""
    return path.relative_to(ROOT).as_posix()


def modules() -> list[str]:
    """Name every module of ours that runs where the project is installed."""
    found: list[str] = []
    for package in PACKAGES:
        top = importlib.import_module(package)
        found += [one.name for one in pkgutil.walk_packages(top.__path__, f"{package}.")]
    # Programs by themselves: importing them would run them.
    return [name for name in found if "alembic" not in name and "migrations" not in name]


def subclasses(base: type) -> set[type]:
    """Give all subclasses, theirs too."""
    found: set[type] = set(base.__subclasses__())
    for sub in tuple(found):
        found |= subclasses(sub)
    return found


def contracts() -> dict[str, dict[str, Any]]:
    """Read the import contracts by their names."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert set(config["root_packages"]) == set(PACKAGES)
    return {one["name"]: one for one in config["contracts"]}


def contract(beginning: str) -> dict[str, Any]:
    """Give the contract whose name begins so."""
    found = [one for name, one in contracts().items() if name.startswith(beginning)]
    assert len(found) == 1, beginning
    return found[0]


def subjects() -> set[str]:
    """Name the subjects: the folders under tasks that are neither engine nor platforms."""
    folders = {path.parent.name for path in (ROOT / "tasks").glob("*/__init__.py")}
    return {f"tasks.{folder}" for folder in folders - {"guardrails", "platforms"}}


def test_files_are_short() -> None:
    """No file is longer than 250 lines but those listed, and what is listed still is."""
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in SOURCES}
    longer = {name: length for name, length in lengths.items() if length > LONGEST}
    assert {name: length for name, length in longer.items() if name not in LONGER} == {}
    assert set(LONGER) <= set(longer), "an exception that is none any more"


@pytest.mark.parametrize("name", ["utils", "my_helpers", "common", "misc_things", "util"])
def test_vague_names_are_known(name: str) -> None:
    """The pattern finds what it is for."""
    assert VAGUE.fullmatch(name)
    assert not VAGUE.fullmatch("communication")


def test_no_module_has_a_vague_name() -> None:
    """A module is named for its subject."""
    assert [name_of(path) for path in (*SOURCES, *TESTS) if VAGUE.fullmatch(path.stem)] == []
    folders = {path.parent for path in (*SOURCES, *TESTS)}
    assert [name_of(path) for path in folders if VAGUE.fullmatch(path.name)] == []


def test_every_module_has_a_docstring_of_its_own() -> None:
    """The first line says what the module is; no two say the same."""
    firsts: dict[str, list[str]] = {}
    for path in SOURCES:
        first = path.read_text().split("\n", 1)[0]
        assert first.startswith(('"""', 'r"""')), name_of(path)
        firsts.setdefault(first, []).append(name_of(path))
    assert {first: names for first, names in firsts.items() if len(names) > 1} == {}


def test_settings_and_blocks_describe_every_field() -> None:
    """Whoever fills a form or sets a variable reads what it is for."""
    for name in modules():
        importlib.import_module(name)
    ours = [
        one
        for base in (BaseSettings, Block)
        for one in subclasses(base)
        if one.__module__.split(".")[0] in PACKAGES and issubclass(one, BaseModel)
    ]
    assert {"Settings", "SandboxTarget"} <= {one.__name__ for one in ours}
    bare = [
        f"{model.__module__}.{model.__name__}.{name}"
        for model in ours
        for name, field in model.model_fields.items()
        if not field.description
    ]
    assert bare == []


def without_reason(text: str) -> list[int]:
    """Give the numbers of lines that switch a rule off, with no reason beside or above them."""
    found, above = [], ""
    for number, line in enumerate(text.splitlines(), start=1):
        bare = NO_REASON.search(line) and not above.lstrip().startswith("#")
        if bare or re.match(r"#\s*(ruff|flake8):\s*noqa|#\s*mypy:", line):
            found.append(number)
        if not NO_REASON.search(line) or bare:  # else a reason goes for the lines below as well
            above = line
    return found


def test_every_exception_from_a_rule_has_its_reason() -> None:
    """A `noqa` or `type: ignore` says why, beside or above; a whole file is never excepted."""
    rule = "x  # no" + "qa: S101"
    assert without_reason(f"{rule}\n# why\n{rule}\n{rule}\n\n{rule}\n{rule} - why") == [1, 6]
    assert without_reason("# ruff: no" + "qa: S101") == [1]
    found = [
        f"{name_of(path)}:{number}"
        for path in (*SOURCES, *TESTS)
        for number in without_reason(path.read_text())
    ]
    assert found == []


def test_contracts_name_modules_that_exist() -> None:
    """A contract about a module that is gone holds nothing."""
    for one in contracts().values():
        for key in ("source_modules", "forbidden_modules", "layers"):
            for line in one.get(key, []):
                for name in re.split(r" [|:] ", line):
                    for inside in one.get("containers", [""]):
                        full = f"{inside}.{name}".lstrip(".")
                        assert importlib.util.find_spec(full), f"{one['name']}: {full}"
        assert not one.get("ignore_imports"), one["name"]


def test_layers_are_those_of_the_design() -> None:
    """Deployments start flows, flows are made of tasks, never the other way."""
    assert contract("Layers")["layers"] == ["deployments", "flows", "tasks"]


def test_contracts_hold_every_subject() -> None:
    """A new subject under tasks falls under the contracts without anybody thinking of it."""
    guardrails = set(contract("Guardrails know no system")["forbidden_modules"])
    assert subjects() | {"tasks.platforms", "infra"} <= guardrails
    protocols = contract("Subjects know the protocols")
    assert set(protocols["source_modules"]) == subjects()
    platforms = {
        f"tasks.platforms.{path.parent.name}"
        for path in (ROOT / "tasks" / "platforms").glob("*/__init__.py")
    }
    assert platforms <= set(protocols["forbidden_modules"])
    redis = set(contract("Redis is spoken")["source_modules"])
    assert subjects() - {"tasks.cache"} <= redis
