"""The way to a Docker engine: a socket of this machine, ssh, or TLS with certificates of both.

Sources: docs.docker.com/engine/security/protect-access; requests' Session (`trust_env`).
"""

import os
from pathlib import Path

import docker
from docker.tls import TLSConfig

from tasks.platforms.compose.engine_words import AUTHORITY, PAIR, open_to_all, require_certificates
from tasks.platforms.compose.over_ssh import OverSsh, over_ssh

_SECONDS = 60
_OLDEST_API = "1.41"  # until the engine has said which it speaks


class WayToEngine:
    """How an engine is reached.

    Args:
        url: Its address: unix://, ssh:// or tcp://.
        certificates: Folder of ca.pem, cert.pem and key.pem for tcp://.
        ssh_configuration: Configuration file of ssh for ssh://; our user's where not given.
    """

    def __init__(self, url: str, certificates: Path | None, ssh_configuration: Path | None) -> None:
        """Keep the address; connects to nothing."""
        self._url, self._certificates = url, certificates
        self._ssh_configuration = ssh_configuration

    @property
    def ssh(self) -> OverSsh | None:
        """The way by ssh; None where it is another."""
        if self._url.startswith("ssh://"):
            return over_ssh(self._url, self._ssh_configuration, os.getpid())
        return None

    def environment(self) -> dict[str, str]:
        """Give the variables by which docker's own programs reach it.

        Raises:
            PreconditionFailed: It is open to everybody, or our certificate for it is none.
        """
        if self.ssh:
            return {"DOCKER_HOST": self.ssh.engine()}
        if self._url.startswith("unix://"):
            return {"DOCKER_HOST": self._url}
        if self._certificates is None:
            raise open_to_all(f"the engine at {self._url}")
        require_certificates(self._certificates, f"the engine at {self._url}")
        given = {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(self._certificates)}
        return {"DOCKER_HOST": self._url, **given}

    def connect(self) -> docker.DockerClient:
        """Give a client that speaks as the engine does; by ssh the one of our process.

        Raises:
            PreconditionFailed: It is open to everybody, or our certificate for it is none.
        """
        if (ssh := self.ssh) and ssh.client:
            return ssh.client
        asked = self._client(_OLDEST_API).api.version(api_version=False)
        made = self._client(str(asked["ApiVersion"]))
        if ssh:
            ssh.client = made
        return made

    def _client(self, version: str) -> docker.DockerClient:
        url = self.environment()["DOCKER_HOST"]
        tls: TLSConfig | bool = False
        if url.startswith("tcp://") and (folder := self._certificates):
            certificate, key = (str(folder / name) for name in PAIR)
            authority = str(folder / AUTHORITY)
            tls = TLSConfig(client_cert=(certificate, key), ca_cert=authority, verify=True)
        made = docker.DockerClient(base_url=url, tls=tls, timeout=_SECONDS, version=version)
        # Else REQUESTS_CA_BUNDLE would go before ca.pem, and a proxy would stand between.
        made.api.trust_env = False
        return made
