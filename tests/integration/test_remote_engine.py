"""An engine on another machine: reached by ssh and by TLS, and told in words where it is not."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from infra.sandbox.settings import HOST
from infra.testbed.docker import engine as testbed
from infra.testbed.remote.certificates import Authority, write_folder
from infra.testbed.remote.door import open_door
from infra.testbed.remote.sshd import Sshd, make_key, sshd
from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.platforms.compose.engine import Engine
from tasks.platforms.compose.over_ssh import OverSsh
from tests.compose_fixtures import or_missing

EXPIRED = timedelta(days=-1)
NOBODY = 65534


@pytest.fixture(scope="module")
def there(docker_engine: testbed.Engine) -> Path:
    """The socket of the engine that is reached."""
    return Path(docker_engine.url.removeprefix("unix://"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Sshd]:
    """A server of ssh."""
    with ExitStack() as held:
        with or_missing():
            found = held.enter_context(sshd(tmp_path))
        yield found


@dataclass
class Doors:
    """Doors to an engine, and who may pass.

    Args:
        there: Its socket.
        folder: An empty folder.
        held: Closes them.
        authority: Who signs for both sides.
    """

    there: Path
    folder: Path
    held: ExitStack
    authority: Authority

    def open(self, *, name: str = HOST, valid: timedelta = timedelta(days=1)) -> str:
        """Open one with TLS."""
        signed = self.authority.sign("server", name, valid)
        way = open_door(HOST, self.there, self.folder, self.authority, signed)
        return f"tcp://{HOST}:{self.held.enter_context(way)}"

    def open_to_all(self) -> str:
        """Open one without."""
        way = open_door(HOST, self.there, self.folder, None, None)
        return f"tcp://{HOST}:{self.held.enter_context(way)}"

    def client(self, by: Authority | None = None, valid: timedelta = timedelta(days=1)) -> Path:
        """Give the folder of somebody who may pass."""
        signed = (by or self.authority).sign("client", "worker", valid)
        return write_folder(self.folder / "client", self.authority, signed)


@pytest.fixture
def doors(there: Path, tmp_path: Path) -> Iterator[Doors]:
    """Doors of TCP to the engine."""
    with ExitStack() as held:
        yield Doors(there, tmp_path, held, Authority("engine"))


def refusal(engine: Engine) -> RemediationError:
    """Give what is said of an engine that is not reached."""
    with pytest.raises(RemediationError) as told:
        engine.identity()

    assert engine.url in told.value.expected or "certificate" in told.value.expected
    return told.value


def test_by_ssh_and_by_tls_it_is_the_same_engine(
    doors: Doors,
    docker_engine: testbed.Engine,
    there: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Neither a bundle of authorities nor a proxy of the environment comes between."""
    own = Engine(docker_engine.url).identity()
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/ssl/certs/ca-certificates.crt")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    assert Engine(doors.open(), doors.client()).identity() == own
    keys = tmp_path / "ssh"
    keys.mkdir()
    with or_missing(), sshd(keys) as server:
        by_ssh = Engine(f"{server.url}{there}", None, server.configuration)
        assert by_ssh.identity() == own
        assert by_ssh.environment()["DOCKER_HOST"].startswith("unix://")


def test_who_answers_by_ssh_has_to_be_known(server: Sshd, there: Path) -> None:
    """A machine of which no key is known, and one whose key is another, are told apart."""
    unknown = server.configured("unknown", UserKnownHostsFile="/dev/null")
    told = refusal(Engine(f"{server.url}{there}", None, unknown))
    assert isinstance(told, PreconditionFailed)
    assert "Host key verification failed" in told.found
    assert "ssh-keygen -lf" in told.todo
    make_key(server.folder / "stranger")
    place = (server.folder / "known_hosts").read_text().split()[0]
    stranger = (server.folder / "stranger.pub").read_text()
    (server.folder / "others").write_text(f"{place} {stranger}")
    changed = server.configured("changed", UserKnownHostsFile=str(server.folder / "others"))
    told = refusal(Engine(f"{server.url}{there}", None, changed))
    assert "IDENTIFICATION HAS CHANGED" in told.found
    assert told.todo.startswith("Find out whether that machine was made anew")


