"""Where the platform's services listen: what was chosen, or what is free."""

from collections.abc import Callable
from pathlib import Path

from deployments.services import addresses, password
from deployments.services.at_work import insist_on_rest, processes_at_work
from deployments.services.database import usable_programs
from deployments.services.environment import settings_file
from deployments.services.settings import PlatformSettings, free_port
from infra.sandbox.processes import Service
from infra.sandbox.settings import HOST

# They know where the server listens, and by which password; the server goes last.
CONCERNED = ("worker", "prefect-server")
Services = dict[str, Service]


def choose(
    home: Path, services_of: Callable[[PlatformSettings], Services], host: str
) -> PlatformSettings:
    """Choose where things listen, and keep it; what runs and listens elsewhere is stopped.

    Args:
        home: REMEDY_HOME.
        services_of: Gives the platform's services for settings.
        host: Address at which Prefect is served; '' for where it was.

    Returns:
        The settings: with other ports where somebody took ours while a service was down.

    Raises:
        PreconditionFailed: Others can read the password.
        TargetBusy: A remediation is at work, and would be stopped for another host.
    """
    path = settings_file(home)
    kept = PlatformSettings.load(path) or PlatformSettings.make(
        path, "postgresql" if usable_programs() else "sqlite"
    )
    services = services_of(kept)
    chosen = kept.model_copy(update={"host": host or kept.host})
    if chosen != kept or (chosen.is_exposed and not password.read(home)):
        insist_on_rest(processes_at_work(home))
        _stop(services)
    if chosen.is_exposed:
        password.make(home)
    listen = {
        "prefect-server": ("api_port", chosen.addresses),
        "postgresql": ("database_port", (HOST,)),
    }
    moved = {
        field: free_port()
        for name, (field, where) in listen.items()
        if name in services
        and services[name].process() is None
        and not addresses.is_free(getattr(chosen, field), where)
    }
    if moved:
        _stop(services)
    chosen = chosen.model_copy(update=moved)
    if chosen != kept:
        chosen.save(path)
    return chosen


def _stop(services: Services) -> None:
    for name in CONCERNED:
        services[name].stop()
