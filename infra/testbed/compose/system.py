"""A compose project of a test's own: made in a folder, filled, reset, removed without a trace."""

import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis
from docker.errors import APIError

from infra.sandbox import dotenv_file, pristine
from infra.sandbox.migrations import migrate
from infra.sandbox.roles import prepare
from infra.sandbox.settings import SandboxSettings
from infra.testbed.compose.database import ComposeDatabase
from infra.testbed.compose.project import ComposeProject
from infra.testbed.compose.target import target_settings
from infra.testbed.docker.compose_program import Compose
from infra.testbed.docker.engine import Engine
from tasks.guardrails.errors import PreconditionFailed

SHIPPED = Path(__file__).with_name("files")
UP_WITHIN_SECONDS = 120.0
WELL_AGAIN_WITHIN_SECONDS = 60.0
DATABASE_PORT, CACHE_PORT = 5432, 6379
# As they are they would hold tests back: the load alone asks more often.
RELAXED = {"rate=5r/m": "rate=1000r/s", "rate=10r/s": "rate=1000r/s"}


class ComposeSystem:
    """Planner as a compose project: db, redis, app and nginx, from its files for production.

    Args:
        home: Its folder; the project's files, backups and settings are below.
        name: Name of the project, and what its containers' names begin with.
        engine: Where it runs; its networks have to be reachable from here.
        compose: The program that starts it.
    """

    def __init__(self, home: Path, name: str, engine: Engine, compose: Compose) -> None:
        """Write the project's files, unless they are there; starts nothing."""
        self.home, self.folder = home.resolve(), home.resolve() / "planner"
        self.project = ComposeProject(self.folder, name, engine, compose)
        self.down, self.close = self.project.down, self.project.close
        self.backups, self.secrets = self.home / "backups", self.home / "secrets"
        self.dotenv = self.folder / ".env"
        self.home.mkdir(parents=True, exist_ok=True)
        self._settings_file = self.home / "settings.json"
        self.settings = SandboxSettings.load_or_make(
            self._settings_file, {}, name="compose", durable=False, password_cost=4
        )
        self.cluster = ComposeDatabase(lambda: self.project.container("db"))
        if not self.folder.exists():
            self._write()

    def _write(self) -> None:
        shutil.copytree(SHIPPED, self.folder)
        for folder in (self.backups, self.secrets):
            folder.mkdir(mode=0o700)
        proxy = self.folder / "nginx" / "nginx.conf"
        text = proxy.read_text()
        for there, here in RELAXED.items():
            text = text.replace(there, here)
        proxy.write_text(text)
        self.write_dotenv()

    def write_dotenv(self) -> None:
        """Write the project's `.env` as a new one has it."""
        settings = self.settings
        inside = {
            **self.application_environment(),
            "POSTGRES_SERVER": "db",
            "POSTGRES_PORT": str(DATABASE_PORT),
            "REDIS_HOST": "redis",
            "REDIS_PORT": str(CACHE_PORT),
        }
        at = self.project.engine.published_at
        project = {
            "CONTAINER_PREFIX": self.project.name,
            "APP_PORT": f"{at}:{settings.ports['application-1']}",
            "NGINX_PORT": f"{at}:{settings.ports['proxy']}",
            "DB_ADMIN_PASSWORD": settings.superuser_password,
            "DB_DURABLE": "on" if settings.durable else "off",
            "HEALTH_INTERVAL": "3s",
        }
        dotenv_file.write(self.dotenv, inside)
        with self.dotenv.open("a") as file:
            file.write("\n# The project\n")
            file.writelines(f"{name}={value}\n" for name, value in project.items())

    @property
    def url(self) -> str:
        """The application's URL, at nginx."""
        return f"http://{self.project.engine.published_at}:{self.settings.ports['proxy']}"

    def application_environment(self) -> dict[str, str]:
        """Give the application's settings as they lead there from outside of the project."""
        settings = self.settings
        return {
            "SECRET_KEY": settings.secret_key,
            "POSTGRES_SERVER": self.project.address("db"),
            "POSTGRES_PORT": str(DATABASE_PORT),
            "POSTGRES_DB": settings.database,
            "POSTGRES_USER": settings.application_user,
            "POSTGRES_PASSWORD": settings.application_password,
            "REDIS_HOST": self.project.address("redis"),
            "REDIS_PORT": str(CACHE_PORT),
            "REDIS_DB": "0",
            "REDIS_PASSWORD": settings.cache_password,
            "ENVIRONMENT": "production",
            "LOG_LEVEL": "WARNING",
        }

    def target_settings(self, *, limited: bool = False) -> dict[str, Any]:
        """Give the fields of the ComposeTarget block that stands for this project."""
        return target_settings(self, limited=limited)

    def up(self) -> None:
        """Start what does not run, and wait until a user gets an answer.

        Raises:
            PreconditionFailed: It does not come up.
        """
        self._await_health()
        try:
            self.project.run("up", "-d", "--no-build")
        except PreconditionFailed as error:
            if "is unhealthy" not in error.found:
                raise
            # On a busy machine a service starts for longer than its check has it start.
            self._await_health("db", "redis", "app", within=UP_WITHIN_SECONDS)
            self.project.run("up", "-d", "--no-build")
        with suppress(APIError):  # it is just starting
            # A new container of the application may have another address.
            self.project.container("nginx").exec_run(["nginx", "-s", "reload"])
        self._await_database()
        if not self.settings.prepared:
            self.prepare()
            migrate(self)
            self.settings.prepared = True
            self.settings.save(self._settings_file)
        self._await_answer()

    def prepare(self) -> None:
        """Make the database's roles and the database; what is there is set as it shall be."""
        prepare(self.settings, self.connect)

    def reset(self) -> None:
        """Bring it back to its pristine state: containers, files, roles, database, cache."""
        self.write_dotenv()
        self.up()
        pristine.reset_database(self)
        self.prepare()
        for leftover in self.secrets.iterdir():
            leftover.unlink()
        with self.cache() as cache:
            cache.flushall()

    def connect(self, database: str | None = None) -> "psycopg.Connection[tuple[Any, ...]]":
        """Connect to a database as the superuser, to break it or to look."""
        return psycopg.connect(
            host=self.project.address("db"),
            port=DATABASE_PORT,
            dbname=database or self.settings.database,
            user=self.settings.superuser,
            password=self.settings.superuser_password,
            connect_timeout=5,
            autocommit=True,
        )

    def cache(self) -> "redis.Redis":
        """Connect to the cache."""
        return redis.Redis(self.project.address("redis"), CACHE_PORT)

    def _await_health(self, *services: str, within: float = WELL_AGAIN_WITHIN_SECONDS) -> None:
        """Let what was paused just now be found well: compose gives up where it is not yet."""
        deadline = time.monotonic() + within
        for service in services or ("db", "redis"):
            with suppress(LookupError):
                while (one := self.project.container(service)).health == "unhealthy":
                    if one.status != "running" or time.monotonic() > deadline:
                        break
                    time.sleep(0.1)

    def _await_database(self) -> None:
        deadline = time.monotonic() + UP_WITHIN_SECONDS
        while True:
            try:
                self.connect("postgres").close()
            except psycopg.OperationalError as error:
                if time.monotonic() > deadline:
                    raise self._failed("db") from error
                time.sleep(0.1)
            else:
                return

    def _await_answer(self) -> None:
        deadline = time.monotonic() + UP_WITHIN_SECONDS
        while True:
            with suppress(httpx.HTTPError):
                if httpx.get(f"{self.url}/health", timeout=5, trust_env=False).is_success:
                    return
            if time.monotonic() > deadline:
                raise self._failed("app")
            time.sleep(0.1)

    def _failed(self, service: str) -> PreconditionFailed:
        container = self.project.container(service)
        said = container.logs(tail=20).decode(errors="replace").strip()
        return PreconditionFailed(
            expected=f"service {service} of project {self.project.name} to answer.",
            found=f"{container.status}: {said}",
            todo="Correct what its log names.",
        )
