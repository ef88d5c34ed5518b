"""Numbers and times as people read them."""

from datetime import datetime

_BAR = 8  # characters of the longest bar


def counted(number: int, thing: str, things: str = "") -> str:
    """Write how many there are of something.

    Args:
        number: How many.
        thing: What, in the singular.
        things: The plural where it is not made by an s.

    Returns:
        '1 table', '2 tables', '1,000 tables'.
    """
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"


def bar(share: float) -> str:
    """Draw a share as characters, with its percentage.

    Args:
        share: From 0 to 1.
    """
    full = round(share * _BAR)
    return f"{'█' * full}{'░' * (_BAR - full)} {share:4.0%}"


def moment(when: datetime) -> str:
    """Write a time of the ledger, which is in UTC."""
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"
