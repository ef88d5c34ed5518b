"""What a profile cannot show is said: containers closed to us, other machines, ends."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from infra.testbed.compose.system import ComposeSystem
from tasks.application.hot_code import limits
from tasks.application.library_use import library_use
from tasks.application.stacks import read
from tasks.platforms import py_spy
from tasks.platforms.compose.target import ComposeTarget
from tasks.platforms.local_processes import look_at
from tasks.platforms.processes import Process, Profile

ROOT = Path(__file__).parents[2]
FEW_LOOKS = 40
HERE = """
import os, sys
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.compose.target import ComposeTarget
target = ComposeTarget.model_validate_json(sys.stdin.read())
try:
    print(target.processes.here())
except PreconditionFailed as error:
    print(error)
"""
RECORD = """
import signal, sys
from tasks.platforms import py_spy
signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
from tasks.platforms.local_processes import look_at
(seen,) = py_spy.record(look_at("test", [int(sys.argv[1])]), float(sys.argv[2]), 50)
print(seen.unread or seen.stacks)
"""
# Each says when it is at work: before that there is nothing to be seen of it.
WORKS = """
import math; print('at work', flush=True)
while True:
    sum(math.sqrt(n) for n in range(20000))
"""
ENDED = """
print('at work', flush=True)
def some_words():
    while True:
        sum(range(20000))
some_words()
"""
WRITES_JSON = """
import json; print('at work', flush=True)
def big_answer():
    return json.dumps([{str(n): n} for n in range(200)], indent=1)
def serve():
    while True:
        big_answer()
serve()
"""


@contextmanager
def running(*command: str | Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Have a program run while the block does, from when it has said that it is at work."""
    with subprocess.Popen(command, stdout=subprocess.PIPE) as started:
        try:
            assert started.stdout
            assert started.stdout.readline(), "it did not start"
            yield started
        finally:
            started.kill()


def end_once_seen(program: "subprocess.Popen[bytes]") -> None:
    """End a program once a py-spy has looked at it some times, and so that it is gone.

    A py-spy waits between its looks: the kernel counts how often it gave up its processor.
    """
    while program.poll() is None:
        for one in psutil.Process().children():
            with suppress(psutil.Error):
                looks = one.num_ctx_switches().voluntary if one.name() == "py-spy" else 0
                if looks > FEW_LOOKS and str(program.pid) in one.cmdline():
                    program.kill()
                    program.wait()  # else it stays as a zombie
        time.sleep(0.02)


@contextmanager
def contained() -> Iterator[Process]:
    """Have a busy Python in a namespace of its own for processes, as in a container."""
    apart = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    with running(*apart, sys.executable, "-c", WORKS) as outer:
        (inner,) = psutil.Process(outer.pid).children()
        (found,) = look_at("test", [inner.pid])
        yield found


@pytest.mark.parametrize("lacking", ["-sys_ptrace", "-sys_admin"])
def test_a_container_that_is_closed_to_us_is_said_with_the_way(lacking: str) -> None:
    """Root without one of the rights sees nothing; it is said which, and nothing is changed."""
    with contained() as process:
        whole, without = (
            subprocess.run(
                [*before, sys.executable, "-c", RECORD, str(process.pid), "1"],
                cwd=ROOT,
                check=True,
                capture_output=True,
                text=True,
            ).stdout
            for before in ([], ["setpriv", f"--bounding-set={lacking}"])
        )
    assert "<string>:4" in whole
    assert "cap_add: [SYS_PTRACE, SYS_ADMIN]" in without, without


def test_no_one_is_left_at_a_container_when_it_is_cancelled() -> None:
    """Whoever looks is interrupted long before the end of its time: the looking ends with it."""
    with contained() as process:
        command = [sys.executable, "-c", RECORD, str(process.pid), "300"]
        looking = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        spies: list[psutil.Process] = []
        while not spies:
            assert looking.poll() is None
            with suppress(psutil.NoSuchProcess):
                below = psutil.Process(looking.pid).children(recursive=True)
                spies = [one for one in below if one.name() == "py-spy"]
        looking.terminate()
        looking.wait(60)
        _, alive = psutil.wait_procs(spies, timeout=30)
        assert not alive
        assert psutil.Process(process.pid).status() != psutil.STATUS_STOPPED


def test_numbers_of_another_machine_are_not_taken_for_processes_here(
    fresh_compose: ComposeSystem,
) -> None:
    """A worker in a container has other numbers: it is told so, and looks at nobody else."""
    target = ComposeTarget(**fresh_compose.target_settings())
    given = target.model_dump_json(context={"include_secrets": True})
    apart = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
    seen, unseen = (
        subprocess.run(
            [*before, sys.executable, "-c", HERE],
            cwd=ROOT,
            input=given,
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for before in ((), apart)
    )
    assert "Process(part=" in seen
    assert "needs `pid: host`" in unseen, unseen


def test_what_was_seen_of_one_that_ended_counts() -> None:
    """It was busy until its end; how much it used is unknown, and is not said to be nothing."""
    with running(sys.executable, "-c", ENDED) as program:
        (process,) = look_at("test", [program.pid])
        ending = threading.Thread(target=end_once_seen, args=(program,))
        ending.start()
        (seen,) = py_spy.record([process], 60, 50)
        program.kill()
        ending.join()
    assert seen.ended
    assert not seen.unread
    assert "some_words (<string>:" in seen.stacks


def test_what_a_library_did_is_told_with_who_called(tmp_path: Path) -> None:
    """By what the application called last, and not by what it was called by."""
    file = tmp_path / "main.py"
    file.write_text(WRITES_JSON)
    with running(sys.executable, file) as program:
        (seen,) = py_spy.record(look_at("test", [program.pid]), 2, 50)
    (found,) = library_use(read(seen.stacks, str(tmp_path)))
    assert re.search(
        r"reading and writing JSON \(json\); called by big_answer \(main\.py:4\)", found.what
    )


def test_a_whole_core_is_as_much_as_one_process_has() -> None:
    """Then more processes help, whatever the function; below that nothing is said."""
    stacks = "f (/app/a.py:1) 90\n"
    for cores, expected in ((0.97, 1), (0.4, 0)):
        seen = Profile(Process("app", 7, 0.0, "python"), cores, "/app", stacks, 0, "", ended=False)
        told = list(limits([seen]))
        assert len(told) == expected
        assert all("scale_application" in one.patch for one in told)
