"""A compose project of which there are only the files, as a target."""

from pathlib import Path

from infra.testbed.docker.compose_program import Compose
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget


def know_files(folder: Path, compose: Compose, project: str, **more: object) -> None:
    """Make it known as the target `files`.

    Args:
        folder: The folder with its files.
        compose: The compose program.
        project: Name of the project.
        more: Fields of the target.
    """
    fields = {
        "known_as": "files",
        "project_directory": folder,
        "project_name": project,
        "compose_files": ["compose.yml"],
        "compose_command": list(compose.command),
        "compose_environment": {
            name: value for name, value in compose.environment.items() if name == "DOCKER_CONFIG"
        },
        "url": "http://127.0.0.1:1",
        "maintenance_password": "none",
        "backups_directory": folder / "backups",
    }
    targets.give(ComposeTarget(**{**fields, **more}))
