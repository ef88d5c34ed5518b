"""What an engine tells of its disk's use, and which image is built on which.

Source: Docker Engine API 1.41, "system/df"; engine 20.10 measures for one at a time.
"""

from typing import Any

import docker
import stamina
from docker.errors import APIError


def _is_busy(error: Exception) -> bool:
    """Say whether an engine only measures for somebody else: it does so for one at a time."""
    return isinstance(error, APIError) and "already running" in str(error.explanation)


@stamina.retry(on=_is_busy, attempts=None, timeout=60.0, wait_initial=0.2, wait_max=2.0)
def measure_usage(client: docker.DockerClient) -> dict[str, Any]:
    """Ask an engine what takes room on its disk.

    Args:
        client: The engine.

    Returns:
        What `docker system df` shows.
    """
    return client.api.df()


def find_bases(client: docker.DockerClient) -> dict[str, list[str]]:
    """Find the images that are built on each, as far as the engine knows.

    Args:
        client: The engine.

    Returns:
        Their names by the id of the image that they are built on.
    """
    every = {one["Id"]: one for one in client.api.images(all=True)}
    found: dict[str, list[str]] = {}
    for one in client.api.images():
        names = [tag for tag in one.get("RepoTags") or () if tag != "<none>:<none>"]
        name = names[0] if names else one["Id"].removeprefix("sha256:")[:12]
        above = one["ParentId"]
        while above:
            found.setdefault(above, []).append(name)
            above = every.get(above, {}).get("ParentId", "")
    return found
