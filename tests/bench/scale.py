"""More containers of the application: the guide's command beside ours, under load."""

import argparse
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from docker.models.containers import Container
from prefect.testing.utilities import prefect_test_harness

from flows.performance.scale_application import scale_application
from infra.testbed.compose.project import FILES, OF_PROJECT, OF_SERVICE
from infra.testbed.compose.system import ComposeSystem
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.compose.inside import said_inside
from tests.bench.comparing import HEADING, Measured, figure, measured_under_load
from tests.bench.compose import project_up, remediation
from tests.bench.section import new_home, write

_REPLICAS = 3
_GUIDE = f"`docker compose up -d --scale app={_REPLICAS}`"
_NAME = re.compile(r"^    container_name: .*-app\n", re.MULTILINE)
_PORTS = re.compile(r"^    ports:\n      - .*:8000\"\n", re.MULTILINE)


@dataclass
class Way:
    """One way of doing it.

    Args:
        whose: Its name in the tables.
        what: What it is, in a line of markdown.
        does: Does it; gives what it says where it is refused.
        load: What was measured.
        there: How many containers ran at its end.
        asked: How many of them nginx had sent requests to.
        said: What it said, '' where it was carried out.
    """

    whose: str
    what: str
    does: Callable[[ComposeSystem], str]
    load: Measured = field(init=False)
    there: int = 0
    asked: int = 0
    said: str = ""


def as_it_is(system: ComposeSystem) -> str:
    """Do as the guide does."""
    try:
        system.project.run("up", "-d", "--no-build", "--scale", f"app={_REPLICAS}")
    except PreconditionFailed as error:
        return error.found.strip().splitlines()[-1].replace(system.project.name, "planner")
    return ""


def by_hand(system: ComposeSystem) -> str:
    """Do as the guide does, once what stands in its way is out of the file."""
    file = system.folder / FILES[0]
    file.write_text(_PORTS.sub("", _NAME.sub("", file.read_text())))
    return as_it_is(system)


def by_us(system: ComposeSystem) -> str:
    """Have the remediation do it."""
    remediation(scale_application, replicas=_REPLICAS, resolve="nginx")(system)
    return ""


def ways() -> list[Way]:
    """Give what is measured, in this order."""
    more = f"{_GUIDE}, `container_name` and `ports` taken out of the file before"
    return [
        Way("ours", '`scale-application`, `resolve="nginx"`', by_us),
        Way("guide", _GUIDE, as_it_is),
        Way("guide, file edited", more, by_hand),
    ]


def measure(home: Path, rows: int) -> list[Way]:
    """Measure each way on one compose project.

    Args:
        home: An empty folder.
        rows: Rows to seed.
    """
    found = ways()
    with prefect_test_harness(server_startup_timeout=150), project_up(home, rows) as system:
        for way in found:
            with _put_back(system):
                way.load = measured_under_load(system, partial(_done, way, system))
                way.there, way.asked = _count(system)
    return found


def _done(way: Way, system: ComposeSystem) -> bool:
    way.said = way.does(system)
    return True


@contextmanager
def _put_back(system: ComposeSystem) -> Iterator[None]:
    """Have one container and the files as before afterwards."""
    texts = {one: one.read_bytes() for one in system.folder.rglob("*") if one.is_file()}
    yield
    for path, text in texts.items():
        path.write_bytes(text)
    with closing(system.project.engine.client()) as client:
        for one in client.containers.list(all=True, filters={"label": _labels(system)}):
            one.remove(force=True)
    system.up()


def _labels(system: ComposeSystem) -> list[str]:
    return [f"{OF_PROJECT}={system.project.name}", f"{OF_SERVICE}=app"]


def _count(system: ComposeSystem) -> tuple[int, int]:
    """Count the containers that run, and those whose kernel knows of connections from nginx."""
    parts = reversed(system.project.address("nginx").split("."))
    nginx = "".join(f"{int(part):02X}" for part in parts)
    with closing(system.project.engine.client()) as client:
        found = client.containers.list(filters={"label": _labels(system)})
        return len(found), sum(_is_asked(one, nginx) for one in found)


def _is_asked(container: Container, nginx: str) -> bool:
    _, said = said_inside(container, ["cat", "/proc/net/tcp"])
    return any(row.split()[2].startswith(nginx) for row in said.splitlines()[1:])


def table(found: list[Way], rows: int) -> list[str]:
    """Write the ways side by side.

    Args:
        found: What `measure` gave.
        rows: Rows of the project.

    Returns:
        Lines of markdown.
    """
    lines = [
        f"## Three containers of the application, {rows:,} rows, under load",
        "",
        "From one container behind nginx, on a Docker engine; compose files as in the field, with",
        "a `container_name` and a fixed port. Ours looks, plans, proves and reports as well.",
        "",
        "| | what | containers that run | that got requests | what it said |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {one.whose} | {one.what} | {one.there} | {one.asked} | {one.said or 'done'} |"
        for one in found
    ]
    return [*lines, "", *HEADING, *(figure(one.whose, [one.load]) for one in found)]


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="rows of the project")
    rows = parser.parse_args().rows
    with new_home() as home:
        write(table(measure(home, rows), rows))


if __name__ == "__main__":
    main()
