"""How the application of a target migrates its schema, as the form of a target has it."""

from pydantic import BaseModel, ConfigDict, Field


class MigrationSettings(BaseModel):
    """How the application migrates its schema, for a run against another database."""

    model_config = ConfigDict(extra="forbid")

    upgrade: list[str] = Field(
        default=["alembic", "upgrade", "{revision}"],
        description="Command that brings a database to {revision}.",
    )
    downgrade: list[str] = Field(
        default=["alembic", "downgrade", "{revision}"],
        description="Command that brings a database back to the older {revision}.",
    )
    history: list[str] = Field(
        default=["alembic", "history"],
        description="Command that prints the revisions as lines of `older -> newer`.",
    )
    show: list[str] = Field(
        default=["alembic", "show", "{revision}"],
        description="Command that prints `Path: ` with the file of a {revision}.",
    )
    show_database: list[str] = Field(
        default_factory=list,
        description="Command that prints current_database() through the application's settings.",
    )
    environment: dict[str, str] = Field(
        default={
            "POSTGRES_SERVER": "{host}",
            "POSTGRES_PORT": "{port}",
            "POSTGRES_DB": "{database}",
            "POSTGRES_USER": "{user}",
            "POSTGRES_PASSWORD": "{password}",
        },
        description="Variables with {host}, {port}, {database}, {user}, {password} of a database.",
    )
    longest_stall_seconds: float = Field(
        default=1.0,
        ge=0,
        le=3600,
        description="How long users may wait for a revision; longer asks an approval of its own.",
    )
    version_table: str = Field(default="alembic_version", description="Table of the revision.")
