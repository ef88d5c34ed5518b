"""What the application has libraries do for it that takes most of its time."""

import re
from collections import Counter
from collections.abc import Iterator

from tasks.application.stacks import Frame, Stacks
from tasks.guardrails.plan import Finding

_MUCH = 0.3
_PYTHON = r"/lib/python3[^/]*/"
_SMALLER = "smaller answers, in pages (find_memory_growth names large ones)"
_ROWS = "fetch fewer rows or columns (find_slow_queries names the queries)"
# What is done, by the files in which it is done.
_DONE = {
    "making statements, and objects of rows (sqlalchemy)": ("^sqlalchemy/", _ROWS),
    "checking and copying data (pydantic)": ("^pydantic/", _SMALLER),
    "turning objects into what JSON can hold (fastapi)": (r"^fastapi/encoders\.py$", _SMALLER),
    "reading and writing JSON (json)": (f"{_PYTHON}json/", _SMALLER),
    "rendering templates (jinja2)": (
        "^jinja2/",
        "keep what they give, or compile them once: one Environment, not one for each request",
    ),
    "writing its log (logging)": (
        f"{_PYTHON}logging/",
        "a higher level (LOG_LEVEL), or fewer lines for a request",
    ),
    "hashing passwords (passlib, argon2)": (
        "^(passlib|argon2)/",
        "nothing: a hash is meant to cost that. Fewer logins cost less (tokens that last longer)",
    ),
}


def library_use(stacks: Stacks) -> Iterator[Finding]:
    """Name what libraries did for the application that took most of its time, and who called.

    Only what the application's own code called last counts: what called the application, as the
    server that gives it requests, did not take the time that its code took.

    Args:
        stacks: How often each stack was seen, the outermost call first.

    Yields:
        A finding for each.
    """
    looks = sum(stacks.values())
    for done, (files, advice) in _DONE.items():
        callers: Counter[Frame | None] = Counter()
        for frames, count in stacks.items():
            own = [place for place, one in enumerate(frames) if not one.library]
            below = frames[own[-1] + 1 :] if own else frames
            if any(one.library and re.search(files, one.file) for one in below):
                callers[frames[own[-1]] if own else None] += count
        if callers.total() >= max(looks * _MUCH, 1):
            caller = callers.most_common(1)[0][0]
            by = f"; called by {caller.function} ({caller.file}:{caller.line})" if caller else ""
            yield Finding(
                what=f"{callers.total() / looks:.0%} of the time went into {done}{by}.",
                how="the stacks of the flame graph; of several callers the one seen most often",
                patch=advice,
            )
