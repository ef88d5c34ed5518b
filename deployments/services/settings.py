"""What was chosen for the platform once: its ports and the password of Prefect's database."""

import os
import secrets
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field

from infra.sandbox.settings import HOST, choose_ports, is_free

PREFERRED_PORT = 4200
POOL = "remedy"


class PlatformSettings(BaseModel):
    """Ports and password of the platform under a home, kept in its services.json."""

    api_port: int = Field(description="Port of the Prefect server on 127.0.0.1.")
    database_port: int = Field(description="Port of Prefect's own PostgreSQL on 127.0.0.1.")
    database_password: str = Field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    database: Literal["postgresql", "sqlite"] = Field(description="Where Prefect keeps its data.")

    @property
    def api_url(self) -> str:
        """URL of Prefect's API."""
        return f"http://{HOST}:{self.api_port}/api"

    @property
    def ui_url(self) -> str:
        """URL of Prefect's UI."""
        return f"http://{HOST}:{self.api_port}"

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
        draft = path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self.model_dump_json(indent=2) + "\n")
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
    return choose_ports(set())["proxy"]
