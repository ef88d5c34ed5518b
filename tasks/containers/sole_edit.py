"""An edit of compose files that changes what it is for, and nothing beside it."""

from collections.abc import Collection

from tasks.containers.meaning import differences, meaning
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.definitions import Reading


def insist_on_sole_edit(
    before: Reading, after: Reading, service: str, what: str, keys: Collection[str]
) -> None:
    """Refuse an edit that has none of its effect, or more than that.

    Args:
        before: What compose makes of the files.
        after: What it would make of the new ones.
        service: The service that it is for.
        what: What of it, for the error.
        keys: The keys that may change with all below them, as `ports`.

    Raises:
        PreconditionFailed: Compose refuses the files, or another part of them would change.
    """
    if before.project is None or after.project is None:
        raise PreconditionFailed(
            expected=f"compose to read the files with the new {what}.",
            found=f"it refuses them: {'; '.join(after.said)}.",
            todo=f"Say the {what} of {service} in the files by hand.",
        )
    may = tuple(f"services.{service}.{key}." for key in keys)
    differ = set(differences(meaning([before.project]), meaning([after.project])))
    if not differ or not all(f"{one}.".startswith(may) for one in differ):
        raise PreconditionFailed(
            expected=f"an edit that changes the {what} of {service} alone.",
            found=f"it would change {', '.join(sorted(differ)) or 'nothing'}: the files share "
            "that part between services, or say it in another way.",
            todo=f"Say the {what} of {service} in the files by hand.",
        )
