"""`make bench`: measures, and writes docs/benchmarks.md with machine, date and commit."""

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.bench import restore

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run the benchmarks and write the page."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the sandbox")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.md")
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="remedy-bench-"))
    home.chmod(0o711)  # PostgreSQL runs as nobody
    try:
        measured = restore.measure(home, given.rows)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    page = "\n".join([*head(), *restore_table(measured)])
    given.out.write_text(page + "\n")
    sys.stdout.write(page + "\n")


def head() -> list[str]:
    """Say where and when this was measured."""
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    memory = psutil.virtual_memory().total / 2**30
    return [
        "# Benchmarks",
        "",
        "Written by `make bench`. Ratios between ways measured in one run count; absolute figures",
        "are this machine's.",
        "",
        (
            f"{datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}, "
            f"{os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} "
            f"{platform.machine()}, Python {platform.python_version()}."
        ),
    ]


def restore_table(measured: dict[str, object]) -> list[str]:
    """Write both ways of restoring side by side."""
    guide, ours = measured["guide"], measured["ours"]
    assert isinstance(guide, restore.Measured)
    assert isinstance(ours, restore.Measured)
    changes = measured["changes"]
    assert isinstance(changes, dict)
    rows = [
        ("wall time", f"{guide.seconds:.1f} s", f"{ours.seconds:.1f} s"),
        ("outage", f"{guide.load.outage_seconds:.1f} s", f"{ours.load.outage_seconds:.1f} s"),
        ("failed requests", str(guide.load.failed), str(ours.load.failed)),
        ("slower than 1 s", str(guide.load.slow), str(ours.load.slow)),
        (
            "longest stall",
            f"{guide.load.longest_stall_seconds:.2f} s",
            f"{ours.load.longest_stall_seconds:.2f} s",
        ),
        (
            "acknowledged writes missing afterwards",
            str(len(guide.load.missing)),
            str(len(ours.load.missing)),
        ),
    ]
    return [
        "",
        f"## Restore of {measured['rows']:,} rows under load",
        "",
        "Guide: stop the application, `psql < backup.sql` into an emptied database, start.",
        "Ours: restore_from_backup, approved at once; its wall time holds looking, planning,",
        "loading, the proof of the copy, the comparison of both databases and the cut-over.",
        "",
        "| | guide | ours |",
        "| --- | --- | --- |",
        *(f"| {what} | {theirs} | {mine} |" for what, theirs, mine in rows),
        "",
        f"Ratio of wall times (ours / guide): {ours.seconds / guide.seconds:.2f}.",
        "",
        "| change | seconds |",
        "| --- | --- |",
        *(f"| {title} | {seconds:.1f} |" for title, seconds in changes.items()),
        "",
        f"<!-- {json.dumps({'ratio': round(ours.seconds / guide.seconds, 3)})} -->",
    ]


if __name__ == "__main__":
    main()
