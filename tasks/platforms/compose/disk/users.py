"""Who uses what an engine keeps: its containers, those that do not run among them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from tasks.platforms.compose.engine import OF_PROJECT, OF_TARGET

# Whoever manages these looks after them, stopped ones too.
_MANAGED = {
    "com.docker.swarm.": "a swarm service",
    "io.kubernetes.": "a pod",
    OF_TARGET: "a remediation",
}
_RUNS = ("running", "paused", "restarting")


@dataclass
class Users:
    """The containers by what they use.

    Args:
        images: Names of containers by the id of the image.
        volumes: The same by the volume's name.
        networks: The same by the network's name.
        projects: Names of compose projects that have containers.
        labels: The labels of all of them.
        ended: When a container with the image ended last, or now while one runs, by its id.
    """

    images: dict[str, list[str]] = field(default_factory=dict)
    volumes: dict[str, list[str]] = field(default_factory=dict)
    networks: dict[str, list[str]] = field(default_factory=dict)
    projects: set[str] = field(default_factory=set)
    labels: list[Mapping[str, str]] = field(default_factory=list)
    ended: dict[str, datetime] = field(default_factory=dict)

    def add(self, seen: Mapping[str, Any]) -> None:
        """Add a container, as the engine inspects it."""
        name, labels = seen["Name"].removeprefix("/"), seen["Config"].get("Labels") or {}
        self.labels.append(labels)
        if project := labels.get(OF_PROJECT):
            self.projects.add(project)
        self.images.setdefault(seen["Image"], []).append(name)
        for mount in seen["Mounts"]:
            if mount.get("Name"):
                self.volumes.setdefault(mount["Name"], []).append(name)
        for network in seen["NetworkSettings"]["Networks"]:
            self.networks.setdefault(network, []).append(name)
        used = (
            datetime.now(UTC)
            if seen["State"]["Status"] in _RUNS
            else moment_of(seen["State"].get("FinishedAt", ""))
        )
        if used:
            known = self.ended.get(seen["Image"])
            self.ended[seen["Image"]] = max(used, known) if known else used


def reasons_of_container(seen: Mapping[str, Any]) -> tuple[str, ...]:
    """Say why a container stays; nothing for one that nobody needs.

    Args:
        seen: The container, as the engine inspects it.
    """
    labels = seen["Config"].get("Labels") or {}
    restarts = (seen["HostConfig"].get("RestartPolicy") or {}).get("Name") or "no"
    reasons = [f"it is {seen['State']['Status']}"] if seen["State"]["Status"] in _RUNS else []
    reasons += [f"compose project {labels[OF_PROJECT]}"] if labels.get(OF_PROJECT) else []
    reasons += [
        what for start, what in _MANAGED.items() if any(one.startswith(start) for one in labels)
    ]
    reasons += [f"restart policy {restarts}: it is a service"] if restarts != "no" else []
    return tuple(reasons)


def moment_of(text: object) -> datetime | None:
    """Read a time of the engine; None where it means never."""
    if isinstance(text, int):
        return datetime.fromtimestamp(text, UTC)
    if not isinstance(text, str) or not text or text.startswith("0001-"):
        return None
    read = datetime.fromisoformat(text)
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).astimezone(UTC)
