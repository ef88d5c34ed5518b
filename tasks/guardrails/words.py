"""Numbers and times as people read them."""

from datetime import datetime


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


def moment(when: datetime) -> str:
    """Write a time of the ledger, which is in UTC."""
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"
