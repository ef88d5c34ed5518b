"""Where a run's process is: a number that was given to a stranger later is left alone."""

import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from deployments.worker.place import Place


@pytest.fixture
def leader() -> Iterator[subprocess.Popen[bytes]]:
    """Give a process that leads a group of its own."""
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_strangers_group_is_left_alone(leader: subprocess.Popen[bytes]) -> None:
    """A process with the number and another start is not ours, nor is one of another host."""
    ours = Place.of(leader.pid)
    for stranger in (replace(ours, began="before"), replace(ours, host="elsewhere")):
        stranger.kill()
        with pytest.raises(subprocess.TimeoutExpired):
            leader.wait(0.2)
    ours.kill_group()
    assert leader.wait(60) == -9


def test_what_outlives_its_leader_is_ended() -> None:
    """The group goes also when the process that led it is gone."""
    script = "sleep 600 & echo $!; read go"
    with subprocess.Popen(
        ["/bin/sh", "-c", script],
        start_new_session=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        place = Place.of(process.pid)
        assert process.stdout is not None
        child = Place.of(int(process.stdout.readline()))
        process.kill()
        process.wait()
        assert child.process() is not None
        place.kill()
    deadline = time.monotonic() + 60
    while child.process() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
