"""A database's image whose programs are BusyBox's, as those of Alpine are.

Source: busybox(1); where no registry answers, its applets are laid before Debian's programs.
"""

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from infra.testbed.compose.project import FILES
from infra.testbed.compose.system import ComposeSystem
from infra.testbed.docker.building import build
from infra.testbed.docker.debian import install
from tasks.guardrails.systems import pin
from tasks.platforms.compose.target import ComposeTarget
from tasks.platforms.servers import Folder
from tests.compose_fixtures import or_missing
from tests.crashing import crashing
from tests.fences import Held
from tests.waiting import until

BASE, BUSYBOX = "postgres:15-alpine", Path("/bin/busybox")
DOCKERFILE = """\
ARG BASE
FROM ${BASE}
COPY busybox /opt/busybox/busybox
RUN /opt/busybox/busybox --install -s /opt/busybox && rm /opt/busybox/setpriv
ENV PATH=/opt/busybox:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# BusyBox's own shell would take its own setpriv, which cannot give another user.
ENTRYPOINT ["/bin/sh", "/usr/local/bin/docker-entrypoint.sh"]
CMD ["postgres"]
"""


@pytest.fixture
def small(fresh_compose: ComposeSystem, home: Path) -> Iterator[ComposeTarget]:
    """The project, with such a database."""
    project, folder = fresh_compose.project, home / "image"
    if not BUSYBOX.exists():
        with or_missing():
            install(["busybox-static"], "BusyBox")
    folder.mkdir()
    shutil.copyfile(BUSYBOX, folder / "busybox")
    (folder / "busybox").chmod(0o755)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    name = f"{project.name}-image:small"
    with crashing(fresh_compose) as found:
        build(found.client, folder, name, BASE, recipe="test")
        found.add("docker-compose.small.yml", f"services:\n  db:\n    image: {name}\n")
        found.up("db")
        found.until(lambda one: one.health == "healthy", "db")
        with pin(target := ComposeTarget(**fresh_compose.target_settings()), Held(1)):
            yield ComposeTarget(**{**target.model_dump(), "compose_files": [*FILES, *found.more]})


def test_all_that_is_run_inside_is_understood(
    small: ComposeTarget, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data folder, processes, disk, ports and memory are seen; nothing of the programs is GNU's."""
    look = small.server.look()
    assert look.folder is Folder.WHOLE
    assert look.access
    assert look.access_inside
    assert look.access.user == look.access_inside.user
    assert (look.damage, look.versions, look.configuration) == ("", "", "")
    assert look.control
    assert look.control.system_identifier == small.database.identity()["system_identifier"]
    assert "postgres" in {one.name for one in look.holders}
    assert {one.name for one in look.holders} <= {"postgres", "pg_isready", "sh"}
    assert look.free_bytes
    monkeypatch.setattr(small.engine, "is_local", False)
    inside = small.database.free_bytes()
    assert inside
    assert abs(inside - look.free_bytes) < 2**30
    places, unseen = small.disks.places()
    (place,) = [one for one in places if one.what == "database"]
    assert place.inodes >= place.inodes_free
    assert not [one for one in unseen if "database" in one]
    (way,) = small.network.ways("db")
    assert 5432 in {one.port for one in way.listeners or ()}
    (use,) = small.memory.use("db")
    assert use.peak is None or use.peak > 0
    assert use.kills == 0


def test_data_is_set_aside_and_put_back_whole(
    small: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """What cannot be given another name is copied, compared, and only then taken away."""
    server = small.server
    server.stop()
    before = server.look()
    assert before.folder is Folder.WHOLE
    name = "data.remedy-small"
    server.set_folder_aside(name)
    try:
        assert server.look().folder is Folder.EMPTY
        server.set_folder_aside(name)  # killed before that was noted
    finally:
        server.put_folder_back(name)
    after = server.look()
    assert after.folder is Folder.WHOLE
    assert (after.control, after.access_inside) == (before.control, before.access_inside)
    with closing(fresh_compose.project.engine.client()) as client:
        kept = f"{fresh_compose.project.name}-{name}"
        assert client.volumes.list(filters={"name": kept}) == []
    server.start()


def test_a_command_that_takes_too_long_is_ended(small: ComposeTarget) -> None:
    """With all that it has started."""
    container = small.project.container("db")
    tried = small.trials.inside(container.id, ["sh", "-c", "sleep 977 & sleep 977"], 0.2)
    assert not tried.ended
    with small.engine.client() as client:

        def left() -> list[str]:
            shown = client.api.top(container.id, ps_args="-eo pid,args")
            return [row[-1] for row in shown["Processes"] if "sleep 977" in row[-1]]

        until(lambda: left() == [])
