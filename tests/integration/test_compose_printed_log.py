"""What a container prints, read from a real engine."""

from contextlib import closing

import pytest
from docker.types import LogConfig

from infra.testbed.docker.engine import Engine as DockerEngine
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.compose.engine import Engine
from tasks.platforms.compose.server.printed_log import ContainerPrintedLog

IMAGE = "redis:7-alpine"
LONG = 40_000  # the engine keeps such a line in pieces
PRINTS = f"""echo before
until [ -e /tmp/go ]; do sleep 0.1; done
printf '%0{LONG}d\\n' 7
echo after
until [ -e /tmp/end ]; do sleep 0.1; done"""


@pytest.mark.parametrize("driver", ["json-file", "local", "none"])
def test_what_came_since_is_read_whole(docker_engine: DockerEngine, driver: str) -> None:
    """Long lines too, and none from before; a driver that keeps nothing is named."""
    with closing(docker_engine.client()) as client:
        made = client.containers.create(
            *(IMAGE, ["-c", PRINTS]),
            entrypoint=["sh"],
            network_mode="none",
            log_config=LogConfig(type=driver),
        )
        try:
            made.start()
            engine = Engine(docker_engine.url)
            (found,) = [one for one in engine.containers({}) if one.id == made.id]
            log = ContainerPrintedLog(engine, found)
            if driver == "none":
                with pytest.raises(PreconditionFailed, match="its logging driver is none"):
                    log.position()
                return
            while not (position := log.position()):
                pass
            assert (log.free_bytes() or 0) > 0
            made.exec_run(["touch", "/tmp/go"])  # noqa: S108 - in the container
            while b"after" not in log.read(position, 2 * LONG):
                pass
            whole = f"{7:0{LONG}d}\nafter\n"
            # The driver `local` of some engines leaves the end of a line in pieces out.
            assert log.read(position, 2 * LONG).decode() in {whole, whole.replace("\n", "", 1)}
            assert log.read(position, 6) == b"after\n"
        finally:
            made.remove(force=True)
