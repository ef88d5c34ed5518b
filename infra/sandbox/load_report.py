"""What a load saw, and how it is counted."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from pydantic import BaseModel, Field

SLOW_SECONDS = 1.0
BUCKET_SECONDS = 0.1


@dataclass(frozen=True)
class Outcome:
    """How one request went.

    Args:
        begun: When it began, in seconds of the monotonic clock.
        took: How long it took, in seconds.
        fine: Whether it was answered with success.
        answer: Method with status, or with the name of what went wrong.
    """

    begun: float
    took: float
    fine: bool
    answer: str


class LoadReport(BaseModel):
    """What a load saw from outside."""

    seconds: float = Field(description="How long requests went out.")
    requests: int = Field(description="Requests that ended.")
    failed: int = Field(description="Requests not answered with success.")
    slow: int = Field(description="Requests that took over a second, failed ones among them.")
    outage_seconds: float = Field(
        description="Total of the tenths of a second in which a request began that failed or "
        "took over a second."
    )
    longest_stall_seconds: float = Field(
        description="Longest time in which no request was answered with success."
    )
    longest_write_stall_seconds: float = Field(
        description="Longest time in which no write was answered with success."
    )
    slowest_seconds: float = Field(description="The slowest request.")
    median_seconds: float = Field(description="The median request.")
    answers: dict[str, int] = Field(description="Number of requests by method and answer.")
    acknowledged: int = Field(description="Writes that were acknowledged.")
    missing: list[str] = Field(description="Ids of rows acknowledged and not there afterwards.")
    unchecked: int = Field(description="Rows of which it could not be asked.")
    own_delay_seconds: float = Field(description="By how much the load itself was late, at worst.")


def summarize(
    outcomes: Sequence[Outcome],
    *,
    seconds: float,
    own_delay: float,
    acknowledged: int,
    missing: list[str],
    unchecked: int,
) -> LoadReport:
    """Count what a load saw.

    Args:
        outcomes: How each request went.
        seconds: How long requests went out.
        own_delay: By how much the load itself was late at worst, in seconds.
        acknowledged: Number of writes acknowledged.
        missing: Ids of rows not there afterwards.
        unchecked: Number of rows of which it could not be asked.

    Returns:
        The report.
    """
    bad = [each for each in outcomes if not each.fine or each.took > SLOW_SECONDS]
    took = sorted(each.took for each in outcomes)
    writes = [each for each in outcomes if not each.answer.startswith("GET ")]
    return LoadReport(
        seconds=round(seconds, 3),
        requests=len(outcomes),
        failed=sum(not each.fine for each in outcomes),
        slow=sum(each.took > SLOW_SECONDS for each in outcomes),
        outage_seconds=round(
            len({int(each.begun / BUCKET_SECONDS) for each in bad}) * BUCKET_SECONDS, 1
        ),
        longest_stall_seconds=_longest_stall(outcomes),
        longest_write_stall_seconds=_longest_stall(writes),
        slowest_seconds=round(took[-1] if took else 0.0, 3),
        median_seconds=round(took[len(took) // 2] if took else 0.0, 4),
        answers=dict(sorted(Counter(each.answer for each in outcomes).items())),
        acknowledged=acknowledged,
        missing=missing,
        unchecked=unchecked,
        own_delay_seconds=round(own_delay, 3),
    )


def _longest_stall(outcomes: Sequence[Outcome]) -> float:
    """Give the longest time, in seconds, in which none of them was answered with success."""
    first = min((each.begun for each in outcomes), default=0.0)
    last = max((each.begun + each.took for each in outcomes), default=0.0)
    fine = sorted(each.begun + each.took for each in outcomes if each.fine)
    return round(max((b - a for a, b in pairwise([first, *fine, last])), default=0.0), 3)
