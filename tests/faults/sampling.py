"""A sample of the attacks each time, another one for each version of the code; or all of them.

REMEDY_FAULTS says how many: 'all', or a number at which a sample of boundaries begins; with
either, every remediation is attacked in every direction.
"""

import os
import random
from collections.abc import Sequence
from typing import TypeVar

from tasks.guardrails.version import code_version

T = TypeVar("T")
GIVEN = os.environ.get("REMEDY_FAULTS", "")
ALL = GIVEN == "all"


def sample(among: Sequence[T], many: int) -> list[T]:
    """Choose some, in their order; all of them where REMEDY_FAULTS=all.

    Args:
        among: What there is.
        many: How many are chosen at least.
    """
    many = max(many, int(GIVEN) if GIVEN.isdigit() else 0)
    if ALL or many >= len(among):
        return list(among)
    choice = random.Random(code_version())  # noqa: S311 - nothing is kept secret by it
    return [among[index] for index in sorted(choice.sample(range(len(among)), many))]
