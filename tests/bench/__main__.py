"""`make bench`: measures, and writes docs/benchmarks.md with machine, date and commit."""

import argparse
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.bench import restore

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    """Run the benchmarks and write the page."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of the sandbox")
    parser.add_argument("--rounds", type=int, default=3, help="how often each way")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "benchmarks.md")
    given = parser.parse_args()
    home = Path(tempfile.mkdtemp(prefix="remedy-bench-"))
    home.chmod(0o711)  # PostgreSQL runs as nobody
    try:
        measured = restore.measure(home, given.rows, given.rounds)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    page = "\n".join([*head(), *restore_table(measured, given.rows)])
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


def restore_table(rounds: list[restore.Round], rows: int) -> list[str]:
    """Write both ways of restoring side by side, each figure as median (least-most)."""
    figures: list[tuple[str, str, Callable[[restore.Measured], float]]] = [
        ("wall time", ".1f s", lambda one: one.seconds),
        ("outage", ".1f s", lambda one: one.load.outage_seconds),
        ("failed requests", ".0f", lambda one: one.load.failed),
        ("slower than 1 s", ".0f", lambda one: one.load.slow),
        ("longest stall", ".2f s", lambda one: one.load.longest_stall_seconds),
        ("acknowledged writes missing afterwards", ".0f", lambda one: len(one.load.missing)),
    ]
    changes: dict[str, list[float]] = {}
    for one in rounds:
        for title, seconds in one.changes.items():
            changes.setdefault(_without_ids(title), []).append(seconds)
    return [
        "",
        f"## Restore of {rows:,} rows under load",
        "",
        "Guide: stop the application, `psql < backup.sql` into an emptied database, start.",
        "Ours: restore_from_backup, approved at once; its wall time holds looking, planning,",
        "loading, the proof of the copy, the comparison of both databases and the cut-over.",
        f"{len(rounds)} rounds on one database, each way first in turn; median (least-most).",
        "",
        "| | guide | ours |",
        "| --- | --- | --- |",
        *(
            f"| {what} | {spread([of(one.guide) for one in rounds], form)} "
            f"| {spread([of(one.ours) for one in rounds], form)} |"
            for what, form, of in figures
        ),
        "",
        f"Ratio of wall times (ours / guide): {spread([one.ratio for one in rounds], '.2f')}.",
        "",
        "| change | time |",
        "| --- | --- |",
        *(f"| {title} | {spread(seconds, '.1f s')} |" for title, seconds in changes.items()),
    ]


def spread(values: Sequence[float], form: str) -> str:
    """Write a figure's median, least and most."""
    number, _, unit = form.partition(" ")
    low, middle, high = (format(of(values), number) for of in (min, statistics.median, max))
    return f"{middle}{unit and ' ' + unit} ({low}-{high})"


def _without_ids(title: str) -> str:
    """Write a change's title without what differs from run to run."""
    return re.sub(r"_(restore|before_restore|kept)_\w+", r"_\1_*", title)


if __name__ == "__main__":
    main()
