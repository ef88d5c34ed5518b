"""The fields of the SandboxTarget block that stands for a sandbox."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.sandbox.accounts import PROBE, probe_account
from infra.sandbox.migrations import APPLICATION
from infra.sandbox.settings import HOST
from tasks.platforms.migration_settings import MigrationSettings

if TYPE_CHECKING:
    from infra.sandbox.services import Sandbox


def target_settings(sandbox: "Sandbox", *, limited: bool = False) -> dict[str, Any]:
    """Give the fields of a sandbox's block.

    Args:
        sandbox: The sandbox; need not be up.
        limited: Whether remediations connect as a role that is no superuser, as on a managed
            server; else as the guide does, as postgres, who may prove more (amcheck).

    Returns:
        Plain values, for `SandboxTarget(**fields)`.
    """
    settings = sandbox.settings
    database = sandbox.cluster.service.name
    user, password = settings.superuser, settings.superuser_password
    if limited:
        user, password = settings.maintenance_user, settings.maintenance_password
    return {
        "known_as": settings.name,
        "host": HOST,
        "port": settings.ports["postgresql"],
        "database_name": settings.database,
        "maintenance_user": user,
        "maintenance_password": password,
        "maintenance_database": "postgres",
        "programs": str(sandbox.cluster.programs),
        "data_directory": str(sandbox.cluster.data),
        "server_log": str(sandbox.cluster.service.log),
        "server_start_command": [*_command(sandbox, "start"), "--service", database],
        "server_stop_command": [*_command(sandbox, "stop"), "--service", database],
        "server_initialise_command": _command(sandbox, "initialise"),
        "url": sandbox.url,
        "proxy_control_url": sandbox.control_url,
        "application_directory": str(APPLICATION),
        "application_programs": str(Path(sys.executable).parent),
        "environment_file": str(sandbox.dotenv),
        "replicas": {name: f"http://{HOST}:{port}" for name, port in sandbox.upstreams.items()},
        "restart_command": [*_command(sandbox, "restart"), "--service", "{replica}"],
        "secrets_directory": str(sandbox.secrets),
        "backups_directory": str(sandbox.backups),
        "cache_host": HOST,
        "cache_port": settings.ports["valkey"],
        "cache_start_command": [*_command(sandbox, "start"), "--service", "valkey"],
        "cache_password": settings.cache_password,
        "probe_account": probe_account().model_dump(),
        "probe_secret": settings.accounts[PROBE],
        "migrations": MigrationSettings(show_database=["python", "-m", "app.db.show"]).model_dump(),
    }


def _command(sandbox: "Sandbox", verb: str) -> list[str]:
    # Named: a command of a target has not the environment that the sandbox was made in.
    programs = ["--programs", str(sandbox.cluster.programs)]
    return [sys.executable, "-m", "infra.sandbox", verb, "--home", str(sandbox.home), *programs]
