"""Things on an engine that a test makes and labels as its own, and that it alone removes."""

import io
import json
import os
import tarfile
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container
from docker.models.images import Image
from docker.models.networks import Network
from docker.models.volumes import Volume
from docker.types import IPAMConfig

from tasks.guardrails.ledger import Ledger
from tasks.platforms.compose.usage import measure_usage

LABEL = "remedy.test.leftover"
_BUILT_FOR = "remedy.built-for"
_AROUND = 20_000  # bytes of a build's context besides its file


class Leftovers:
    """What a test leaves lying about on an engine.

    Args:
        client: The engine.
    """

    def __init__(self, client: docker.DockerClient) -> None:
        """Choose a label that nobody else has."""
        self.client, self.mark = client, f"{os.getpid()}-{uuid4().hex[:8]}"
        self.label, self._labels = f"{LABEL}={self.mark}", {LABEL: self.mark}
        self._numbers = count(1)

    def image(self, tag: str = "", size: int = 1000, **labels: str) -> Image:
        """Build an image of nothing but a file that compresses badly; untagged by default."""
        built, _ = self.client.images.build(
            fileobj=self._context(size, **labels),
            custom_context=True,
            tag=tag or None,
            rm=True,
            forcerm=True,
        )
        return built

    def of_long_ago(self, tag: str = "") -> Image:
        """Load an image that somebody made in 2020; it is here since now."""
        layer = _packed({"file": os.urandom(1000)})
        config = {
            "created": "2020-01-01T00:00:00Z",
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": self._labels},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer).hexdigest()}"]},
        }
        entry = {"Config": "config.json", "RepoTags": [tag] if tag else [], "Layers": ["layer.tar"]}
        files = {"layer.tar": layer, "config.json": json.dumps(config).encode()}
        files["manifest.json"] = json.dumps([entry]).encode()
        (image,) = self.client.images.load(_packed(files))
        return image

    def age(self, image: Image) -> None:
        """Have an image be on the engine since 2020: its file there is as old."""
        engine = self.client.info()
        folder = Path(engine["DockerRootDir"]) / "image" / engine["Driver"] / "imagedb" / "content"
        then = datetime(2020, 1, 1, tzinfo=UTC).timestamp()
        os.utime(folder / str(image.id).replace(":", "/"), (then, then))

    def cached(self, size: int) -> tuple[str, ...]:
        """Build an image by BuildKit, and give the records that are in its cache by that."""
        before = {one["ID"] for one in measure_usage(self.client).get("BuildCache") or ()}
        api = self.client.api
        answer = api.post(
            f"{api.base_url}/v{api.api_version}/build",
            params={"version": "2"},
            data=self._context(size),
            headers={"Content-Type": "application/x-tar"},
        )
        answer.raise_for_status()
        # Records have no labels: ours are those of its size that were not there.
        return tuple(
            one["ID"]
            for one in measure_usage(self.client).get("BuildCache") or ()
            if one["ID"] not in before and 0 <= one["Size"] - size < _AROUND
        )

    def _context(self, size: int, **labels: str) -> io.BytesIO:
        content = os.urandom(size)
        told = {**self._labels, **labels}
        lines = ["FROM scratch", "COPY file /", 'CMD ["/file"]']
        lines += [f'LABEL {name}="{value}"' for name, value in told.items()]
        return io.BytesIO(_packed({"file": content, "Dockerfile": "\n".join(lines).encode()}))

    def pushed(self, registry: str, size: int = 1000) -> Image:
        """Build an image that a registry has as well."""
        name = f"{registry}/leftover-{next(self._numbers)}"
        image = self.image(f"{name}:1", size)
        self.client.images.push(name, "1")
        image.reload()
        assert image.attrs["RepoDigests"], "it was not pushed"
        return image

    def volume(self, name: str = "", **labels: str) -> Volume:
        """Make a volume, without a name by default."""
        return self.client.volumes.create(name or None, labels={**self._labels, **labels})

    def network(self, ipam: IPAMConfig | None = None, **labels: str) -> Network:
        """Make a network, with addresses that the engine gives by default."""
        name = f"leftover-{self.mark}-{next(self._numbers)}"
        return self.client.networks.create(name, ipam=ipam, labels={**self._labels, **labels})

    def container(self, image: Image, **given: Any) -> Container:  # noqa: ANN401 - as docker takes
        """Make a container that was never started."""
        given.setdefault("network_mode", "none")
        labels = {**self._labels, **given.pop("labels", {})}
        return self.client.containers.create(image.id or "", labels=labels, **given)

    def there(self) -> set[str]:
        """Name what there is of it: images by id, and everything else by its own."""
        mine: dict[str, Any] = {"label": self.label}
        return {
            *(str(one.id) for one in self.client.images.list(filters=mine)),
            *(str(one.id) for one in self.client.containers.list(all=True, filters=mine)),
            *(str(one.name) for one in self.client.volumes.list(filters=mine)),
            *(str(one.name) for one in self.client.networks.list(filters=mine)),
        }

    def clear(self) -> None:
        """Remove what is left of it, and nothing else."""
        mine: dict[str, Any] = {"label": self.label}
        for container in self.client.containers.list(all=True, filters=mine):
            container.remove(force=True)
        for network in self.client.networks.list(filters=mine):
            network.remove()
        for volume in self.client.volumes.list(filters=mine):
            volume.remove()
        for image in self.client.images.list(filters=mine):
            with suppress(NotFound, APIError):  # the engine takes its parents along
                self.client.images.remove(str(image.id), force=True)


def built_for_ours(client: docker.DockerClient, **filters: bool) -> set[str]:
    """Name the images that the remediations of this test's ledger have built for themselves.

    Args:
        client: The engine, on which other tests' remediations build as well.
        filters: What else is so of them, as the engine has it.
    """
    ours = {entry.remediation for entry in Ledger().entries()}
    found = client.api.images(all=True, filters={"label": _BUILT_FOR, **filters})
    return {one["Id"] for one in found if one["Labels"][_BUILT_FOR] in ours}


def _packed(files: dict[str, bytes]) -> bytes:
    """Pack files into an archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return packed.getvalue()
