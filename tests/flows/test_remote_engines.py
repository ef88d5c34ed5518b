"""Remediations on an engine that is reached by ssh, and on one that is reached by TLS."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread

import psutil
import pytest

from deployments.cli.capabilities import examine
from flows.database.rotate_database_password import rotate_database_password
from flows.docker.repair_crash_loop import repair_crash_loop
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.settings import choose_ports
from infra.testbed.compose.project import FILES, OF_PROJECT
from infra.testbed.compose.system import ComposeSystem
from infra.testbed.remote.certificates import Authority, write_folder
from infra.testbed.remote.door import open_door
from infra.testbed.remote.sshd import Sshd, sshd
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tests.approving import carry_out
from tests.compose_fixtures import or_missing
from tests.crashing import Crashing, crashing, ends_again
from tests.prefect_fixtures import Runs
from tests.users import log_in, under_load

BAD_PORT = "POSTGRES_PORT", "no-port-at-all"
PUBLISHED = """\
services:
  db: {{ports: ["{at}:{db}:5432"]}}
  redis: {{ports: ["{at}:{redis}:6379"]}}
  app: {{command: ["uvicorn", "app.main:app", "--host", "0.0.0.0", "--port", "8000"]}}
"""


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server of ssh on the engine's machine."""
    with or_missing(), sshd(tmp_path_factory.mktemp("sshd")) as found:
        yield found


def socket_of(system: ComposeSystem) -> Path:
    """Give the socket of a project's engine."""
    return Path(system.project.engine.url.removeprefix("unix://"))


@pytest.fixture
def by_ssh(fresh_compose: ComposeSystem, server: Sshd, home: Path) -> ComposeTarget:
    """The project on an engine elsewhere, of which nothing but ssh leads out."""
    assert home
    target = ComposeTarget(
        **{
            **fresh_compose.target_settings(),
            "engine_url": f"{server.url}{socket_of(fresh_compose)}",
            "engine_ssh_config": server.configuration,
        }
    )
    targets.give(target)
    return target


@contextmanager
def watched() -> Iterator[set[str]]:
    """Collect the command lines of whatever runs meanwhile, as any user of the machine may."""
    seen: set[str] = set()
    ended = Event()

    def watch() -> None:
        while not ended.wait(0.1):
            for one in psutil.process_iter():
                with suppress(psutil.Error):
                    seen.add(" ".join(one.cmdline()))

    thread = Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        ended.set()
        thread.join()


def lacking(system: ComposeSystem) -> set[str]:
    """Name what does not work of a target, by what `remedy target check` asks."""
    return {one.what for one in examine(system.settings.name) if one.answer != "works"}


def test_by_ssh_a_password_is_rotated_and_back(
    runs: Runs, fresh_compose: ComposeSystem, by_ssh: ComposeTarget
) -> None:
    """No request fails; what is not published is reached all the same; `ps` shows no secret."""
    assert lacking(fresh_compose) <= {"machine"}
    found = by_ssh.project.container("db")
    assert not found.ports.get("5432/tcp")
    assert by_ssh.database.place()[0] not in found.addresses.values()
    old = fresh_compose.dotenv.read_text()
    with under_load(fresh_compose), watched() as seen:
        case, state = carry_out(runs, fresh_compose, rotate_database_password)
    assert state.name == "Remediated", state.message
    new = by_ssh.application.settings()
    assert new["POSTGRES_PASSWORD"] != fresh_compose.settings.application_password
    assert log_in(fresh_compose).is_success
    assert any(one.startswith("ssh ") and str(socket_of(fresh_compose)) in one for one in seen)
    settings = fresh_compose.settings
    for secret in (
        new["POSTGRES_PASSWORD"],
        settings.application_password,
        settings.superuser_password,
        settings.secret_key,
    ):
        assert not [one for one in seen if secret in one]
    with under_load(fresh_compose):
        _, undone = carry_out(runs, fresh_compose, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert fresh_compose.dotenv.read_text() == old


def test_by_ssh_a_copy_of_the_proxys_file_is_not_taken_for_it(
    by_ssh: ComposeTarget, fresh_compose: ComposeSystem, tmp_path: Path
) -> None:
    """On another machine than the engine's the project's folder is often a copy."""
    assert all(one.replaceable for one in by_ssh.application.replicas())
    copied = tmp_path / "nginx.conf"
    copied.write_bytes((fresh_compose.folder / "nginx" / "nginx.conf").read_bytes())
    fields = {**by_ssh.model_dump(), "proxy_configuration": copied}
    elsewhere = ComposeTarget(**fields)
    assert not any(one.replaceable for one in elsewhere.application.replicas())


@contextmanager
def by_tls(project: Crashing, folder: Path) -> Iterator[ComposeTarget]:
    """Give a project on an engine behind a door of TLS, at an address that is not loopback's."""
    system = project.system
    (network,) = project.client.networks.list(
        filters={"label": f"{OF_PROJECT}={system.project.name}"}
    )
    at = network.attrs["IPAM"]["Config"][0]["Gateway"]
    db, redis, app = list(choose_ports(set()).values())[:3]
    project.set("APP_PORT", f"{at}:{app}")
    project.add("docker-compose.published.yml", PUBLISHED.format(at=at, db=db, redis=redis))
    project.up("db", "redis", "app")
    project.until(lambda one: one.health == "healthy")
    authority = Authority("engine")
    client = write_folder(folder / "client", authority, authority.sign("client", "worker"))
    server = authority.sign("server", at)
    with open_door(at, socket_of(system), folder, authority, server) as port:
        target = ComposeTarget(
            **{
                **system.target_settings(),
                "compose_files": [*FILES, *project.more],
                "engine_url": f"tcp://{at}:{port}",
                "engine_certificates": client,
            }
        )
        targets.give(target)
        yield target


def test_by_tls_settings_that_worked_come_back(
    runs: Runs, fresh_compose: ComposeSystem, home: Path
) -> None:
    """And the undo; what needs the engine's machine, or a port that is loopback's, says so."""
    folder = home / "tls"
    folder.mkdir()
    with crashing(fresh_compose) as project, by_tls(project, folder) as target:
        assert lacking(fresh_compose) <= {"machine"}
        with pytest.raises(PreconditionFailed, match="another machine"):
            _ = target.machine
        with pytest.raises(PreconditionFailed, match="they run where the engine is"):
            target.processes.here()
        _, state = carry_out(runs, fresh_compose, rotate_database_password)
        assert state.name == "Refused", state.message
        sound = project.texts()
        at = str(target.project.container("app").ports["8000/tcp"][0])
        carry_out(runs, fresh_compose, repair_crash_loop, watch_seconds=1, remember=True)
        project.set(*BAD_PORT)
        project.up("app")
        project.until(ends_again)
        broken = project.texts()
        case, state = carry_out(runs, fresh_compose, repair_crash_loop)
        assert state.name == "Remediated", state.message
        assert project.texts() == sound
        assert log_in(fresh_compose).is_success
        _, undone = carry_out(runs, fresh_compose, undo_remediation, remediation=case.id)
        assert undone.name == "Remediated", undone.message
        assert project.texts() == broken
        # The same port of the worker's machine would be somebody else's server.
        project.edit(".env", f"APP_PORT={at}", "APP_PORT=127.0.0.1")
        project.set("POSTGRES_PORT", "5432")
        project.up("app")
        with pytest.raises(PreconditionFailed, match=r"published at 127\.0\.0\.1 alone"):
            target.application.replicas()
