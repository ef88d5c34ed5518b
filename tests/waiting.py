"""Waiting for what comes at a time of its own."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE_SECONDS = 180.0


def until(what: Callable[[], Any], seconds: float = PATIENCE_SECONDS) -> Any:  # noqa: ANN401 - whatever it gives
    """Ask again until there is an answer, and give it.

    Args:
        what: What is asked.
        seconds: After which the test fails: long enough for a busy machine.
    """
    give_up = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < give_up, f"waited {seconds:g} s in vain"
        time.sleep(0.02)
    return found
