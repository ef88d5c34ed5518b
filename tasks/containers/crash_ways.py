"""The ways back of a service that does not stay up: what it worked with, and what differs now."""

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.containers.last_sound import Known, find_known
from tasks.containers.standing import Standing
from tasks.guardrails.plan import Finding
from tasks.platforms.containers import Image
from tasks.platforms.protocols import System


@dataclass(frozen=True)
class Ways:
    """The ways back that there are.

    Args:
        settings: With what settings it worked, and which of them differ now.
        image: With what image it worked, where it is another one than now.
        stale: Settings that the files say otherwise than its containers were made with.
        findings: What is known, as the plan shows it.
    """

    settings: tuple[Known, tuple[str, ...]] | None
    image: tuple[Known, Image] | None
    stale: tuple[str, ...]
    findings: tuple[Finding, ...]


def find_ways(system: System, service: str, standing: Standing) -> Ways:
    """Find what a service is known to have worked with, and what of it differs now.

    Args:
        system: The target.
        service: The service.
        standing: How its containers stand.
    """
    known, engine = find_known(system, service, standing), system.containers
    now, broken = system.application.settings(), {one.image for one in standing.broken}
    of_settings = next((one for one in known if one.settings is not None), None)
    differing: tuple[str, ...] = ()
    if of_settings is not None and of_settings.settings is not None:
        was = of_settings.settings
        differing = tuple(name for name in sorted(now) if name in was and was[name] != now[name])
    others = [one for one in known if one.image not in broken]
    there = next(((one, it) for one in others if (it := engine.image(one.image))), None)
    rows = [*_rows(of_settings, differing), *_image_rows(known, others, there, broken)]
    finding = Finding(
        what="What is known of when it worked:"
        if rows
        else "With what it worked last is not known: there is no record of ours that can be "
        "read, no older container, and the engine's events (the last 256) do not reach back to "
        "when it was healthy. Run with `remember` while it is sound, and it is known next time.",
        how="the target's secrets, the engine's containers, events and images",
        columns=("what", "then and now", "known because") if rows else (),
        rows=tuple(rows),
    )
    settings = (of_settings, differing) if of_settings and differing else None
    made = [one.environment for one in standing.broken]
    stale = tuple(
        name for name, value in sorted(now.items()) if any(one.get(name) != value for one in made)
    )
    return Ways(settings, there, stale, (finding,))


def _rows(known: Known | None, differing: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    if known is not None:
        said = f"differ now: {', '.join(differing)}" if differing else "the same now"
        yield "settings", said, known.how


def _image_rows(
    known: list[Known],
    others: list[Known],
    there: tuple[Known, Image] | None,
    broken: set[str],
) -> Iterator[tuple[str, str, str]]:
    if there:
        one, image = there
        name = ", ".join(image.names) or "without a name"
        said = f"{image.id[:19]} ({name}), built {image.created[:19]}: another one now"
        yield "image", said, one.how
    elif others:
        said = f"{others[0].image[:19]}: no longer on the engine"
        yield "image", said, others[0].how
    elif same := next((one for one in known if one.image in broken), None):
        yield "image", f"{same.image[:19]}: the same now", same.how
