"""Watching: what users notice while a stage is carried out, measured from outside."""

import contextvars
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from tasks.guardrails import report, surface
from tasks.guardrails.acting import work_on
from tasks.guardrails.case import StageRecord
from tasks.guardrails.errors import RemediationError
from tasks.guardrails.leases import Lease
from tasks.guardrails.plan import Watch, Work
from tasks.guardrails.recording import Recorder

_EACH_SECONDS = 0.25


@contextmanager
def watched(recorder: Recorder, record: StageRecord, lease: Lease) -> Iterator[None]:
    """Ask the stage's watches while the block runs, and record what they saw.

    Args:
        recorder: The case.
        record: The stage.
        lease: The target's lease.
    """
    watchers = [_Watcher(watch, work_on(recorder, record, lease)) for watch in record.stage.watches]
    with ExitStack() as stack:
        for watcher in watchers:
            stack.enter_context(watcher.at_work())
        try:
            yield
        finally:
            stack.close()
            for watcher in watchers:
                seen = watcher.seen()
                recorder.append("watched", {"digest": record.digest, **seen})
                surface.log(f"{watcher.watch.title}: {report.watch_sentence(seen)}")


class _Watcher:
    """A thread that asks one watch."""

    def __init__(self, watch: Watch, work: Work) -> None:
        self.watch, self._work = watch, work
        self._stop = threading.Event()
        self._asked = self._failed = 0
        self._slowest = self._longest = self._outage = 0.0
        self._first = self._problem = ""

    @contextmanager
    def at_work(self) -> Iterator[None]:
        here = contextvars.copy_context()  # the target that the engine pinned
        thread = threading.Thread(target=here.run, args=(self._run,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _run(self) -> None:
        try:
            with self.watch.opened(self._work) as ask:
                served_at = time.monotonic()
                while not self._stop.is_set():
                    began = time.monotonic()
                    problem = ask()
                    now = time.monotonic()
                    self._count(problem, now - began, began - served_at)
                    if not problem:
                        served_at = now
                    self._stop.wait(max(0, _EACH_SECONDS - (now - began)))
        except RemediationError as error:
            self._problem = error.found
        except Exception as error:  # noqa: BLE001 - a watch that breaks must not break the act
            self._problem = f"{type(error).__name__}: {error}"

    def _count(self, problem: str, took: float, since_served: float) -> None:
        self._asked += 1
        self._slowest = max(self._slowest, took)
        if problem:
            self._failed += 1
            self._first = self._first or problem
            self._longest = max(self._longest, since_served + took)

    def seen(self) -> dict[str, Any]:
        return {
            "title": self.watch.title,
            "asked": self._asked,
            "failed": self._failed,
            "longest_outage_seconds": round(self._longest, 3),
            "slowest_seconds": round(self._slowest, 3),
            "first_problem": self._first,
            "problem": self._problem,
        }
