"""A sandbox whose database is configured otherwise for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

from infra.sandbox.services import Sandbox


@contextmanager
def configured(sandbox: Sandbox, settings: str) -> Iterator[None]:
    """Run the server with more in postgresql.conf while the block runs.

    Args:
        sandbox: The sandbox.
        settings: Lines of that file.
    """
    conf = sandbox.cluster.data / "postgresql.conf"
    before = conf.read_text()
    conf.write_text(f"{before}\n{settings}\n")
    sandbox.restart(sandbox.cluster.service.name)
    try:
        yield
    finally:
        conf.write_text(before)
        sandbox.restart(sandbox.cluster.service.name)
