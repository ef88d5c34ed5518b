"""A platform that tests share: really up, under a home of its own."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
REMEDY = Path(sys.executable).with_name("remedy")


def clean_environment(home: Path, **more: str) -> dict[str, str]:
    """Give an environment in which nothing points to another platform."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PREFECT_", "REMEDY_"))
    }
    return {**kept, "REMEDY_HOME": str(home), "COLUMNS": "200", **more}


def remedy(
    home: Path, *words: str, timeout: float = 400, **more: str
) -> "subprocess.CompletedProcess[str]":
    """Run the command as a person would."""
    return subprocess.run(
        [REMEDY, *words],
        env=clean_environment(home, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )


def data(home: Path, *words: str, expected: int = 0, timeout: float = 400) -> Any:  # noqa: ANN401 - JSON
    """Run the command with --json, and give what it printed."""
    done = remedy(home, *words, "--json", timeout=timeout)
    assert done.returncode == expected, done.stdout + done.stderr
    return json.loads(done.stdout) if done.stdout else None


def new_home() -> Path:
    """Make a home that the servers' user can reach."""
    home = Path(tempfile.mkdtemp(prefix="remedy-platform-"))
    home.chmod(0o711)
    return home


@lru_cache
def live_home() -> Path:
    """Start a platform with a small sandbox, once for all tests of the session."""
    home = new_home()
    atexit.register(_end, home)
    done = remedy(home, "up")
    assert done.returncode == 0, done.stdout + done.stderr
    filled = remedy(home, "sandbox", "up", "--rows", "5000")
    assert filled.returncode == 0, filled.stdout + filled.stderr
    return home


def _end(home: Path) -> None:
    remedy(home, "down", "--force")
    shutil.rmtree(home, ignore_errors=True)
