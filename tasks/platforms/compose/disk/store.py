"""What the engine of a compose project keeps on its disk, and who uses it.

Source: Docker Engine API 1.41, "system/df".
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, ImageNotFound, NotFound

from tasks.guardrails.errors import Transient
from tasks.platforms.compose.disk.disks import measure_inside
from tasks.platforms.compose.disk.named import Named, read_named
from tasks.platforms.compose.disk.seen import container_of, image_of, log_of, network_of, volume_of
from tasks.platforms.compose.disk.store_changes import StoreChanges
from tasks.platforms.compose.disk.users import Users, moment_of
from tasks.platforms.compose.engine import OF_PROJECT, OF_SERVICE
from tasks.platforms.compose.project import Project
from tasks.platforms.compose.usage import find_bases, measure_usage
from tasks.platforms.disks import Kept, Kind, LogFile, Place, Stored
from tasks.platforms.local_disks import measure_place

_SERVER_ERROR = 500
_OWN_NETWORKS = {"bridge", "host", "none", "docker_gwbridge"}


class ComposeStore(StoreChanges):
    """What an engine keeps, of the project and of everybody else.

    Args:
        project: The target's compose project.
    """

    def __init__(self, project: Project) -> None:
        """Keep which; asks nothing."""
        super().__init__(project.engine)
        self._project, self.project = project, project.name

    def look(self) -> Stored:
        """Look at all of it.

        Returns:
            Every object with its size, and with who uses it.

        Raises:
            Transient: The engine does not answer.
            PreconditionFailed: The project's own compose files cannot be read.
        """
        with self._engine.client() as client:
            users, sizes = Users(), measure_usage(client)
            inspected = list(_containers(client))
            for one in inspected:
                users.add(one)
            named = read_named(self._project, users.labels)
            written = {one["Id"]: one.get("SizeRw") or 0 for one in sizes.get("Containers") or ()}
            items = [container_of(one, written.get(one["Id"], 0)) for one in inspected]
            items += self._images(client, users, named, sizes)
            alive = {*users.projects, self.project}
            volumes = [
                volume_of(one, users, is_here=self._engine.is_local)
                for one in sizes.get("Volumes") or ()
            ]
            items += [_of_project(one, named.volumes, alive) for one in volumes]
            items += [_of_project(one, named.networks, alive) for one in _networks(client, users)]
        items += [_cached(one) for one in sizes.get("BuildCache") or ()]
        return Stored(tuple(items), tuple(named.unread))

    def _images(
        self, client: docker.DockerClient, users: Users, named: Named, sizes: dict[str, Any]
    ) -> Iterator[Kept]:
        shared = {one["Id"]: max(one["SharedSize"], 0) for one in sizes.get("Images") or ()}
        by_id: dict[str, str] = {}
        for name, project in named.images.items():
            with suppress(ImageNotFound):
                by_id[str(client.images.get(name).id)] = project
        bases, place = find_bases(client), client.info()
        for known, bytes_ in shared.items():
            with suppress(ImageNotFound):  # removed meanwhile
                image = client.images.get(known).attrs
                found = image_of(image, users, self._came(place, known))
                used = list(found.used_by)
                used += [f"compose files of {by_id[known]}"] if known in by_id else []
                used += [f"it is the base of {one}" for one in bases.get(known, ())[:3]]
                of = found.labels.get(OF_PROJECT)
                if found.tags and of in {*users.projects, self.project}:
                    used.append(f"compose project {of}")
                yield replace(found, shared=bytes_, used_by=tuple(used))

    def _came(self, engine: dict[str, Any], known: str) -> datetime | None:
        """Say when an image came to the engine, by its file there: the API does not tell."""
        folder = Path(engine["DockerRootDir"]) / "image" / engine["Driver"] / "imagedb" / "content"
        file = folder / known.replace(":", "/")
        if self._engine.is_local:
            with suppress(OSError):
                return datetime.fromtimestamp(file.stat().st_mtime, UTC)
        return None

    def logs(self) -> tuple[LogFile, ...]:
        """Look at the containers' logs."""
        with self._engine.client() as client:
            found = [log_of(one, is_here=self._engine.is_local) for one in _containers(client)]
        return tuple(sorted(found, key=lambda one: -(one.size or 0)))

    def root(self) -> Place | None:
        """Measure the file system of the engine's data; None where that cannot be."""
        with self._engine.client() as client:
            folder = Path(client.info()["DockerRootDir"])
        what = "engine's data"
        found = measure_place(what, folder) if self._engine.is_local else ""
        if isinstance(found, Place):
            return found
        for one in self._engine.containers({OF_PROJECT: self.project}):
            if one.runs:  # its own file system is a layer on the engine's
                with suppress(Transient):
                    inside = measure_inside(self._engine, one, what, "/")
                    return replace(inside, path=str(folder)) if inside else None
        return None

    def find(self, kind: Kind, known: str) -> Kept | None:
        """Look at one object as it is now; None where it is gone.

        Args:
            kind: What it is.
            known: Its id.
        """
        with self._engine.client() as client, suppress(NotFound):
            if kind == "container":
                return container_of(client.api.inspect_container(known))
            users = Users()
            for one in _containers(client):
                users.add(one)
            if kind == "image":
                return image_of(client.images.get(known).attrs, users)
            if kind == "volume":
                is_here = self._engine.is_local
                return volume_of(client.api.inspect_volume(known), users, is_here=is_here)
            if kind == "network":
                return network_of(client.api.inspect_network(known), users)
        return None

    def left_of_cache(self, records: tuple[str, ...]) -> tuple[str, ...]:
        """Give those of some records of the build cache that are there and not in use."""
        with self._engine.client() as client:
            there = measure_usage(client).get("BuildCache") or ()
        return tuple(one["ID"] for one in there if one["ID"] in records and not one["InUse"])

    def can_be_pulled(self, reference: str) -> bool | None:
        """Ask the registry of an image whether it still has it; None where it does not answer.

        Args:
            reference: The image, as name@sha256:...
        """
        with self._engine.client() as client:
            try:
                client.images.get_registry_data(reference)
            except APIError as error:
                return None if (error.status_code or _SERVER_ERROR) >= _SERVER_ERROR else False
        return True

    def services(self) -> dict[str, tuple[str, ...]]:
        """Give the ids of the containers of each of the project's services."""
        found: dict[str, list[str]] = {}
        for one in self._engine.containers({OF_PROJECT: self.project, OF_SERVICE: ""}):
            found.setdefault(one.labels[OF_SERVICE], []).append(one.id)
        return {service: tuple(sorted(ids)) for service, ids in sorted(found.items())}

    def named(self) -> tuple[str, ...]:
        """Give what the project's compose files name and is there, by kind and name."""
        named = read_named(self._project, ())
        found: list[str] = []
        with self._engine.client() as client:
            looks = (
                ("image", named.images, client.images.get),
                ("volume", named.volumes, client.volumes.get),
                ("network", named.networks, client.api.inspect_network),
            )
            for kind, names, look in looks:
                for name in names:
                    with suppress(NotFound):
                        look(name)
                        found.append(f"{kind} {name}")
        return tuple(sorted(found))


