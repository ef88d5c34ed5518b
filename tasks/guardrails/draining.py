"""Draining: a process that is to end hands its remediation over between two changes.

What it leaves stands in the ledger; whoever recovers it goes on with the next change.
"""

import signal
import threading

from prefect.exceptions import TerminationSignal

_asked = threading.Event()


def ask() -> None:
    """Ask the run of this process to end before its next change; safe in a signal handler."""
    _asked.set()


def end_here_if_asked() -> None:
    """End here where the process was asked to: nothing is half done at this place.

    Raises:
        TerminationSignal: As a SIGTERM would, which Prefect's engine knows.
    """
    if _asked.is_set():
        raise TerminationSignal(signal.SIGTERM)
