"""What the sections of the page have in common: a folder to measure in, and figures in words."""

import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# What a section ends with where it was measured, and ours was not as good as it has to be.
MISSED = 3


@contextmanager
def new_home() -> Iterator[Path]:
    """Make an empty folder that PostgreSQL's user reaches; it goes afterwards."""
    home = Path(tempfile.mkdtemp(prefix="remedy-bench-"))
    home.chmod(0o711)
    try:
        yield home
    finally:
        shutil.rmtree(home, ignore_errors=True)


def write(lines: Sequence[str]) -> None:
    """Print a section, where the page is made from."""
    sys.stdout.write("\n".join(lines) + "\n")


def spread(values: Sequence[float], form: str) -> str:
    """Write a figure's median, least and most; one that was measured once, as it is."""
    number, _, unit = form.partition(" ")
    low, middle, high = (format(of(values), number) for of in (min, statistics.median, max))
    return f"{middle}{unit and ' ' + unit}" + (f" ({low}-{high})" if len(values) > 1 else "")


def quantiles(seconds: Sequence[float]) -> str:
    """Write median and 95th percentile."""
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return f"{cuts[49]:.2f} / {cuts[94]:.2f} s"
