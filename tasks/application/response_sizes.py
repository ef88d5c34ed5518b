"""Answers that are too large, found in the access log: lists that nobody cuts into pages."""

import re
from collections import defaultdict
from collections.abc import Iterable
from statistics import median
from urllib.parse import parse_qsl, urlsplit

from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets

_MOST_LINES = 20_000
# "$request" $status $body_bytes_sent, as nginx's own format and most others have it.
_LINE = re.compile(r'"(?P<method>[A-Z]+) (?P<url>\S+) HTTP/[\d.]+" (?P<status>\d{3}) (?P<size>\d+)')
_ID = re.compile(
    r"/(?:\d+|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|[0-9a-fA-F]{16,}|[^/]*[%@=][^/]*)"
    r"(?=/|$)"
)
_PAGES = {"limit", "page", "per_page", "page_size", "pagesize", "size", "first", "take", "top"}
_OK = ("200", "206")
_MOST_SHOWN = 10
_PATCH = """\
-def list_records(session) -> list[Record]:
-    return session.scalars(select(Record)).all()
+Limit = Annotated[int, Query(ge=1, le=200)]
+def list_records(session, limit: Limit = 50, after: UUID | None = None) -> list[Record]:
+    rows = select(Record).order_by(Record.id).limit(limit)
+    if after is not None:
+        rows = rows.where(Record.id > after)
+    return session.scalars(rows).all()
"""


@probe
def find_large_answers(target: str, kilobytes: int) -> tuple[Finding, ...]:
    """Find requests whose answers are large and that ask for no page of them.

    Args:
        target: Name of the target.
        kilobytes: From what size on an answer is large.

    Returns:
        What the access log says; a sentence where there is none.
    """
    try:
        lines = targets.load(target).access_log.lines(_MOST_LINES)
    except PreconditionFailed as error:
        return (_unseen(error.found, error.todo),)
    sizes = by_pattern(lines)
    if not sizes:
        return (
            _unseen(
                "nginx's output has no request with the size of its answer.",
                "Have `access_log /dev/stdout;` in its configuration, and `nginx -s reload`.",
            ),
        )
    large = {pattern: found for pattern, found in sizes.items() if max(found) >= kilobytes * 1000}
    ranked = sorted(large.items(), key=lambda one: -sum(one[1]))
    seen = sum(map(len, sizes.values()))
    return (
        Finding(
            what=f"{counted(len(ranked), 'list')} gave answers of {kilobytes:,} kB or more to "
            f"requests that ask for no page of it, among {counted(seen, 'request')} that do not: "
            "each is held in memory as a whole, as rows, as objects and as JSON."
            if ranked
            else f"No answer of {kilobytes:,} kB or more was given to a request that asks for no "
            f"page, among {counted(seen, 'request')} that do not.",
            how=f"the newest {counted(len(lines), 'line')} of nginx's output; ids are folded, "
            "values of parameters are not shown",
            columns=("request", "times", "median kB", "largest kB"),
            rows=tuple(
                (
                    pattern,
                    f"{len(found):,}",
                    f"{median(found) / 1000:,.1f}",
                    f"{max(found) / 1000:,.1f}",
                )
                for pattern, found in ranked[:_MOST_SHOWN]
            ),
            patch=_PATCH if ranked else "",
        ),
    )


def by_pattern(lines: Iterable[str]) -> dict[str, list[int]]:
    """Gather the sizes of answers to requests that ask for no page.

    Args:
        lines: Lines of an access log.

    Returns:
        Bytes of each answer, by method, path with its ids folded, and names of parameters.
    """
    found: dict[str, list[int]] = defaultdict(list)
    for line in lines:
        seen = _LINE.search(line)
        if not seen or seen["method"] != "GET" or seen["status"] not in _OK:
            continue
        try:
            url = urlsplit(seen["url"])
        except ValueError:
            continue
        names = sorted({name for name, _ in parse_qsl(url.query, keep_blank_values=True)})
        if not _PAGES & {name.lower() for name in names}:
            asked = f"?{'&'.join(names)}" if names else ""
            found[f"GET {_ID.sub('/{id}', url.path)}{asked}"].append(int(seen["size"]))
    return dict(found)


def _unseen(why: str, todo: str) -> Finding:
    return Finding(what=f"Not seen: how large the answers are; {why}", how=todo)
