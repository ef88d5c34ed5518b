"""`make faults`: the whole crash matrix and every calamity; writes docs/reliability.md.

`REMEDY_FAULTS=20 make faults` kills at 20 boundaries of each remediation and direction;
`make faults ARGS="-n 2 -k rewrite_tables"` attacks one, and what was seen of the others stays.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench.__main__ import measured_at

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "reliability.md"
HEAD = """# Reliability

Written by `make faults`: what was done to remediations while they were at work, and how they
ended. Every boundary is one at which the process can die with another state of the world or of
the ledger: before and after each entry, change, check and revert, at the suspension and the
resumption, while a lease is renewed. After each kill the reaper recovers the remediation; it has
to end `remediated` or `undone`, and schema, row checksums, databases, roles, settings, files,
sessions, programs, leases and the ledger's chain are compared with a run that nothing happened
to. The application is under load all the while.

`make test` does a sample of it each time, another one for each version of the code. Where less was
killed at here than was passed, that is a sample as well.
"""
KILLS = """## Killed at every boundary

| remediation | platform | direction | boundaries passed | killed at | ended well | seen |
| --- | --- | --- | --- | --- | --- | --- |
"""
CALAMITIES = """
## Other calamities

| where | what | ended | seen |
| --- | --- | --- | --- |
"""
# Of either table: whose row it is, what was seen, and when.
_ROW = re.compile(r"^\| (\w+ \| (?:\w+ \| (?:forward|backward)|`.*`)) \| (.*) \|$", re.MULTILINE)
_PROBLEM = re.compile(r"^(\w+), (\w+), (forward|backward), .*", re.MULTILINE)


def main() -> int:
    """Attack what is asked for, all by default, and write the page."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        results, junit = Path(folder) / "results", Path(folder) / "junit.xml"
        environment = {
            "REMEDY_FAULTS": "all",
            **os.environ,
            "REMEDY_FAULTS_RESULTS": str(results),
            "CI": "true",
        }
        command = [sys.executable, "-m", "pytest", "tests/faults", f"--junitxml={junit}"]
        options = sys.argv[1:] or ["-v", "-n", "2", "--dist", "worksteal"]
        done = subprocess.run([*command, *options], cwd=ROOT, env=environment, check=False)
        lines = results.read_text().splitlines() if results.exists() else []
        kills = [json.loads(line) for line in lines]
        others = _others(junit)
    text = PAGE.read_text() if PAGE.exists() else ""
    PAGE.write_text(page(text, kills, others, measured_at(PAGE)))
    minutes = (time.monotonic() - began) / 60
    sys.stdout.write(f"{len(kills)} kills and {len(others)} calamities in {minutes:.0f} minutes\n")
    return done.returncode


def _others(junit: Path) -> dict[str, str]:
    """Read how the tests beside the matrix ended; of none where pytest did not get that far."""
    found: dict[str, str] = {}
    if not junit.exists():
        return found
    for case in ET.parse(junit).iter("testcase"):  # noqa: S314 - pytest wrote it just now
        file = case.get("classname", "").rpartition(".")[2]
        ended = next((child.tag for child in case if child.tag != "system-out"), "passed")
        if file and file != "test_crash_matrix":  # what was interrupted has no name
            found[f"{file.removeprefix('test_')} | `{case.get('name', '')}`"] = ended
    return found


def page(old: str, kills: list[dict[str, Any]], others: Mapping[str, str], seen: str) -> str:
    """Write the page; what was not attacked this time stays as it is there.

    Args:
        old: The page as it is.
        kills: What the crash matrix recorded.
        others: How a calamity ended, by where and what.
        seen: When, and of which commit.
    """
    attacked = {_row_of(one): one["among"] for one in kills}
    killed = Counter(_row_of(one) for one in kills)
    well = Counter(_row_of(one) for one in kills if not one["problems"])
    rows = dict(_ROW.findall(old))
    rows |= {
        one: f"{among} | {killed[one]} | {well[one]} | {seen}" for one, among in attacked.items()
    }
    rows |= {one: f"{ended} | {seen}" for one, ended in others.items()}
    problems = [
        found[0] for found in _PROBLEM.finditer(old) if " | ".join(found.groups()) not in attacked
    ]
    problems += [
        f"{one['remediation']}, {one['platform']}, {one['direction']}, {one['boundary']}: {problem}"
        for one in kills
        for problem in one["problems"]
    ]
    matrix = [f"| {one} | {row} |" for one, row in sorted(rows.items()) if "`" not in one]
    beside = [f"| {one} | {row} |" for one, row in sorted(rows.items()) if "`" in one]
    told = "".join(f"\n{problem}\n" for problem in problems)
    return (
        f"{HEAD}\n{KILLS}" + "\n".join(matrix) + f"\n{told}{CALAMITIES}" + "\n".join(beside) + "\n"
    )


def _row_of(kill: Mapping[str, Any]) -> str:
    return f"{kill['remediation']} | {kill['platform']} | {kill['direction']}"


if __name__ == "__main__":
    sys.exit(main())
