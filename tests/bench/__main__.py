"""`make bench`: measures, and writes docs/benchmarks.md; each section says when and on what.

`make bench ARGS="restore --rows 100000"` measures one section and keeps the others.
"""

import os
import platform
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import psutil

from tests.bench.section import MISSED

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "benchmarks.md"
SECTIONS = {
    "restore": "Restore of",
    "upkeep": "Upkeep of",
    "compose": "A compose project",
    "scale": "Three containers",
    "worker": "Start of runs",
    "engine": "The engine's share",
    "waiting": "Runs that wait",
}
HEAD = """# Benchmarks

Written by `make bench`. Ratios between ways measured in one run count; absolute figures
are those of the machine.
"""


def main() -> None:
    """Run the benchmarks that are asked for, all by default, and write the page."""
    chosen, *more = sys.argv[1:] or [""]
    if chosen and chosen not in SECTIONS:
        sys.exit(f"expected one of {', '.join(SECTIONS)}, found {chosen!r}")
    sections, missed = kept(), False
    for name in [chosen] if chosen else SECTIONS:
        # A process for each: none measures what another left behind.
        done = subprocess.run(
            [sys.executable, "-m", f"tests.bench.{name}", *more],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode not in (0, MISSED):
            sys.exit(done.returncode)
        missed |= done.returncode == MISSED
        title, _, text = done.stdout.partition("\n")
        sections[name] = f"{title}\n\n{measured_on()}\n{text.rstrip()}\n"
        sys.stdout.write(sections[name])
        PAGE.write_text("\n".join([HEAD, *(sections[n] for n in SECTIONS if n in sections)]))
    sys.exit(MISSED if missed else 0)


def kept() -> dict[str, str]:
    """Read the sections of the page as it is."""
    text = PAGE.read_text() if PAGE.exists() else ""
    found = re.findall(r"^## .*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return {
        name: section.rstrip() + "\n"
        for name, title in SECTIONS.items()
        for section in found
        if section.startswith(f"## {title}")
    }


def measured_on() -> str:
    """Say when this was measured, of which commit and on what."""
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{measured_at(PAGE)}, {os.cpu_count()} cores, {memory:.0f} GiB, "
        f"{platform.system()} {platform.machine()}, Python {platform.python_version()}."
    )


def measured_at(page: Path) -> str:
    """Say when this was measured, and of which commit; whether more than a page differs from it."""
    commit = _git("describe", "--always")
    if _git("status", "--porcelain", "--", ".", f":!{page.relative_to(ROOT)}"):
        commit += ", changed"
    return f"{datetime.now(UTC):%Y-%m-%d}, commit {commit or 'unknown'}"


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