def test_what_else_keeps_ssh_out_is_told(server: Sshd, there: Path) -> None:
    """A key that is let in nowhere, an engine that is not there, nobody at all."""
    make_key(server.folder / "other")
    other = server.configured("other-key", IdentityFile=str(server.folder / "other"))
    told = refusal(Engine(f"{server.url}{there}", None, other))
    assert isinstance(told, PreconditionFailed)
    assert "Permission denied (publickey" in told.found
    assert "authorized_keys" in told.todo
    told = refusal(Engine(f"{server.url}/run/no-such-docker.sock", None, server.configuration))
    assert isinstance(told, Transient)
    assert told.todo.startswith("Start the engine there")
    assert "the path of its socket" in told.todo
    with socket.socket() as mute:  # which nobody else gets meanwhile
        mute.bind((HOST, 0))
        port = mute.getsockname()[1]
        told = refusal(Engine(f"ssh://{HOST}:{port}", None, server.configuration))
    assert isinstance(told, Transient)
    assert "Connection refused" in told.found


def test_a_port_there_is_ours_alone_and_may_be_forbidden(server: Sshd) -> None:
    """Another user of this machine gets nothing through it."""
    way = OverSsh(server.url, server.configuration)
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]
        place = way.port(HOST, port)
        asked = f"exec 3<>/dev/tcp/{place[0]}/{place[1]} && head -c 9 <&3"
        theirs = subprocess.run(
            ["bash", "-c", asked], user=NOBODY, capture_output=True, check=False
        )
        assert theirs.stdout == b""
        listening.settimeout(0.5)
        with pytest.raises(TimeoutError):
            listening.accept()
        listening.settimeout(30)
        with socket.create_connection(place) as ours:
            peer, _ = listening.accept()
            with peer:
                peer.sendall(b"served")
                assert ours.recv(9) == b"served"
    keys = server.folder / "authorized_keys"
    keys.write_text(f"no-port-forwarding {keys.read_text()}")
    assert socket.create_connection(place).recv(9) == b""
    deadline = time.monotonic() + 120
    with pytest.raises(PreconditionFailed, match="prohibited") as told:  # noqa: PT012 - ssh is just ending
        while way.port(HOST, port) and time.monotonic() < deadline:
            time.sleep(0.05)
    assert "AllowTcpForwarding" in told.value.todo


def test_a_server_of_tls_that_is_not_the_right_one_is_told(doors: Doors) -> None:
    """Signed by somebody else, for another name, run out, or with no TLS at all."""
    folder = doors.client()
    told = refusal(Engine(doors.open(name="192.0.2.1"), folder))
    assert "mismatch" in told.found
    assert "a name or address that the engine's certificate has" in told.todo
    told = refusal(Engine(doors.open(valid=EXPIRED), folder))
    assert told.todo == "Renew the certificate of the engine's server."
    told = refusal(Engine(doors.open_to_all(), folder))
    assert "speaks no TLS" in told.todo
    url = doors.open()
    (folder / "ca.pem").write_bytes(Authority("engine").certificate)
    told = refusal(Engine(url, folder))
    assert isinstance(told, PreconditionFailed)
    assert "ca.pem" in told.todo


def test_a_client_of_tls_that_is_not_let_in_is_told(doors: Doors) -> None:
    """Signed by somebody else, run out, or not whole; nobody is asked for a passphrase."""
    url, folder = doors.open(), doors.client(by=Authority("somebody else"))
    told = refusal(Engine(url, folder))
    assert isinstance(told, PreconditionFailed)
    assert "--tlscacert" in told.todo
    expired = doors.authority.sign("client", "worker", EXPIRED)
    (folder / "cert.pem").write_bytes(expired.certificate)
    assert "key values mismatch" in refusal(Engine(url, folder)).found.lower()
    (folder / "key.pem").write_bytes(expired.key)
    assert f"{folder}/cert.pem was valid until" in refusal(Engine(url, folder)).found
    (folder / "key.pem").unlink()
    assert refusal(Engine(url, folder)).found == "key.pem: No such file or directory."


def test_an_engine_that_is_open_to_all_is_not_spoken_to(doors: Doors) -> None:
    """Whoever reaches it is root there, and settings would go over the wire as they are."""
    told = refusal(Engine(doors.open_to_all()))
    assert isinstance(told, PreconditionFailed)
    assert "whoever reaches that port is root there" in told.found
    assert "--tlsverify" in told.todo
