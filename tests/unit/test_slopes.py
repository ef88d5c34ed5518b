"""Slopes: growth is told from a start that is over, from noise, and from one outlier."""

import math
import random

import pytest

from tasks.application.slopes import Course, Points, judge, slope

MIB = 2**20
_NOISE = random.Random(7)  # noqa: S311 - the same each time


def course(*amounts: float) -> Points:
    """Look once a second, with the noise of a real process."""
    return [
        (float(at), amount * MIB + _NOISE.uniform(-1, 1) * MIB / 4)
        for at, amount in enumerate(amounts)
    ]


@pytest.mark.parametrize(
    ("points", "expected"),
    [
        (course(*(100 for _ in range(60))), Course.STEADY),
        (course(*(100 + at for at in range(60))), Course.GROWS),
        (course(*(min(60 + 4 * at, 120) for at in range(60))), Course.WARMS_UP),
        (course(*(100 - at / 2 for at in range(60))), Course.STEADY),
        (course(*(900 if at == 55 else 100 for at in range(60))), Course.STEADY),
        (course(*(100 if at < 50 else 130 for at in range(60))), Course.WARMS_UP),
        (course(*(100 + at for at in range(12))), Course.TOO_SHORT),
        ([], Course.TOO_SHORT),
    ],
)
def test_what_becomes_of_memory(points: Points, expected: Course) -> None:
    """One outlier is no growth, nor is a step that is over."""
    assert judge(points).course is expected


def test_the_slope_lies_in_its_interval() -> None:
    """Of two MiB a second, with noise."""
    found = slope(course(*(50 + 2 * at for at in range(40))))
    assert found.low < 2 * MIB < found.high
    assert found.low <= found.middle <= found.high
    assert found.high - found.low < MIB / 10


@pytest.mark.parametrize(
    "points",
    [
        course(*(100 for _ in range(60))),
        course(*(100 - at / 2 for at in range(60))),
        course(*(min(60 + 4 * at, 120) for at in range(60))),
        course(*(100 if at < 50 else 130 for at in range(60))),
        [(float(at), 100 * MIB + at % 7 * MIB) for at in range(60)],
    ],
)
def test_what_could_have_been_seen_is_seen(points: Points) -> None:
    """With a little more growth than that it grows, with less it does not: noise is the same."""
    late = judge(points)

    def with_slope(share: float) -> Points:
        more = late.seen_from * share - late.late.middle
        return [(at, amount + more * (at - points[-1][0] / 2)) for at, amount in points]

    assert judge(with_slope(1.1)).course is Course.GROWS
    assert judge(with_slope(0.8)).course is not Course.GROWS


def test_of_too_few_looks_nothing_could_have_been_seen() -> None:
    """No growth is small enough to be told of three of them."""
    assert judge(course(100, 100, 100)).seen_from == math.inf
