"""The sandbox: PostgreSQL, Valkey, two processes of the application and a proxy, on loopback."""

import contextlib
import fcntl
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psycopg
import redis

from infra.sandbox import dotenv_file
from infra.sandbox.cache_server import CacheServer
from infra.sandbox.cluster import Cluster
from infra.sandbox.migrations import migrate
from infra.sandbox.nginx import Nginx
from infra.sandbox.processes import Service
from infra.sandbox.settings import HOST, ProxyKind, SandboxSettings
from infra.sandbox.target import target_settings

APPLICATION = Path(__file__).with_name("application")
ROOT = Path(__file__).parents[2]
UP_WITHIN_SECONDS = 120.0


class Sandbox:
    """A whole system under care in one folder; started, repaired and stopped as one.

    Args:
        home: Its folder; data, logs, backups and settings are below.
        ports: Ports for a new sandbox by service (see settings.SERVICES); others are chosen.
        given: Other settings of a new sandbox, as durable=False.
    """

    def __init__(self, home: Path, ports: Mapping[str, int] | None = None, **given: object) -> None:
        """Read the sandbox's settings, or make them; starts nothing."""
        self.home = home.resolve()
        self.home.mkdir(parents=True, exist_ok=True, mode=0o711)
        self.run, self.logs = self.home / "run", self.home / "logs"
        self.backups, self.secrets = self.home / "backups", self.home / "secrets"
        self.dotenv = self.home / ".env"
        with self._locked():
            self.settings = SandboxSettings.load_or_make(
                self._settings_file, dict(ports or {}), **given
            )
        self.cluster = Cluster(self.home, self.settings, self.run, self.logs)
        self.valkey = CacheServer(self.home, self.settings, self.run, self.logs)
        self.nginx = Nginx(self.home, self.settings, self.run, self.logs)

    @property
    def _settings_file(self) -> Path:
        return self.home / "sandbox.json"

    @property
    def url(self) -> str:
        """The application's URL, at the proxy."""
        return f"http://{HOST}:{self.settings.ports['proxy']}"

    @property
    def control_url(self) -> str:
        """The URL of the proxy's control API."""
        return f"http://{HOST}:{self.settings.ports['proxy-control']}"

    @property
    def upstreams(self) -> dict[str, int]:
        """The application's processes with their ports."""
        return self.settings.upstreams

    def application_environment(self) -> dict[str, str]:
        """Give the settings that a new sandbox's application has."""
        settings = self.settings
        return {
            "SECRET_KEY": settings.secret_key,
            "POSTGRES_SERVER": HOST,
            "POSTGRES_PORT": str(settings.ports["postgresql"]),
            "POSTGRES_DB": settings.database,
            "POSTGRES_USER": settings.application_user,
            "POSTGRES_PASSWORD": settings.application_password,
            "REDIS_HOST": HOST,
            "REDIS_PORT": str(settings.ports["valkey"]),
            "REDIS_DB": "0",
            "REDIS_PASSWORD": settings.cache_password,
            "ENVIRONMENT": "sandbox",
            "LOG_LEVEL": "WARNING",
        }

    def target_settings(self, *, limited: bool = False) -> dict[str, Any]:
        """Give the fields of the SandboxTarget block that stands for this sandbox."""
        return target_settings(self, limited=limited)

    def services(self) -> dict[str, Service]:
        """Give the services in the order in which they start."""
        configured = dotenv_file.read(self.dotenv)
        processes = [
            Service(
                name=name,
                command=[
                    *(sys.executable, "-m", "uvicorn", "app.main:app", "--host", HOST),
                    *("--port", str(port), "--no-access-log", "--log-level", "warning"),
                    *("--timeout-graceful-shutdown", "5"),
                ],
                directory=APPLICATION,
                environment=configured,
                run=self.run,
                logs=self.logs,
            )
            for name, port in self.upstreams.items()
        ]
        listed = [self.cluster.service, self.valkey.service, *processes, *self._proxy()]
        return {service.name: service for service in listed}

    def _proxy(self) -> list[Service]:
        """Give what stands before the application's processes."""
        module = partial(Service, directory=ROOT, run=self.run, logs=self.logs)
        python, ports = (sys.executable, "-m"), self.settings.ports
        if self.settings.proxy == "nginx":
            control = [*python, "infra.sandbox.nginx_control", "--home", str(self.home)]
            return [self.nginx.service, module(name="proxy-control", command=control)]
        command = [
            *(*python, "infra.sandbox.proxy"),
            *("--listen", str(ports["proxy"]), "--control", str(ports["proxy-control"])),
            *(f"{name}={port}" for name, port in self.upstreams.items()),
        ]
        return [module(name="proxy", command=command)]

    def use_proxy(self, kind: ProxyKind) -> None:
        """Choose what stands before the application's processes; `up` starts it.

        Raises:
            PreconditionFailed: nginx was chosen, and is not there.
        """
        if kind == self.settings.proxy:
            return
        if kind == "nginx":
            self.nginx.insist_on_program()
        with self._locked():
            for service in reversed(self._proxy()):
                service.stop()
            self.settings.proxy = kind
            self.settings.save(self._settings_file)

    def up(self) -> None:
        """Start what does not run, and wait until all of it answers; repairs what was killed.

        Raises:
            PreconditionFailed: A service does not come up; says why by the end of its log.
        """
        with self._locked():
            self.backups.mkdir(exist_ok=True)
            self.secrets.mkdir(mode=0o700, exist_ok=True)
            if not self.dotenv.exists():
                dotenv_file.write(self.dotenv, self.application_environment())
            self.cluster.make()
            self.valkey.configure()
            if self.settings.proxy == "nginx":
                self.nginx.configure()
            services = self.services()
            for service in services.values():  # none needs another until it is asked
                service.start()
            self.cluster.start()
            if not self.settings.prepared:
                self.cluster.prepare()
                migrate(self)
                self.settings.prepared = True
                self.settings.save(self._settings_file)
            self._await(services)

    def down(self) -> None:
        """Stop what runs and is ours; data is kept."""
        with self._locked():
            for service in reversed(self.services().values()):
                service.stop()

    def destroy(self) -> None:
        """Stop it and remove its home."""
        self.down()
        shutil.rmtree(self.home)

    def restart(self, name: str) -> None:
        """Stop a service and start it again, no other; waits until it answers."""
        with self._locked():
            service = self.services()[name]
            service.stop()
            service.start()
            if service.name == self.cluster.service.name:
                self.cluster.start()
            self._await({name: service})

    def kill(self, name: str) -> None:
        """End a service at once, as `kill -9` does; `up` repairs it."""
        self.services()[name].stop(kill=True)

    def status(self) -> dict[str, dict[str, Any]]:
        """Say for each service whether it runs, under which pid, on which port."""
        found: dict[str, dict[str, Any]] = {}
        for name, service in self.services().items():
            process = service.process()
            pid = None if process is None else process.pid
            found[name] = {
                "running": pid is not None,
                "pid": pid,
                "port": self.settings.ports[name],
                "log": str(service.log),
            }
        return found

    def connect(self, database: str | None = None) -> "psycopg.Connection[tuple[Any, ...]]":
        """Connect to a database as the superuser, to break it or to look."""
        return self.cluster.connect(database or self.settings.database)

    def cache(self) -> "redis.Redis":
        """Connect to the cache."""
        return self.valkey.connect()

    def _await(self, services: Mapping[str, Service]) -> None:
        def serves(url: str) -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(url, timeout=5, trust_env=False).is_success
            return False

        waits: dict[str, Callable[[], bool]] = {"valkey": self.valkey.answers}
        for name, port in self.upstreams.items():
            waits[name] = partial(serves, f"http://{HOST}:{port}/health")
        waits["proxy"] = partial(serves, f"{self.url}/health")
        waits["proxy-control"] = partial(serves, f"{self.control_url}/status")
        deadline = time.monotonic() + UP_WITHIN_SECONDS
        for name, answers in waits.items():
            controls = name == "proxy-control" and name not in services
            service = services.get("proxy" if controls else name)  # our own is its own control
            if service is None:
                continue
            while not answers():
                if service.process() is None or time.monotonic() > deadline:
                    raise service.failed("answer")
                time.sleep(0.05)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.home / "sandbox.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
