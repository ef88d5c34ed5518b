"""What a container uses: who serves in it."""

import pytest

from tasks.platforms.compose.application.used import count_workers

SERVER = ["100", "90", "uvicorn app.main:app --workers 2"]
TRACKER = ["101", "100", "python -c from multiprocessing.resource_tracker import main; main(4)"]
WORKERS = [["102", "100", "python -c spawn_main"], ["103", "100", "python -c spawn_main"]]
CHECK = [["200", "90", "sh -c curl -f http://localhost:8000/health"], ["201", "200", "curl -f"]]


@pytest.mark.parametrize(
    ("processes", "count"),
    [
        ([SERVER], 1),
        ([SERVER, TRACKER], 1),
        ([SERVER, TRACKER, *WORKERS], 2),
        ([SERVER, *WORKERS, *CHECK], 2),  # a health check runs beside it
    ],
)
def test_those_who_serve_are_counted(processes: list[list[str]], count: int) -> None:
    """A tracker serves nobody, and what is run beside the main process is none of its own."""
    assert count_workers(processes, 100) == count
