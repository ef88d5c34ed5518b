"""Settings of which the application says itself that they are missing."""

from tasks.containers.crash_logs import complaints
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.protocols import System

_LINES = 200


def complained_of(system: System, service: str) -> dict[str, str]:
    """Find settings of which the log of a container that does not serve says that it lacks them.

    Args:
        system: The target.
        service: The application's service; '' where it has no containers.

    Returns:
        Who says so in words, by the setting's name.

    Raises:
        Transient: The engine does not answer.
    """
    if not service:
        return {}
    try:
        containers = system.containers
    except PreconditionFailed:
        return {}
    return {
        name: f"{one.name} complains in its log"
        for one in containers.of(service)
        if not one.runs or one.health not in ("healthy", "")
        # Of every start: a container keeps the environment that it was made with.
        for complaint in complaints(containers.log(one.id, _LINES, 0))
        for name in complaint.names
    }
