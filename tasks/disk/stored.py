"""What a Docker engine keeps on its disk, object by object, for the report."""

from collections.abc import Sequence

from tasks.disk.sizes import megabytes
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.disks import Kept

_SHOWN = 50
_KINDS = ("image", "container", "volume", "build cache")
_PLURAL = {"build cache": "records of the build cache"}


@probe
def measure_engine(target: str) -> tuple[tuple[Finding, ...], dict[str, int]]:
    """Measure what the engine keeps: images, containers, volumes, build cache.

    Args:
        target: Name of the target.

    Returns:
        Findings with every object, its size and who uses it, and bytes by kind. Without an
        engine one that says so.
    """
    try:
        store = targets.load(target).engine_store
    except PreconditionFailed as error:
        return (Finding(what=f"There is no Docker engine: {error.found}", how=error.expected),), {}
    seen = store.look()
    sizes = {_plural(kind): _size(kind, seen.items) for kind in _KINDS}
    findings = [_of_kind(kind, [one for one in seen.items if one.kind == kind]) for kind in _KINDS]
    unread = (Finding(what=one, how="the labels of its containers") for one in seen.unread)
    return (*findings, *unread), sizes


def _plural(kind: str) -> str:
    return _PLURAL.get(kind, f"{kind}s")


def _size(kind: str, items: Sequence[Kept]) -> int:
    """Add up a kind; what several have in common once, as far as the engine tells."""
    found = [one for one in items if one.kind == kind]
    return sum(one.own for one in found) + max((one.shared for one in found), default=0)


def _of_kind(kind: str, items: Sequence[Kept]) -> Finding:
    unused = [one for one in items if not one.used_by]
    own = sum(one.own for one in unused)
    ranked = sorted(items, key=lambda one: (-one.own, one.name))
    return Finding(
        what=f"{counted(len(items), kind, _plural(kind))}: {len(unused) or 'none'} used by nobody, "
        f"{megabytes(own)} MB theirs alone.",
        how="the engine's `system df`, its containers, and the compose files of their projects",
        columns=("name", "MB", "of it shared", "since", "last use", "used by") if items else (),
        rows=tuple(_row(one) for one in ranked[:_SHOWN]),
        patch="clean_up_docker" if unused else "",
    )


def _row(one: Kept) -> tuple[str, ...]:
    since, used = (f"{at:%Y-%m-%d %H:%M}" if at else "unknown" for at in (one.since, one.last_used))
    users = ", ".join(one.used_by[:3]) or "nobody"
    return one.name, megabytes(one.size), megabytes(one.shared), since, used, users
