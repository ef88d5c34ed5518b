"""`make faults`: the whole crash matrix and every calamity; writes docs/reliability.md.

`REMEDY_FAULTS=20 make faults` kills at 20 boundaries of each remediation and direction.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

from tests.bench.__main__ import measured_on

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

`make test` does a sample of it each time, another one for each version of the code.
"""


def main() -> int:
    """Attack everything, and write the page."""
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
    minutes = (time.monotonic() - began) / 60
    PAGE.write_text("\n".join([HEAD, measured_on(), "", *_page(kills, others, minutes), ""]))
    return done.returncode


def _others(junit: Path) -> list[tuple[str, str, str]]:
    """Read what the tests beside the matrix say: file, test, and how it ended."""
    found = []
    for case in ET.parse(junit).iter("testcase"):  # noqa: S314 - pytest wrote it just now
        file = case.get("classname", "").rpartition(".")[2]
        ended = next((child.tag for child in case if child.tag != "system-out"), "passed")
        if file != "test_crash_matrix":
            found.append((file.removeprefix("test_"), case.get("name", ""), ended))
    return sorted(found)


def _page(
    kills: list[dict[str, Any]], others: list[tuple[str, str, str]], minutes: float
) -> list[str]:
    lines = [
        "## Killed at every boundary",
        "",
        f"{len(kills)} kills in {minutes:.0f} minutes, with all that stands below.",
        "",
        "| remediation | direction | boundaries passed | killed at | ended well |",
        "| --- | --- | --- | --- | --- |",
    ]
    killed = Counter((one["remediation"], one["direction"]) for one in kills)
    well = Counter((one["remediation"], one["direction"]) for one in kills if not one["problems"])
    among = {(one["remediation"], one["direction"]): one["among"] for one in kills}
    lines += [
        f"| {name} | {direction} | {among[name, direction]} | {many} | {well[name, direction]} |"
        for (name, direction), many in sorted(killed.items())
    ]
    lines += [
        f"\n{one['remediation']}, {one['direction']}, {one['boundary']}: {problem}"
        for one in kills
        for problem in one["problems"]
    ]
    lines += ["", "## Other calamities", "", "| where | what | ended |", "| --- | --- | --- |"]
    return lines + [f"| {file} | `{name}` | {ended} |" for file, name, ended in others]


if __name__ == "__main__":
    sys.exit(main())
