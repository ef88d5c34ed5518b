"""What statements took, summed up by what they are without literals."""

from collections import defaultdict
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict

from tasks.database.queries.normal_text import shown, with_parameters

_HIDDEN = "<insufficient privilege>"
_CALLS = 1  # behind the time


class Query(BaseModel):
    """What one statement took, whoever ran it.

    Args:
        text: The statement without literals.
        role: Who ran it most.
        calls: How often it was run.
        seconds: Time that all runs took.
        rows: Rows that they gave or wrote; -1 where nobody counted.
        hit: Pages found in the server's cache.
        read: Pages that were not.
        spilled: Pages written to disk for sorting and hashing.
        slowest: Milliseconds that the slowest run took; 0 where nobody noted.
    """

    model_config = ConfigDict(frozen=True)

    text: str
    role: str
    calls: int
    seconds: float
    rows: int = -1
    hit: int = 0
    read: int = 0
    spilled: int = 0
    slowest: float = 0.0

    @property
    def mean(self) -> float:
        """Milliseconds that a run takes."""
        return 1000 * self.seconds / max(1, self.calls)

    @property
    def rows_each(self) -> float:
        """Rows that a run gives; -1 where nobody counted."""
        return self.rows / max(1, self.calls) if self.rows >= 0 else -1.0

    @property
    def is_hidden(self) -> bool:
        """Whether its text may not be seen."""
        return self.text == _HIDDEN


class Counted(BaseModel):
    """Everything that was counted at one moment.

    Args:
        since: Since when it counts, for people; '' where that is not known.
        evicted: How often statements were thrown out to make room for others.
        counts: Sums of each statement by role and id: ms, calls, rows, pages hit, pages
            read, pages spilled.
        texts: Text of each.
    """

    model_config = ConfigDict(frozen=True)

    since: str
    evicted: int
    counts: dict[tuple[str, str], tuple[float, ...]]
    texts: dict[tuple[str, str], str]


def queries_of(now: Counted, before: Counted | None = None, but: Iterable[str] = ()) -> list[Query]:
    """Give what was counted by statement, the one that took the most time first.

    Args:
        now: What is counted now.
        before: An earlier look: only what came since is given.
        but: Roles whose statements are left out.

    Returns:
        Statements that differ in literals, roles or the lengths of lists count as one.
    """
    left_out = set(but)
    found: dict[str, dict[str, list[float]]] = defaultdict(dict)
    whole: dict[str, str] = {}
    for key, counts in now.counts.items():
        new = _since_then(counts, before.counts.get(key) if before else None)
        if new[_CALLS] <= 0 or key[0] in left_out:
            continue
        given = now.texts[key]
        text = given if given == _HIDDEN else with_parameters(given)
        whole.setdefault(shown(text), text)
        sums = found[shown(text)].setdefault(key[0], [0.0] * len(new))
        found[shown(text)][key[0]] = [a + b for a, b in zip(sums, new, strict=True)]
    queries = [_query(whole[short], roles) for short, roles in found.items()]
    return sorted(queries, key=lambda one: one.seconds, reverse=True)


def _since_then(now: tuple[float, ...], earlier: tuple[float, ...] | None) -> tuple[float, ...]:
    # Fewer calls than before: it was reset or thrown out in between, and counted anew.
    if earlier is None or now[_CALLS] < earlier[_CALLS]:
        return now
    return tuple(a - b for a, b in zip(now, earlier, strict=True))


def _query(text: str, roles: dict[str, list[float]]) -> Query:
    columns = zip(*roles.values(), strict=True)
    time, calls, rows, hit, read, spilled = (sum(column) for column in columns)
    return Query(
        text=text,
        role=max(roles, key=lambda role: roles[role][0]),
        calls=int(calls),
        seconds=time / 1000,
        rows=int(rows),
        hit=int(hit),
        read=int(read),
        spilled=int(spilled),
    )
