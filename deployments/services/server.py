"""Prefect's server: API, UI and its background services in one process."""

import sys
import time
from pathlib import Path

import httpx
import psutil

from deployments.services import password
from deployments.services.environment import QUIET
from deployments.services.process import PlatformService
from deployments.services.settings import PlatformSettings

UP_WITHIN_SECONDS = 120.0  # the first start runs all migrations


class PrefectServer:
    """The server of a home.

    Args:
        home: REMEDY_HOME.
        settings: Ports of the platform.
        database_url: Where Prefect keeps its data.
    """

    def __init__(self, home: Path, settings: PlatformSettings, database_url: str) -> None:
        """Keep how it is started; starts nothing."""
        self._api, self._port = settings.api_url, settings.api_port
        self.service = PlatformService(
            name="prefect-server",
            command=[
                *(sys.executable, "-m", "deployments.services.serving"),
                *(str(settings.api_port), *settings.addresses),
            ],
            environment={
                **QUIET,
                "PREFECT_HOME": str(home / "prefect"),
                "PREFECT_API_URL": settings.api_url,
                # Of wherever the browser has the UI from: of a proxy that adds TLS as well.
                "PREFECT_UI_API_URL": "/api",
                "PREFECT_UI_URL": settings.ui_url,
                # By default any page that somebody here has open may use the API.
                "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": settings.ui_url,
                "PREFECT_SERVER_API_HOST": settings.host,
                "PREFECT_SERVER_API_PORT": str(settings.api_port),
                "PREFECT_SERVER_DATABASE_CONNECTION_URL": database_url,
                "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
                # Survives a restart of the server; in memory it would crash who holds a slot.
                "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": (
                    "prefect.server.concurrency.lease_storage.filesystem"
                ),
                # Runs of the reaper come each minute; the record that counts is the ledger's.
                "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
                "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P30D",
                "PREFECT__SERVER_FINAL": "1",
                **(_protection(home) if settings.is_exposed else {}),
            },
            run=home / "run",
            logs=home / "logs",
            directory=home,
        )

    def listens(self) -> bool:
        """Wait until it has its port; False where it has ended, as somebody else has it."""
        deadline = time.monotonic() + UP_WITHIN_SECONDS
        while not self._has_port():
            if self.service.process() is None or time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def _has_port(self) -> bool:
        process = self.service.process()
        try:
            return process is not None and self._port in {
                found.laddr.port for found in process.net_connections("tcp") if found.laddr
            }
        except psutil.Error:
            return False

    def answers(self) -> bool:
        """Say whether the API answers: ours, not a stranger's on a port that both chose."""
        try:
            if not self._has_port():
                return False
            answer = httpx.get(f"{self._api}/health", timeout=5, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.is_success

    def wait(self) -> None:
        """Wait until the API answers.

        Raises:
            PreconditionFailed: It does not come up.
        """
        deadline = time.monotonic() + UP_WITHIN_SECONDS
        while not self.answers():
            if self.service.process() is None or time.monotonic() > deadline:
                raise self.service.failed("answer")
            time.sleep(0.1)


def _protection(home: Path) -> dict[str, str]:
    """Give what protects an API that others reach; by environment, as anybody sees arguments."""
    return {
        "PREFECT_SERVER_API_AUTH_STRING": password.read(home),
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
    }
