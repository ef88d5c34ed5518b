"""What `make test` runs: all that is quick, and of what takes long a sample.

Another sample for each version of the code, as the crash matrix has it. `make thorough` runs
everything, and writes down what takes long.
"""

import hashlib
import json
from collections import defaultdict
from pathlib import Path

import pytest

from tasks.guardrails.version import code_version

SECONDS = Path(__file__).with_name("costly.json")
_LONG_SECONDS = 15.0
_ONE_IN = 3
_SAMPLED_ALREADY = "tests/faults/test_crash_matrix.py"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run have a sample, or write down what takes long."""
    group = parser.getgroup("remedy")
    group.addoption("--sample", action="store_true", help="of what takes long one in three")
    group.addoption("--write-seconds", action="store_true", help=f"write {SECONDS.name} anew")


def choose(long: list[str], version: str) -> set[str]:
    """Choose about one in three, and never none.

    Args:
        long: Tests that take long, of one file.
        version: Version of the code.
    """
    drawn = {
        name: int.from_bytes(hashlib.sha256(f"{version} {name}".encode()).digest()) for name in long
    }
    chosen = {name for name, number in drawn.items() if number % _ONE_IN == 0}
    return chosen or {min(long, key=drawn.__getitem__)}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is not in the sample."""
    if not config.getoption("--sample"):
        return
    known = json.loads(SECONDS.read_text())
    long = defaultdict(list)
    for item in items:
        if item.nodeid in known:
            long[item.nodeid.partition("::")[0]].append(item.nodeid)
    out = {name for names in long.values() for name in set(names) - choose(names, code_version())}
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid in out])
    items[:] = [item for item in items if item.nodeid not in out]


class Stopwatch:
    """Writes down what took long, where all tests of all workers are reported."""

    def __init__(self) -> None:
        """Nothing ran yet."""
        self._seconds: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note how long a test took, without the fixtures that others share."""
        if report.when == "call":
            self._seconds[report.nodeid] = report.duration

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Write the file; not of a run that was cut short, which knows a part only."""
        if exitstatus not in {pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED}:
            return
        long = {
            name: round(seconds)
            for name, seconds in sorted(self._seconds.items())
            if seconds >= _LONG_SECONDS and not name.startswith(_SAMPLED_ALREADY)
        }
        SECONDS.write_text(json.dumps(long, indent=1) + "\n")


def pytest_configure(config: pytest.Config) -> None:
    """Look at the clock where it was asked for, and only in the process that has all reports."""
    if config.getoption("--write-seconds") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Stopwatch())
