"""Every error message there is, found by parsing the code, with what to do about it."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tasks.guardrails import errors

PACKAGES = ("tasks", "flows", "deployments", "infra")
_PARTS = ("expected", "found", "state", "todo")
_UNTOUCHED = "Nothing was changed."
_LONGEST_PLACEHOLDER = 60


@dataclass(frozen=True)
class Message:
    """An error message as the code makes it.

    Args:
        kinds: Names of the classes it may be of.
        where: File and function that make it.
        expected: What it says was expected; what is filled in stands in { }.
        found: What it says was found.
        state: What it says of how things stand.
        todo: What it says to do next.
    """

    kinds: tuple[str, ...]
    where: str
    expected: str
    found: str
    state: str
    todo: str


def messages(root: Path) -> list[Message]:
    """Find every error message in the code.

    Args:
        root: Folder of the project.

    Returns:
        The messages in the order of files and lines.
    """
    found: list[Message] = []
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            place = path.relative_to(root).as_posix()
            found += _in_module(ast.parse(path.read_text()), place)
    return found


def _in_module(module: ast.Module, place: str) -> Iterator[Message]:
    for function, names in _functions(module):
        for call in _own_calls(function):
            parts = {keyword.arg: keyword.value for keyword in call.keywords}
            kinds = _kinds_of(call.func, function)
            if kinds and {"expected", "found", "todo"} <= set(parts):
                message = Message(kinds, f"{place}: {'.'.join(names)}", *_texts(parts))
                if not re.fullmatch(r"\{[^ ]*\}", message.expected):  # made again of its parts
                    yield from _filled_in(message, function, module)


def _texts(parts: dict[str | None, ast.expr]) -> tuple[str, str, str, str]:
    expected, found, state, todo = (
        pattern(parts[name]) if name in parts else _UNTOUCHED for name in _PARTS
    )
    return expected, found, state, todo


_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _functions(
    tree: ast.AST, names: tuple[str, ...] = ()
) -> Iterator[tuple[_Function, tuple[str, ...]]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, _Function):
            yield node, (*names, node.name)
        inner = (*names, node.name) if isinstance(node, _Function | ast.ClassDef) else names
        yield from _functions(node, inner)


def _own_calls(function: _Function) -> Iterator[ast.Call]:
    """Give the calls in a function, without those of functions inside it."""
    waiting: list[ast.AST] = list(reversed(function.body))
    while waiting:
        node = waiting.pop()
        if isinstance(node, _Function):
            continue
        if isinstance(node, ast.Call):
            yield node
        waiting += reversed(list(ast.iter_child_nodes(node)))


def _kinds_of(called: ast.expr, function: _Function) -> tuple[str, ...]:
    """Say which of our errors a call makes; a variable is looked up in its function."""
    name = called.attr if isinstance(called, ast.Attribute) else ""
    if isinstance(called, ast.Name):
        name = called.id
    if name in _KINDS:
        return (name,)
    for node in ast.walk(function):
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                given = [one.id for one in ast.walk(node.value) if isinstance(one, ast.Name)]
                return tuple(one for one in given if one in _KINDS)
    return ()


def _filled_in(message: Message, function: _Function, module: ast.Module) -> Iterator[Message]:
    """Give a message that a function makes of its arguments once for each of its calls."""
    arguments = [one.arg for one in (*function.args.posonlyargs, *function.args.args)]
    holes = [name for name in arguments if f"{{{name}}}" in message.found]
    calls = [
        node
        for node in ast.walk(module)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == function.name
        and len(node.args) == len(arguments)
    ]
    if not holes or not calls:
        yield message
        return
    for call in sorted(calls, key=lambda node: node.lineno):
        found = message.found
        for name, value in zip(arguments, call.args, strict=True):
            found = found.replace(f"{{{name}}}", pattern(value))
        yield replace(message, found=found)


def pattern(node: ast.expr) -> str:
    """Write an expression that gives a text as the text, with { } around what is filled in.

    Args:
        node: The expression.
    """
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(pattern(value) for value in node.values)
    if isinstance(node, ast.FormattedValue):
        return pattern(node.value)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return pattern(node.left) + pattern(node.right)
    if isinstance(node, ast.IfExp):
        choices = [text for text in (pattern(node.body), pattern(node.orelse)) if text.strip()]
        return choices[0] if len(choices) == 1 else " | ".join(choices)
    text = " ".join(ast.unparse(node).split())
    shown = text if len(text) <= _LONGEST_PLACEHOLDER else f"{text[:_LONGEST_PLACEHOLDER]}…"
    return f"{{{shown}}}"


def _kinds() -> dict[str, type[errors.RemediationError]]:
    return {
        name: thing
        for name, thing in vars(errors).items()
        if isinstance(thing, type) and issubclass(thing, errors.RemediationError)
    }


_KINDS = _kinds()


def page(all_messages: Iterable[Message]) -> str:
    """Write the page of all error messages, by kind.

    Args:
        all_messages: From `messages`.

    Returns:
        Markdown.
    """
    listed = list(all_messages)
    lines = ["# Errors", ""]
    lines += ["A message says what was expected, what was found, how things stand, and what to"]
    lines += ["do next. What stands in { } is filled in; | stands between alternatives."]
    for name, kind in _KINDS.items():
        mine = [message for message in listed if name in message.kinds]
        if not mine:
            continue
        lines += ["", f"## {name}", "", (kind.__doc__ or "").split("\n\n")[0]]
        for message in mine:
            lines += ["", f"**Expected:** {_escaped(message.expected)}  "]
            lines += [f"**Found:** {_escaped(message.found)}  "]
            if message.state != _UNTOUCHED:
                lines += [f"**State:** {_escaped(message.state)}  "]
            lines += [f"**Do next:** {_escaped(message.todo)}  ", f"Made in `{message.where}`."]
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    for mark in "\\*_<[`":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split())
