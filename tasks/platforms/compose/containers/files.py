"""Files as a container sees them, read through its engine."""

import io
import tarfile

from tasks.platforms.compose.engine import Engine, Found


def read_in_container(engine: Engine, container: Found, path: str) -> bytes:
    """Read a file of a container, whether that runs or not.

    Args:
        engine: Where it is.
        container: The container.
        path: Its path inside.

    Returns:
        What is in it; nothing where it is no file.

    Raises:
        PreconditionFailed: There is none.
        Transient: The engine does not answer.
    """
    with engine.client() as client:
        parts, _ = client.containers.get(container.id).get_archive(path)
        packed = io.BytesIO(b"".join(parts))
    with tarfile.open(fileobj=packed) as archive:
        inside = archive.extractfile(archive.next() or tarfile.TarInfo())
        return inside.read() if inside else b""
