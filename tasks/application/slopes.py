"""How fast something grows, by the slope that one outlier or a step does not bend.

Sources: Theil (1950); Sen, Estimates of the regression coefficient based on Kendall's tau (1968).
"""

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import NormalDist, median

Points = Sequence[tuple[float, float]]
_FEWEST = 8  # with fewer in each half, an interval says nothing
_AT_ENDS, _BY_SLOPE = 4, 0.5  # what rose without a slope was a step, and is over
_NOISE_BYTES, _NOISE_SHARE = 1 << 20, 0.01


@dataclass(frozen=True)
class Slope:
    """A slope with the interval in which it lies.

    Args:
        middle: The median of the slopes of all pairs.
        low: The lower end of the interval.
        high: The upper end.
    """

    middle: float
    low: float
    high: float


def slope(points: Points, confidence: float = 0.95) -> Slope:
    """Give the slope through points.

    Args:
        points: Two or more, each with another first value.
        confidence: Of the interval, from 0 to 1.

    Returns:
        The slope. Values that depend on one another make the interval too narrow.
    """
    slopes = sorted((b[1] - a[1]) / (b[0] - a[0]) for a, b in combinations(points, 2))
    many, pairs = len(points), len(slopes)
    spread = math.sqrt(many * (many - 1) * (2 * many + 5) / 18)
    beyond = NormalDist().inv_cdf((1 + confidence) / 2) * spread
    first = max(math.floor((pairs - beyond) / 2), 0)
    last = min(math.ceil((pairs + beyond) / 2), pairs - 1)
    return Slope(median(slopes), slopes[first], slopes[last])


class Course(enum.StrEnum):
    """What becomes of a use of memory."""

    GROWS = "grows"
    WARMS_UP = "warms up"
    STEADY = "steady"
    TOO_SHORT = "too short"


@dataclass(frozen=True)
class Judged:
    """A course, and how it is known.

    Args:
        course: What becomes of it.
        late: The slope of the second half of the time, in bytes a second.
        rise: By how much it rose in all, in bytes.
        seen_from: The smallest slope that would have been called growth, in bytes a second;
            infinite where there were too few looks for any.
    """

    course: Course
    late: Slope
    rise: float
    seen_from: float


def judge(points: Points) -> Judged:
    """Tell growth from a start that is over: who grows, grows in the second half as well.

    Args:
        points: Seconds and bytes, in the order of time.

    Returns:
        The course.
    """
    half = [one for one in points if one[0] >= (points[0][0] + points[-1][0]) / 2] if points else []
    if len(half) < _FEWEST:
        return Judged(Course.TOO_SHORT, Slope(0, 0, 0), 0, math.inf)
    whole, late = slope(points), slope(half)
    rise = whole.middle * (points[-1][0] - points[0][0])
    span = half[-1][0] - half[0][0]
    later_rise = late.middle * span
    noise = max(_NOISE_BYTES, _NOISE_SHARE * points[0][1])
    last = median(one[1] for one in half[-_AT_ENDS:])
    ends = last - median(one[1] for one in half[:_AT_ENDS])
    # More growth moves all slopes by as much: from where on each condition below would hold.
    apart = median(one[0] for one in half[-_AT_ENDS:]) - median(one[0] for one in half[:_AT_ENDS])
    past_a_step = (ends * _BY_SLOPE - later_rise) / (span - apart * _BY_SLOPE)
    seen_from = max(late.middle - late.low, noise / 2 / span, late.middle + past_a_step)
    if late.low > 0 and later_rise > max(noise / 2, ends * _BY_SLOPE):
        return Judged(Course.GROWS, late, rise, seen_from)
    rose = last - points[0][1]
    if rose > noise:
        return Judged(Course.WARMS_UP, late, rose, seen_from)
    return Judged(Course.STEADY, late, rise, seen_from)