def _containers(client: docker.DockerClient) -> Iterator[dict[str, Any]]:
    for one in client.api.containers(all=True):
        with suppress(NotFound):  # removed meanwhile
            yield client.api.inspect_container(one["Id"])


def _networks(client: docker.DockerClient, users: Users) -> Iterator[Kept]:
    for one in client.api.networks():
        if one["Name"] not in _OWN_NETWORKS and one["Scope"] == "local":
            with suppress(NotFound):
                yield network_of(client.api.inspect_network(one["Id"]), users)


def _of_project(one: Kept, named: dict[str, str], alive: set[str]) -> Kept:
    """Add the compose projects that a volume or network belongs to."""
    used = list(one.used_by)
    used += [f"compose files of {named[one.name]}"] if one.name in named else []
    project = one.labels.get(OF_PROJECT)
    used += [f"compose project {project}"] if project in alive else []
    return replace(one, used_by=tuple(used))


def _cached(one: dict[str, Any]) -> Kept:
    used = ["a build"] if one["InUse"] else []
    used += ["an image"] if one["Shared"] else []
    return Kept(
        kind="build cache",
        id=one["ID"],
        name=f"{one['Type']} {one['ID'][:12]}",  # its description may hold a secret of a command
        size=one["Size"],
        since=moment_of(one["CreatedAt"]),
        last_used=moment_of(one.get("LastUsedAt") or ""),
        used_by=tuple(used),
    )
