"""The end of a worker: it takes nothing new, and leaves nothing Running."""

import shutil
import signal
import subprocess
from pathlib import Path

from tests.integration.test_worker_fixtures import ROOT, Workers, workers
from tests.waiting import until

__all__ = ["workers"]


def test_drain_waits_for_what_runs_and_takes_nothing_new(workers: Workers) -> None:
    """After SIGTERM the run at work ends by itself; a new one waits for another worker."""
    worker = workers.start()
    (workers.folder / "hold-b").touch()
    run = workers.create("held-change", target="toy")
    workers.reached("b")
    worker.send_signal(signal.SIGTERM)
    until(lambda: "waiting for 1 runs" in workers.log().read_text())
    later = workers.create("stay", name="later")
    assert worker.poll() is None
    (workers.folder / "hold-b").unlink()
    assert workers.end(run).name == "Remediated"
    assert worker.wait(180) == 0
    state = workers.read(later).state
    assert state is not None
    assert state.is_scheduled()
    workers.start()
    assert workers.end(later).is_completed()


def test_a_run_is_handed_over_between_two_changes(workers: Workers) -> None:
    """It finishes the change at work, not the next one; that is done from the ledger."""
    worker = workers.start()
    (workers.folder / "hold-a").touch()
    run = workers.create("held-change", target="toy")
    workers.reached("a")
    worker.send_signal(signal.SIGTERM)
    until(lambda: "waiting for 1 runs" in workers.log().read_text())
    (workers.folder / "hold-a").unlink()
    state = workers.end(run)
    assert state.name == "HandedOver", state
    assert worker.wait(180) == 0
    assert (workers.folder / "a").read_text() == "new a"
    assert not (workers.folder / "reached-b").exists()
    workers.start()
    assert workers.outcome(run) == "remediated"
    assert (workers.folder / "b").read_text() == "new b"


def test_what_takes_too_long_is_handed_over(workers: Workers) -> None:
    """The run ends as HandedOver, and the next worker carries it on from the ledger."""
    worker = workers.start(drain_seconds=1, grace_seconds=20)
    (workers.folder / "hold-b").touch()
    run = workers.create("held-change", target="toy")
    workers.reached("b")
    (workers.folder / "hold-fresh").touch()
    fresh = workers.create("stay", name="fresh")
    until((workers.folder / "here-fresh").exists)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(180) == 0
    state = workers.read(run).state
    assert state is not None
    assert state.name == "HandedOver", state
    assert "carried on from the ledger" in (state.message or "")
    state = workers.read(fresh).state
    assert state is not None
    assert state.name == "AwaitingRetry", state
    for name in ("b", "fresh"):
        (workers.folder / f"hold-{name}").unlink()
    workers.start()
    assert workers.outcome(run) == "remediated"
    assert (workers.folder / "b").read_text() == "new b"
    assert workers.end(fresh).is_completed()


def replace_whole(file: Path, text: str) -> None:
    """Write a file that is looked at meanwhile: it is never seen half."""
    draft = file.with_suffix(".new")
    draft.write_text(text)
    draft.replace(file)


def test_new_code_makes_the_worker_begin_anew(workers: Workers, tmp_path: Path) -> None:
    """It drains and loads the new code as the same process; unusable code it leaves alone."""
    code = tmp_path / "code"
    ignored = shutil.ignore_patterns("__pycache__")
    for package in ("flows", "tasks", "deployments", "infra", "tests"):
        shutil.copytree(ROOT / package, code / package, ignore=ignored)
    log = workers.log(0)
    with log.open("wb") as file:
        worker = subprocess.Popen(
            workers.command(),
            cwd=code,
            env={**workers.environment(0), "PYTHONPATH": str(code)},
            stdout=file,
            stderr=file,
        )
    workers.started.append(worker)
    until(lambda: "runs at once" in log.read_text())
    changed = code / "flows" / "database" / "back_up_database.py"
    good = changed.read_text()
    replace_whole(changed, good + "\nimport nothing_of_that_name\n")
    until(lambda: "cannot be used" in log.read_text())
    assert "nothing_of_that_name" in log.read_text()
    assert workers.end(workers.create("stay", name="meanwhile")).is_completed()
    replace_whole(changed, good + "\n# new\n")
    until(lambda: log.read_text().count("runs at once") == 2)
    assert worker.poll() is None
    assert workers.end(workers.create("stay", name="afterwards")).is_completed()
