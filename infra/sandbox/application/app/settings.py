"""Settings of the application, from the environment or `.env`, named as in Planner."""

import secrets

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """What the application is told from outside; names are case-sensitive."""

    model_config = SettingsConfigDict(env_file=".env", case_sensitive=True, extra="ignore")

    # Like Planner: unset, every process signs with a key of its own.
    SECRET_KEY: str = Field(
        default_factory=lambda: secrets.token_urlsafe(32), description="Signs tokens (HS256)."
    )
    ACCESS_TOKEN_EXPIRE_MINUTES: int = Field(default=11520, description="Life of an access token.")
    REFRESH_TOKEN_EXPIRE_DAYS: int = Field(default=7, description="Life of a refresh token.")
    POSTGRES_SERVER: str = Field(default="localhost", description="Host of the database server.")
    POSTGRES_PORT: int = Field(default=5432, description="Port of the database server.")
    POSTGRES_USER: str = Field(default="planner", description="Role of the application.")
    POSTGRES_PASSWORD: str = Field(default="planner", description="Its password, URL-safe.")
    POSTGRES_DB: str = Field(default="planner", description="Name of the database.")
    REDIS_HOST: str = Field(default="localhost", description="Host of the cache.")
    REDIS_PORT: int = Field(default=6379, description="Port of the cache.")
    REDIS_DB: int = Field(default=0, description="Number of the cache's database.")
    REDIS_PASSWORD: str = Field(default="", description="Password of the cache; empty for none.")
    ENVIRONMENT: str = Field(default="development", description="Name of the environment.")
    LOG_LEVEL: str = Field(default="INFO", description="Level of the log.")
    CACHE_SECONDS: int = Field(default=300, description="How long an answer stays cached.")

    @property
    def database_url(self) -> str:
        """The database's URL, put together without escaping, as Planner does."""
        return (
            f"postgresql+psycopg://{self.POSTGRES_USER}:{self.POSTGRES_PASSWORD}"
            f"@{self.POSTGRES_SERVER}:{self.POSTGRES_PORT}/{self.POSTGRES_DB}"
        )


settings = Settings()
