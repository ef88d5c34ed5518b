"""Revisions linted by squawk, which knows what a statement locks and what goes wrong with it.

Source: squawkhq.com, the rules.
"""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tasks.database.migrations.scripts import Script

_PROGRAM = "squawk"
_SECONDS = 30.0
# What is ours to see to (timeouts), or a matter of taste.
_LEFT_OUT = (
    "require-lock-timeout",
    "require-statement-timeout",
    "prefer-text-field",
    "prefer-bigint-over-int",
    "prefer-bigint-over-smallint",
    "prefer-identity",
    "prefer-robust-stmts",
    "prefer-timestamp-tz",
)


@dataclass(frozen=True)
class Warned:
    """What squawk says of a revision.

    Args:
        revision: The revision.
        rule: Name of its rule.
        message: What is wrong.
        advice: What to do instead.
    """

    revision: str
    rule: str
    message: str
    advice: str


def find_linter() -> Path | None:
    """Find the program, beside this Python or on PATH; None where there is none."""
    beside = Path(sys.executable).with_name(_PROGRAM)
    found = str(beside) if beside.is_file() else shutil.which(_PROGRAM)
    return Path(found) if found else None


def lint(program: Path, revision: str, script: Script, version: int) -> tuple[Warned, ...] | None:
    """Lint the statements of a revision.

    Args:
        program: squawk.
        revision: The revision.
        script: The revision as SQL.
        version: The server's version number.

    Returns:
        What it says; None where it could not read them.
    """
    command: list[str | Path] = [program, "--reporter", "json"]
    command += [f"--pg-version={version // 10000}.0"]
    command += [f"--exclude={rule}" for rule in _LEFT_OUT]
    command += ["--assume-in-transaction"] if script.in_transaction else []
    try:
        done = subprocess.run(
            command,
            input="".join(f"{one};\n" for one in script.statements),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
        found = json.loads(done.stdout or "[]")
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    if not isinstance(found, list) or (done.returncode and not found):
        return None
    return tuple(
        Warned(revision, str(one["rule_name"]), str(one["message"]), str(one["help"] or ""))
        for one in found
    )
