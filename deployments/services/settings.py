"""What was chosen for the platform: address, ports, the password of Prefect's database."""

import ipaddress
import os
import secrets
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field

from infra.sandbox.settings import HOST, choose_port, is_free

PREFERRED_PORT = 4200
POOL = "remedy"


class PlatformSettings(BaseModel):
    """Address, ports and password of the platform under a home, kept in its services.json."""

    api_port: int = Field(description="Port of the Prefect server.")
    host: str = Field(default=HOST, description="Where it is served, beside 127.0.0.1.")
    database_port: int = Field(description="Port of Prefect's own PostgreSQL on 127.0.0.1.")
    database_password: str = Field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    database: Literal["postgresql", "sqlite"] = Field(description="Where Prefect keeps its data.")

    @property
    def is_exposed(self) -> bool:
        """Whether others than this machine reach the Prefect server: then it has a password."""
        return not ipaddress.ip_address(self.host).is_loopback

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the Prefect server listens: our own clients reach it at 127.0.0.1 always."""
        holds_loopback = self.host in {HOST, "0.0.0.0"}  # noqa: S104 - only where it is chosen
        return (self.host,) if holds_loopback else (HOST, self.host)

    @property
    def api_url(self) -> str:
        """URL of Prefect's API on this machine."""
        return f"http://{HOST}:{self.api_port}/api"

    @property
    def ui_url(self) -> str:
        """URL of Prefect's UI."""
        host = HOST if ipaddress.ip_address(self.host).is_unspecified else self.host
        return f"http://{f'[{host}]' if ':' in host else host}:{self.api_port}"

    @classmethod
    def load(cls, path: Path) -> Self | None:
        """Read the settings; None where `up` was never called."""
        return cls.model_validate_json(path.read_text()) if path.exists() else None

    @classmethod
    def make(cls, path: Path, database: Literal["postgresql", "sqlite"]) -> Self:
        """Choose ports that are free now, and keep them."""
        made = cls(api_port=free_port(PREFERRED_PORT), database_port=free_port(), database=database)
        made.save(path)
        return made

    def save(self, path: Path) -> None:
        """Keep the settings, whole or not at all; only their owner reads them."""
        write_private(path, self.model_dump_json(indent=2) + "\n")


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner reads, whole or not at all."""
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def free_port(preferred: int = 0) -> int:
    """Choose a port of the loopback on which nobody listens.

    Args:
        preferred: Taken if it is free.

    Returns:
        The port; below the range that Linux gives to outgoing connections, so that it is
        free again after a restart.
    """
    if preferred and is_free(preferred):
        return preferred
    return choose_port()
