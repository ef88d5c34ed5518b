"""The crash matrix: a remediation is killed at each boundary that it passes, and recovered."""

import re
from collections import Counter
from dataclasses import dataclass

from tasks.guardrails.case import Case
from tasks.guardrails.holders import holders
from tasks.guardrails.verify import verify
from tests.faults.scene import KILLED, Picture, Scene

# The thread that renews a lease passes these as often as there is time: once is like twice.
_BY_TIME = ("before-renewal", "after-renewal")
# These are passed again where a claim does not hold yet, or a lock is not to be had.
_AGAIN = ("before-check:", "after-check:", "database.swap_databases:first-rename")
# What stays may have the id of the remediation that made it in its comment and its name.
_ID = re.compile(r"(?<=remedy )[a-z2-7]{10}|(?<=_)[a-z2-7]{10}(?=_\d)")


@dataclass(frozen=True)
class Reference:
    """How a remediation goes when nothing dies.

    Args:
        before: The system before it.
        after: The system after it.
        outcome: How it ended.
        boundaries: The points that it passed, in order, as `name#times`.
        done: The system where it is remediated, if it is not in this one: what was to make it
            fail is forgotten by a recovery from before it was recorded.
    """

    before: Picture
    after: Picture
    outcome: str
    boundaries: tuple[str, ...]
    done: Picture | None = None


def reference(scene: Scene, **armed: str) -> Reference:
    """Carry a remediation out without killing it, and see what it passes.

    Args:
        scene: The system.
        armed: A fault that makes it fail, so that it is undone.
    """
    with scene.broken() as run:
        before = scene.picture()
        outcome = scene.execute(run, **armed)
        after = scene.picture()
        names = scene.trace.read_text().split()
    seen: Counter[str] = Counter()
    boundaries = []
    for name in names:
        seen[name] += 1
        if name not in _BY_TIME or seen[name] == 1:
            boundaries.append(f"{name}#{seen[name]}")
    return Reference(before, after, outcome, tuple(boundaries))


def problems_of(scene: Scene, known: Reference, boundary: str, **armed: str) -> list[str]:
    """Kill a remediation at a boundary, have it recovered, and say what is not as it should be.

    Args:
        scene: The system.
        known: How it goes when nothing dies.
        boundary: Where it is killed.
        armed: A fault that makes it fail besides.

    Returns:
        Sentences; none where all is well.
    """
    with scene.broken() as run:
        ended = scene.execute(run, KILL=boundary, **armed)
        if ended != KILLED:
            again = boundary.startswith(_AGAIN) and not boundary.endswith("#1")
            if again or boundary.startswith(_BY_TIME):  # this time it did not come to that
                return judged(scene, known, ended)
            return [f"it was not killed, and ended: {ended}"]
        if not Case.read(scene.ledger, scene.runs.id_of(run)).request:
            return differences(scene.picture(), known.before)
        return judged(scene, known, scene.recover(run))


def judged(scene: Scene, known: Reference, outcome: str) -> list[str]:
    """Compare a system with how it has to be after an outcome; sentences where it is not so."""
    # An undo keeps what it takes out of use, so that it is compared with one to which nothing
    # happened, where there is one.
    goals = {"Undone": known.before, known.outcome: known.after}
    if known.done is not None:
        goals["Remediated"] = known.done
    if outcome not in goals:
        return [f"it ended: {outcome}"]
    return differences(scene.picture(), goals[outcome]) + _left_in_the_ledger(scene)


def differences(seen: Picture, expected: Picture) -> list[str]:
    """Say how a system is not as it should be."""
    found = []
    if _ID.sub("*", seen.rows.schema) != _ID.sub("*", expected.rows.schema):
        found.append("the schema differs")
    rows = set(seen.rows.rows) ^ set(expected.rows.rows)
    found += [f"rows differ: {row}" for row in sorted(rows)]
    if seen.rows.large_objects != expected.rows.large_objects:
        found.append("large objects differ")
    for sort, names in seen.around.items():
        now, then = Counter(names), Counter(expected.around[sort])
        found += [f"{sort}: left over {name}" for name in (now - then).elements()]
        found += [f"{sort}: missing {name}" for name in (then - now).elements()]
    return found


def _left_in_the_ledger(scene: Scene) -> list[str]:
    verified = verify(scene.ledger)
    held = [one for one in holders(scene.ledger) if (one.is_live and not one.is_dead) or one.stuck]
    found = [f"a lease is left: {one.sentence()} {one.stuck}" for one in held]
    return found + ([] if verified.is_sound else [verified.sentence()])
