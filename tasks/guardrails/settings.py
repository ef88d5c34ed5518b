"""Settings of the engine, from REMEDY_* variables."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Where the engine keeps things, and how patient it is."""

    model_config = SettingsConfigDict(env_prefix="REMEDY_", env_ignore_empty=True, extra="ignore")

    home: Path = Field(
        default=Path(".remedy"), description="Folder of all state: ledger, keys, logs, sandbox."
    )
    ledger_url: str = Field(
        default="",
        description="SQLAlchemy URL of the ledger; a SQLite file under home by default.",
    )
    ledger_key: str = Field(
        default="",
        description="Master key of the ledger (32 bytes in base64); else a file under home.",
    )
    ledger_anchors: str = Field(
        default="",
        description="Where signed heads are appended, separated by spaces: paths or 'syslog'.",
    )
    lease_seconds: float = Field(
        default=60, gt=0, description="How long a lease lives without being renewed."
    )
    webhook_url: str = Field(
        default="", description="Gets a JSON message when a run waits, ends or is stuck."
    )

    @property
    def ledger(self) -> str:
        """URL of the ledger."""
        return self.ledger_url or f"sqlite:///{self.home.absolute() / 'ledger.db'}"


def settings() -> Settings:
    """Read the settings as the environment has them now."""
    return Settings()
