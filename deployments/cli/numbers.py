"""Numbers that a person types, within bounds that everything behind them can take."""

from typing import Annotated

from cyclopts import Parameter

_MOST = 1_000_000_000


def _from_zero(_type: object, value: float) -> None:
    if not 0 <= value <= _MOST:  # no comparison holds for "nan"
        message = f"Must be from 0 to {_MOST:,}."
        raise ValueError(message)


def _above_zero(_type: object, value: float) -> None:
    _from_zero(_type, value)
    if not value:
        message = "Must be above 0."
        raise ValueError(message)


Count = Annotated[int, Parameter(validator=_from_zero)]
Seconds = Annotated[float, Parameter(validator=_from_zero)]
Rate = Annotated[float, Parameter(validator=_above_zero)]
