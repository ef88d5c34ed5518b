"""Progress that is told beside: who watches over a statement cannot wait for Prefect."""

import threading

from tasks.guardrails.plan import Work


class Reporter:
    """Tells how far something is, in a thread of its own.

    Args:
        work: Where it is told.
    """

    def __init__(self, work: Work) -> None:
        """Have told nothing."""
        self._work = work
        self._telling: threading.Thread | None = None

    def tell(self, done: float, detail: str) -> None:
        """Tell it, unless the last report is still on its way.

        Args:
            done: Fraction from 0 to 1.
            detail: What it is at.
        """
        if self._telling is None or not self._telling.is_alive():
            report = threading.Thread(target=self._work.progress, args=(done, detail), daemon=True)
            report.start()
            self._telling = report
