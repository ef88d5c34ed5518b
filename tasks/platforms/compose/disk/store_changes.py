"""Removing what an engine keeps, never by force, and giving it back."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import docker
import zstandard
from docker.errors import APIError, ImageNotFound, NotFound

from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.compose.engine import Engine
from tasks.platforms.disks import Kind

_CHUNK = 1 << 20
_RECORDS = 200  # of the build cache at once: they go into a URL
_CONFLICT = 409


class StoreChanges:
    """What is changed on an engine's disk.

    Args:
        engine: The engine.
    """

    def __init__(self, engine: Engine) -> None:
        """Keep which; asks nothing."""
        self._engine = engine

    def remove(self, kind: Kind, known: str, names: tuple[str, ...] = ()) -> None:
        """Remove an object, never by force; gone is fine.

        Args:
            kind: What it is.
            known: Its id.
            names: The tags of an image: one that is another's by now stays.

        Raises:
            PreconditionFailed: The engine refuses, as it is in use.
        """
        insist_on_fence()
        with self._engine.client() as client, suppress(NotFound), _refusals(kind, known):
            if kind == "container":
                client.api.remove_container(known, v=False, force=False)
            elif kind == "volume":
                client.api.remove_volume(known, force=False)
            elif kind == "network":
                client.api.remove_network(known)
            elif kind == "image":
                for name in names:
                    insist_on_fence()
                    with suppress(ImageNotFound):
                        if client.images.get(name).id == known:
                            client.api.remove_image(name)
                            faults.point("engine.remove_image:untagged")
                if not client.images.get(known).tags:  # else somebody has tagged it since
                    client.api.remove_image(known)

    def remove_cache(self, records: tuple[str, ...]) -> None:
        """Remove records of the build cache.

        Args:
            records: Their ids.
        """
        insist_on_fence()
        with self._engine.client() as client:
            for start in range(0, len(records), _RECORDS):
                some = "|".join(records[start : start + _RECORDS])
                # The stubs know two of the engine's filters.
                filters: Any = {"id": f"^({some})$"}
                client.api.prune_builds(filters=filters, all=True)

    def pull(self, reference: str, known: str, tags: tuple[str, ...]) -> None:
        """Pull an image again, and give it its tags.

        Args:
            reference: What it is pulled by, as name@sha256:...
            known: Its id.
            tags: Its tags; one that is another's by now stays there.

        Raises:
            PreconditionFailed: The registry gives none or another one.
        """
        insist_on_fence()
        with self._engine.client() as client:
            with suppress(ImageNotFound):
                client.images.pull(reference)
            _tag(client, known, tags, f"the registry of {reference}")

    def save(self, known: str, file: Path) -> None:
        """Save an image into a file, packed, whole or not at all.

        Args:
            known: Its id.
            file: The file; nobody else may read it, as an image may hold secrets.

        Raises:
            PreconditionFailed: It cannot be written.
        """
        insist_on_fence()
        draft = file.with_name(f"{file.name}.new")
        try:
            draft.unlink(missing_ok=True)
            number = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with (
                os.fdopen(number, "wb") as out,
                zstandard.ZstdCompressor().stream_writer(out, closefd=False) as packed,
                self._engine.client() as client,
            ):
                for chunk in client.api.get_image(known, chunk_size=_CHUNK):
                    packed.write(chunk)
                    faults.point("engine.save_image:written")
                packed.flush(zstandard.FLUSH_FRAME)
                out.flush()
                os.fsync(number)
            draft.rename(file)
        except OSError as error:
            draft.unlink(missing_ok=True)
            raise PreconditionFailed(
                expected=f"to save an image into {file}.",
                found=f"{error.strerror or error}.",
                state="The image is where it was.",
                todo="Give a folder with room that we may write to, or leave such images out.",
            ) from error

    def load(self, file: Path, known: str, tags: tuple[str, ...]) -> None:
        """Load an image from such a file, and give it its tags.

        Args:
            file: The file.
            known: The image's id.
            tags: Its tags; one that is another's by now stays there.

        Raises:
            PreconditionFailed: The file is not there, or holds another image.
        """
        insist_on_fence()
        with self._engine.client() as client:
            if file.exists():
                client.images.load(
                    _unpacked(file)  # type: ignore[arg-type] # requests takes an iterator
                )
            _tag(client, known, tags, f"{file}")

    def make(self, kind: Kind, known: str, made: str) -> None:
        """Make a volume or network anew; there already is fine.

        Args:
            kind: Which of both.
            known: Its name.
            made: What it is made from, as it was seen.
        """
        insist_on_fence()
        given = json.loads(made)
        with self._engine.client() as client:
            if kind == "volume":
                client.api.create_volume(known, **given)
            elif not client.api.networks(names=[f"^{known}$"]):
                client.api.create_network(known, check_duplicate=True, **given)


@contextmanager
def _refusals(kind: Kind, known: str) -> Iterator[None]:
    """Tell an engine that refuses as it is: trying again serves nothing."""
    try:
        yield
    except APIError as error:
        if error.status_code != _CONFLICT:
            raise
        raise PreconditionFailed(
            expected=f"{kind} {known} to be used by nobody.",
            found=f"{error.explanation}.",
            state="It is where it was.",
            todo="Plan anew: somebody has begun to use it.",
        ) from error


def _tag(client: docker.DockerClient, known: str, tags: tuple[str, ...], source: str) -> None:
    try:
        image = client.images.get(known)
    except ImageNotFound as error:
        raise PreconditionFailed(
            expected=f"{source} to give image {known}.",
            found="it does not.",
            state="The image is not there.",
            todo="Build or pull it by hand.",
        ) from error
    for tag in tags:
        try:
            taken = str(client.images.get(tag).id)
        except ImageNotFound:
            taken = ""
        if not taken:
            name, _, version = tag.rpartition(":")
            if not image.tag(name, version):
                raise Transient(
                    expected=f"the engine to give {known} the tag {tag}.",
                    found="it did not.",
                    state="The image is there without that tag.",
                    todo=f"Give it by hand: docker tag {known} {tag}",
                )


def _unpacked(file: Path) -> Iterator[bytes]:
    with file.open("rb") as packed, zstandard.ZstdDecompressor().stream_reader(packed) as reader:
        while chunk := reader.read(_CHUNK):
            yield chunk
