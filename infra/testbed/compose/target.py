"""The fields of the ComposeTarget block that stands for a compose project of a test."""

from typing import TYPE_CHECKING, Any

from infra.sandbox.accounts import PROBE, probe_account
from tasks.platforms.migration_settings import MigrationSettings

if TYPE_CHECKING:
    from infra.testbed.compose.system import ComposeSystem


def target_settings(system: "ComposeSystem", *, limited: bool = False) -> dict[str, Any]:
    """Give the fields of a project's block.

    Args:
        system: The project; need not be up.
        limited: Whether remediations connect as a role that is no superuser.

    Returns:
        Plain values, for `ComposeTarget(**fields)`.
    """
    settings = system.settings
    project = system.project
    user, password = settings.superuser, settings.superuser_password
    if limited:
        user, password = settings.maintenance_user, settings.maintenance_password
    return {
        "known_as": settings.name,
        "project_directory": str(project.folder),
        "project_name": project.name,
        "compose_files": ["docker-compose.yml", "docker-compose.prod.yml"],
        "profiles": ["with-nginx"],
        "compose_command": list(project.compose.command),
        "compose_environment": {
            name: value
            for name, value in project.compose.environment.items()
            if name == "DOCKER_CONFIG"
        },
        "engine_url": project.engine.url,
        "url": system.url,
        "database_name": settings.database,
        "maintenance_user": user,
        "maintenance_password": password,
        "secrets_directory": str(system.secrets),
        "backups_directory": str(system.backups),
        "cache_password": settings.cache_password,
        "probe_account": probe_account().model_dump(),
        "probe_secret": settings.accounts[PROBE],
        "migrations": MigrationSettings(show_database=["python", "-m", "app.db.show"]).model_dump(),
    }
