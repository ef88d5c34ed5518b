"""What a sandbox is: its ports and passwords, made once and kept in its home."""

import json
import os
import random
import secrets
import socket
import sys
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field

# Below the range from which Linux gives ports to outgoing connections (32768 and up), so that
# a port is still free after a restart.
FIRST_PORT, LAST_PORT = 20000, 32000
SERVICES = ("postgresql", "valkey", "application-1", "application-2", "proxy", "proxy-control")
HOST = "127.0.0.1"
ProxyKind = Literal["own", "nginx"]


def _secret() -> str:
    return secrets.token_urlsafe(18)  # URL-safe: Planner puts its URL together without escaping


class SandboxSettings(BaseModel):
    """Ports and passwords of a sandbox."""

    name: str = Field(default="sandbox", description="Name of the target.")
    ports: dict[str, int] = Field(description="Port of each service on 127.0.0.1.")
    proxy: ProxyKind = Field(default="own", description="The proxy before the application.")
    durable: bool = Field(default=True, description="Whether the server waits for its disk.")
    database: str = Field(default="planner", description="Name of the application's database.")
    superuser: str = Field(default="postgres", description="The server's superuser.")
    superuser_password: str = Field(default_factory=_secret, repr=False)
    application_user: str = Field(default="planner", description="Role that owns the database.")
    application_password: str = Field(default_factory=_secret, repr=False)
    maintenance_user: str = Field(default="planner_admin", description="Role of remediations.")
    maintenance_password: str = Field(default_factory=_secret, repr=False)
    cache_password: str = Field(default="", repr=False, description="Empty for none.")
    secret_key: str = Field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    accounts: dict[str, str] = Field(
        default_factory=lambda: {name: _secret() for name in ("admin", "remedy-probe", "load")},
        repr=False,
        description="Accounts of the application with their passwords.",
    )
    password_cost: int = Field(
        default=12,
        ge=4,
        le=15,
        description="Cost of the accounts' bcrypt; 12 as the application's.",
    )
    prepared: bool = Field(default=False, description="Whether roles and database were made.")

    @property
    def upstreams(self) -> dict[str, int]:
        """The application's processes with their ports."""
        names = [name for name in SERVICES if name.startswith("application-")]
        return {name: self.ports[name] for name in names}

    @classmethod
    def load_or_make(cls, path: Path, ports: dict[str, int], **given: object) -> Self:
        """Read a sandbox's settings, or make them.

        Args:
            path: Where they are kept.
            ports: Ports that shall be used for a new sandbox; the others are chosen.
            given: Other settings of a new sandbox.

        Returns:
            The settings, kept.
        """
        if path.exists():
            return cls.model_validate_json(path.read_text())
        made = cls.model_validate({"ports": ports | choose_ports(set(ports)), **given})
        made.save(path)
        return made

    def save(self, path: Path) -> None:
        """Keep the settings, whole or not at all; only their owner reads them."""
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(json.dumps(self.model_dump(), indent=2))
        draft.replace(path)


def choose_ports(taken: set[str]) -> dict[str, int]:
    """Choose a free port for each service that has none.

    Args:
        taken: Names of the services that have a port.

    Returns:
        A port for each other service.
    """
    return {name: choose_port() for name in SERVICES if name not in taken}


def choose_port() -> int:
    """Choose a port of the loopback that is free, and that nobody else chooses as we live."""
    candidates = random.sample(range(FIRST_PORT, LAST_PORT), 400)
    while not (is_free(port := candidates.pop()) and _claim(port)):
        pass
    return port


def _claim(port: int) -> bool:
    """Claim a port that nobody listens on yet; says whether nobody else has.

    Source: unix(7), abstract sockets: of a network namespace as ports are, and gone with us.
    """
    if port in _claims:
        return False
    claim = None
    if sys.platform == "linux":
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0remedy-port-{port}")
        except OSError:
            claim.close()
            return False
    _claims[port] = claim
    return True


_claims: dict[int, socket.socket | None] = {}


def is_free(port: int) -> bool:
    """Say whether nobody listens on a port of the loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True
