"""Caches of a test's system: with a password, and as their server and its files have it."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from infra.sandbox.settings import HOST
from infra.testbed.compose.system import CACHE_PORT, ComposeSystem

OLD = "the-old-password"


def cache_as(planner: Planner, password: str, seconds: float | None = 10) -> "redis.Redis":
    """Give a client with a password; it waits so long for an answer, its errors come at once."""
    host, port = HOST, CACHE_PORT
    if isinstance(planner, Sandbox):
        port = planner.settings.ports["valkey"]
    elif isinstance(planner, ComposeSystem):
        host = planner.project.address("redis")
    return redis.Redis(
        host,
        port,
        password=password or None,
        socket_timeout=seconds,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


def refused(planner: Planner, password: str) -> str:
    """Log in to the cache once it has its data; gives what it answers, '' where that went well."""
    with closing(cache_as(planner, password)) as client:
        while True:
            try:
                client.ping()
            except redis.AuthenticationError as error:  # also while it loads
                return str(error)
            except redis.BusyLoadingError:
                time.sleep(0.05)
            else:
                return ""


def users(planner: Planner, password: str) -> list[str]:
    """Give all users with all that is kept of them."""
    with closing(cache_as(planner, password)) as client:
        return [str(one) for one in client.acl_list()]


def configuration(sandbox: Sandbox) -> Path:
    """Give the file from which the sandbox's cache starts."""
    return sandbox.valkey.folder / "valkey.conf"


def set_password(planner: Planner, name: str, value: str) -> None:
    """Set a setting in `.env`, as a person does."""
    lines = planner.dotenv.read_text().splitlines()
    planner.dotenv.write_text(
        "\n".join(f"{name}={value}" if one.startswith(f"{name}=") else one for one in lines) + "\n"
    )


def protect(sandbox: Sandbox) -> None:
    """Give the sandbox's cache and application a password, as an operator does."""
    file = configuration(sandbox)
    file.write_text(file.read_text().replace('requirepass ""', f'requirepass "{OLD}"'))
    with closing(cache_as(sandbox, "")) as client:
        client.config_set("requirepass", OLD)
    set_password(sandbox, "REDIS_PASSWORD", OLD)
    for name in sandbox.upstreams:
        sandbox.restart(name)


def restart_alone(sandbox: Sandbox) -> None:
    """Start the cache again as a machine does: from its file, as that is."""
    service = sandbox.valkey.service
    service.stop()
    service.start()
    while service.process():
        try:
            refused(sandbox, "")
        except redis.ConnectionError:  # not yet
            time.sleep(0.05)
        else:
            return


@contextmanager
def protected(system: ComposeSystem, written: str = "${REDIS_PASSWORD}") -> Iterator[str]:
    """Give the project's cache a password in its command, from `.env`; as before at the end."""
    file = system.folder / "docker-compose.yml"
    text = file.read_text()
    given = "--maxmemory-policy allkeys-lru"
    file.write_text(text.replace(given, f"{given} --requirepass {written}"))
    set_password(system, "REDIS_PASSWORD", OLD)
    try:
        system.project.run("up", "-d", "--no-build", "redis", "app")
        system.up()
        yield file.read_text()
    finally:
        file.write_text(text)
