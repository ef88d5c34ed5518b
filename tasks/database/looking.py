"""A thread that looks at something for as long as a block runs."""

import threading
from typing import Self


class Looking(threading.Thread):
    """Looks until its block has ended: `run` asks `ended` how long it may go on."""

    def __init__(self) -> None:
        """Look at nothing yet."""
        super().__init__(daemon=True)
        self.ended = threading.Event()

    def __enter__(self) -> Self:
        """Begin to look."""
        self.start()
        return self

    def __exit__(self, *_failure: object) -> None:
        """Stop looking."""
        self.ended.set()
        self.join()
