"""A server of ssh on loopback, with keys, configuration and port of its own.

Source: sshd_config(5), ssh_config(5).
"""

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from infra.sandbox.settings import HOST, choose_port
from infra.testbed.docker.debian import install
from infra.testbed.running import output_of
from tasks.guardrails.errors import PreconditionFailed

_PROGRAM = "/usr/sbin/sshd"
_UP_WITHIN_SECONDS = 60.0


@dataclass(frozen=True)
class Sshd:
    """A server of ssh that lets our user in.

    Args:
        url: Its address, as ssh://user@127.0.0.1:2222.
        folder: Its keys, and below `client` those of who may come in.
        configuration: Configuration of ssh for who may.
    """

    url: str
    folder: Path
    configuration: Path

    def configured(self, name: str, **options: str) -> Path:
        """Write another configuration of ssh.

        Args:
            name: Its name.
            options: What is otherwise in it, as IdentityFile.
        """
        given = {
            "IdentityFile": str(self.folder / "client"),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": str(self.folder / "known_hosts"),
            "GlobalKnownHostsFile": "none",
            **options,
        }
        path = self.folder / name
        path.write_text("".join(f"{option} {value}\n" for option, value in given.items()))
        return path


@contextmanager
def sshd(folder: Path) -> Iterator[Sshd]:
    """Run a server of ssh while the block runs.

    Args:
        folder: An empty folder for what is its own.

    Raises:
        PreconditionFailed: It is not installed and cannot be, or does not come up.
    """
    if not Path(_PROGRAM).exists():
        install(["openssh-server"], "a server of ssh")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it shuts itself in
    for name in ("host", "client"):
        make_key(folder / name)
    shutil.copyfile(folder / "client.pub", folder / "authorized_keys")
    port = choose_port()
    file = folder / "sshd_config"
    file.write_text(
        f"ListenAddress {HOST}:{port}\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
        "PasswordAuthentication no\nKbdInteractiveAuthentication no\nMaxStartups 100\n"
    )
    host = (folder / "host.pub").read_text()
    (folder / "known_hosts").write_text(f"[{HOST}]:{port} {host}")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [_PROGRAM, "-D", "-e", "-f", file], stdin=subprocess.DEVNULL, stderr=log
        )
    found = Sshd(f"ssh://{getpass.getuser()}@{HOST}:{port}", folder, folder / "ssh_config")
    found.configured("ssh_config")
    try:
        _await(server, port, folder / "log")
        yield found
    finally:
        server.terminate()
        server.wait()


def make_key(path: Path) -> None:
    """Make a pair of keys without a passphrase.

    Args:
        path: Where the private one lies; the public one beside it.
    """
    output_of(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path],
        expected="ssh-keygen to make a key.",
        todo="Correct what it names.",
    )


def _await(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + _UP_WITHIN_SECONDS
    while True:
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        if server.poll() is not None or time.monotonic() > deadline:
            raise PreconditionFailed(
                expected="sshd to listen.",
                found=log.read_text(errors="replace")[-800:].strip(),
                todo="Correct what it names.",
            )
        time.sleep(0.05)
