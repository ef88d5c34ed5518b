"""The platform of a home as one: up, down, status."""

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from deployments.services import addresses, places
from deployments.services import environment as variables
from deployments.services.at_work import end, insist_on_rest, processes_at_work
from deployments.services.database import PrefectDatabase, usable_programs
from deployments.services.server import PrefectServer
from deployments.services.settings import PlatformSettings
from deployments.services.worker_process import worker_service
from infra.sandbox.processes import Service
from infra.sandbox.services import Sandbox
from tasks.guardrails.errors import PreconditionFailed, TargetBusy

LOCK_SECONDS = 180.0
_PORTS_TRIED = 3
Told = Callable[[str], None]


@dataclass(frozen=True)
class State:
    """How a service stands."""

    name: str
    running: bool
    pid: int | None
    where: str
    log: str


def nobody(_: str) -> None:
    """Tell progress to nobody."""


class Platform:
    """Prefect's database and server, the worker and the sandbox under a home.

    Args:
        home: REMEDY_HOME.
    """

    def __init__(self, home: Path | None = None) -> None:
        """Know the home; starts and makes nothing."""
        self.home = (home or variables.home_folder()).absolute()

    @property
    def settings(self) -> PlatformSettings | None:
        """Ports of the platform; None where it was never up."""
        return PlatformSettings.load(variables.settings_file(self.home))

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox of this home; its settings are made at the first use."""
        return Sandbox(self.home / "sandbox")

    @property
    def has_sandbox(self) -> bool:
        """Whether the sandbox was ever made."""
        return (self.home / "sandbox" / "sandbox.json").exists()

    def up(
        self, told: Told = nobody, *, with_sandbox: bool = True, host: str = ""
    ) -> PlatformSettings:
        """Start what does not run, register everything, and wait until all of it answers.

        Args:
            told: Called with a line for each thing done.
            with_sandbox: Whether the sandbox is started as well.
            host: Address at which Prefect is served from now on; '' for where it was.

        Returns:
            Where the platform listens.

        Raises:
            BadInput: The host is no address of this machine.
            PreconditionFailed: A service does not come up; the next `up` goes on from there.
            TargetBusy: A remediation is at work, and would be stopped for another host.
        """
        if host:
            addresses.insist_on_own(host)
        self.home.mkdir(parents=True, exist_ok=True)
        with self._locked(), ThreadPoolExecutor(1) as beside:
            settings = places.choose(self.home, self._services, host)
            sandbox = beside.submit(self._start_sandbox) if with_sandbox else None
            database = self._database(settings)
            if database is not None:
                database.start()
            settings, server = self._start_server(database, told, host)
            services = self._services(settings)
            client = variables.local_environment(self.home, settings)
            os.environ.update(client)
            # Imported while the server starts: it takes as long as that.
            from deployments import registration  # noqa: PLC0415
            from deployments.services import worker_ready  # noqa: PLC0415

            server.wait()
            told(f"Prefect answers at {settings.ui_url}")
            registered = registration.register()
            told(f"{len(registered.flows)} deployments registered")
            for name, why in registered.broken.items():
                told(f"{name}.py cannot be imported, and is left out: {why}")
            if sandbox is not None:
                registration.save_sandbox(sandbox.result())
                told("the sandbox is up, and known as target 'sandbox'")
            if services["worker"].start():
                worker_ready.wait(services["worker"])
                told("the worker started, and takes runs")
            return settings

    def down(self, told: Told = nobody, *, force: bool = False) -> None:
        """Stop what runs and is ours; data is kept.

        Args:
            told: Called with a line for each thing done.
            force: Also while a remediation is acting; it is recovered at the next `up`.

        Raises:
            TargetBusy: A remediation is at work on this machine.
        """
        if not self.home.exists():
            return
        with self._locked():
            busy = processes_at_work(self.home)
            if not force:
                insist_on_rest(busy)
            settings = self.settings
            services = list(self._services(settings).values()) if settings else []
            for service in reversed(services):
                if service.stop():
                    told(f"{service.name} stopped")
                if service.name == "worker":
                    end(busy)
            if self.has_sandbox:
                self.sandbox.down()
                told("sandbox stopped")

    def status(self) -> list[State]:
        """Say for each service whether it runs, where, and where its log is."""
        settings = self.settings
        found = []
        if settings is not None:
            where = {
                "prefect-server": settings.ui_url,
                "postgresql": f"127.0.0.1:{settings.database_port}",
            }
            for name, service in self._services(settings).items():
                process = service.process()
                pid = process.pid if process else None
                place = where.get(name, "")
                found.append(State(name, pid is not None, pid, place, str(service.log)))
        if self.has_sandbox:
            for name, said in self.sandbox.status().items():
                place = f"127.0.0.1:{said['port']}"
                found.append(
                    State(f"sandbox/{name}", said["running"], said["pid"], place, said["log"])
                )
        return found

    def _start_server(
        self, database: PrefectDatabase | None, told: Told, host: str
    ) -> tuple[PlatformSettings, PrefectServer]:
        """Start Prefect's server; where somebody takes its port in that moment, on another one.

        Another home's `up` may: both prefer the same, and a first start takes seconds.
        """
        for _ in range(_PORTS_TRIED):
            settings = places.choose(self.home, self._services, host)
            server = self._server(settings, database)
            if server.service.start():
                told("Prefect's server started")
            if server.listens():
                return settings, server
            if server.service.process() is not None:
                break  # it hangs, and not for want of a port
        raise server.service.failed("answer")

    def _start_sandbox(self) -> Sandbox:
        sandbox = self.sandbox
        sandbox.up()
        return sandbox

    def _services(self, settings: PlatformSettings) -> dict[str, Service]:
        """Give the services in the order in which they start."""
        database = self._database(settings)
        client = variables.local_environment(self.home, settings)
        listed = [
            *([database.service] if database else []),
            self._server(settings, database).service,
            worker_service(self.home, client),
        ]
        return {service.name: service for service in listed}

    def _database(self, settings: PlatformSettings) -> PrefectDatabase | None:
        if settings.database == "sqlite":
            return None
        programs = usable_programs()
        if programs is None:
            raise PreconditionFailed(
                expected="PostgreSQL's programs, with which Prefect's database was made.",
                found="none any more.",
                todo="Install postgresql, or set REMEDY_POSTGRES_PROGRAMS to their folder.",
            )
        return PrefectDatabase(
            self.home, programs, settings.database_port, settings.database_password
        )

    def _server(
        self, settings: PlatformSettings, database: PrefectDatabase | None
    ) -> PrefectServer:
        file = self.home / "prefect" / "prefect.db"
        file.parent.mkdir(parents=True, exist_ok=True)
        url = database.url if database else f"sqlite+aiosqlite:///{file}"
        return PrefectServer(self.home, settings, url)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep a second `up` or `down` out; the lock goes with the process, however it ends."""
        with (self.home / "services.lock").open("a") as lock:
            deadline = time.monotonic() + LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TargetBusy(
                            expected="no other `remedy up` or `down` at work on this home.",
                            found=f"one that works for {LOCK_SECONDS:g} s.",
                            todo="Wait for it, or end it.",
                        ) from None
                    time.sleep(0.1)
            yield
