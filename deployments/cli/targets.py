"""`remedy target`: the systems under care."""

import inspect
import sys
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import yaml
from cyclopts import App, Parameter
from prefect.blocks.core import Block
from pydantic import ValidationError
from rich.text import Text

from deployments.cli import client
from deployments.cli.capabilities import examine
from deployments.cli.errors import Exit
from deployments.cli.output import AsJson, emit, table
from tasks.guardrails.errors import BadInput
from tasks.platforms.targets import PLATFORMS

app = App(name="target", help="The systems under care.", help_format="markdown")
_STYLES = {"works": "green", "fails": "bold red", "lacking": "yellow", "unproved": "yellow"}


def block_type(platform: str) -> type[Block]:
    """Give the class of a platform's block.

    Raises:
        BadInput: There is no such platform.
    """
    path = PLATFORMS.get(platform) or PLATFORMS.get(f"{platform}-target")
    if path is None:
        raise BadInput(
            expected=f"a platform: {', '.join(PLATFORMS)}.",
            found=f"{platform!r}.",
            todo="Correct --platform.",
        )
    module, _, attribute = path.partition(":")
    found: type[Block] = getattr(import_module(module), attribute)
    return found


@app.command(name="list")
def list_(*, as_json: AsJson = False) -> None:
    """List the targets: the blocks of the platforms' types in Prefect."""
    found = [
        {"name": document.name, "platform": platform, "id": str(document.id)}
        for platform in PLATFORMS
        for document in client.blocks(platform)
    ]
    rows = [(one["name"], one["platform"]) for one in found]
    shown = table(("name", "platform"), rows) if rows else Text("None yet: remedy target add")
    emit(found, shown, as_json=as_json)


@app.command
def add(
    name: Annotated[str, Parameter(help="Its name: lower-case letters, digits, dashes.")],
    /,
    *,
    platform: Annotated[str, Parameter(help="sandbox, ...: slug of the block's type.")],
    file: Annotated[
        Path,
        Parameter(name="--from", help="YAML or JSON with its fields; - for standard input."),
    ],
    replace: Annotated[bool, Parameter(negative="", help="Replace a target of that name.")] = False,
) -> None:
    """Save a target from a file; the form in Prefect's UI does the same."""
    kind = block_type(platform)
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text()
        fields: dict[str, Any] = yaml.safe_load(text)
        _insist_on_known(fields, kind)
        block = kind(**fields)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()
        )
        raise BadInput(
            expected=f"fields of {kind.__name__}.", found=f"{problems}.", todo=f"Correct {file}."
        ) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadInput(
            expected="YAML or JSON.",
            # What it says besides repeats a value, which may be a password.
            found=f"{type(error).__name__}{where}.",
            todo=f"Correct {file}; a value that begins with a sign, or has `: ` or ` #` in it, "
            "needs quotes.",
        ) from error
    except (OSError, TypeError, ValueError) as error:
        raise BadInput(
            expected=f"a file with the fields of {kind.__name__}.",
            found=f"{error}.",
            todo="Correct --from.",
        ) from error
    try:
        done = block.save(name, overwrite=replace)
    except ValueError as error:
        raise BadInput(
            expected="a name that is free and well formed.",
            found=f"{error}",
            todo="Choose another one, or give --replace.",
        ) from error
    if inspect.isawaitable(done):
        message = "called from an event loop"
        raise TypeError(message)
    emit(None, Text(f"Saved. Now: remedy target check {name}"), as_json=False)


def _insist_on_known(fields: dict[str, Any], kind: type[Block]) -> None:
    """Prefect takes no notice of a field that a form has not: a slip would pass for a default."""
    if not isinstance(fields, dict):
        message = "it has no fields by name"
        raise TypeError(message)
    known = [name for name, field in kind.model_fields.items() if field.description]
    if unknown := [name for name in fields if name not in known]:
        alike = [get_close_matches(name, known, n=1) for name in unknown]
        hints = [
            f"{one} (is it {like[0]}?)" if like else one
            for one, like in zip(unknown, alike, strict=True)
        ]
        raise BadInput(
            expected=f"fields that {kind.__name__} has.",
            found=f"{', '.join(hints)}.",
            todo="Correct them; docs/targets.md has all.",
        )


@app.command
def check(
    name: Annotated[str, Parameter(help="Name of the target.")], /, *, as_json: AsJson = False
) -> int:
    """Load a target, connect, and ask each capability: what works, what stays unproved.

    Exit code 11 where something fails.
    """
    found = examine(name)
    rows = [(one.what, Text(one.answer, style=_STYLES[one.answer]), one.detail) for one in found]
    data = [{"what": one.what, "answer": one.answer, "detail": one.detail} for one in found]
    emit(data, table(("capability", "answer", "seen"), rows), as_json=as_json)
    failed = any(one.answer == "fails" for one in found)
    return Exit.UNPROVED.value if failed else Exit.OK.value
