"""The commands that the demo tells to type, as they have to be typed where it was run."""

import shlex
import sys
from pathlib import Path

from tasks.guardrails.settings import settings


def undo(remediation: str, name: str) -> str:
    """Give the command by which one of the demo's people asks for an undo."""
    return f"{_remedy()} undo {remediation} --as {name} --code {_code(name)}"


def approve(remediation: str, name: str) -> str:
    """Give the command by which one of the demo's people approves."""
    return f"{_remedy()} approve {remediation} --as {name} --code {_code(name)}"


def show(remediation: str) -> str:
    """Give the command that shows a remediation's record."""
    return f"{_remedy()} show {remediation}"


def down() -> str:
    """Give the command that stops everything."""
    return f"{_remedy()} down"


def _remedy() -> str:
    return f"{_home()}{_program('remedy')}"


def _code(name: str) -> str:
    return f"$({_home()}{_program('python')} -m deployments.demo.people {name})"


def _home() -> str:
    home = settings().home.absolute()
    return "" if home == Path.cwd() / ".remedy" else f"REMEDY_HOME={shlex.quote(str(home))} "


def _program(name: str) -> str:
    path = Path(sys.executable).with_name(name)
    here = Path.cwd()
    return shlex.quote(str(path.relative_to(here) if path.is_relative_to(here) else path))
