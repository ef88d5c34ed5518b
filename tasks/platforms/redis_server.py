"""Sessions with a Redis or Valkey server; its errors become ours here.

Source: Redis manual, AUTH ("user", since 6.0), CLIENT SETNAME.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    ResponseError,
)
from redis.retry import Retry

from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.guardrails.systems import fencing_token, insist_on_fence
from tasks.platforms.cache_servers import CacheLogin

_SECONDS = 5.0


class RedisServer:
    """A server at an address, and how to log in to it.

    Args:
        target: Name of the target.
        place: Says where it is reached from here; asked when it is needed.
        logins: Gives who may log in, whom to try first before the others.
    """

    def __init__(
        self,
        target: str,
        place: Callable[[], tuple[str, int]],
        logins: Callable[[], Sequence[CacheLogin]],
    ) -> None:
        """Keep both; connects to nothing."""
        self.target, self._place, self._logins = target, place, logins

    @property
    def name(self) -> str:
        """Where it is, in words."""
        host, port = self._place()
        return f"the cache on {host}:{port}"

    @contextmanager
    def connect(self, number: int = 0) -> "Iterator[redis.Redis]":
        """Log in as remediations do; answers come as text, errors are ours.

        Args:
            number: Number of the database.

        Raises:
            Transient: It does not answer.
            PreconditionFailed: It answers and refuses.
        """
        *others, last = self._logins()
        for login in others:
            try:
                with self.log_in(login):
                    pass
            except PreconditionFailed as error:
                if not is_refused_login(error):
                    raise
            else:
                last = login
                break
        with self.log_in(last, number=number) as client:
            yield client

    @contextmanager
    def log_in(
        self, login: CacheLogin, host: str | None = None, port: str | None = None, number: int = 0
    ) -> "Iterator[redis.Redis]":
        """Log in as somebody.

        Args:
            login: Who.
            host: Where, as the application names it; the server's own address by default.
            port: The same of the port.
            number: Number of the database.

        Raises:
            Transient: It does not answer.
            PreconditionFailed: It answers and refuses.
        """
        reached, at = self._reached(host, port)
        client = self._client(login, reached, at, number, f"remedy:{self.target}:{fencing_token()}")
        try:
            try:
                _greet(client)
            except NoPermissionError:  # neither a name nor PING is what an application needs
                client.close()
                client = self._client(login, reached, at, number, None)
                with suppress(NoPermissionError):
                    _greet(client)
            insist_on_fence()
            yield client
        except redis.RedisError as error:
            raise _told(error, f"the cache on {reached}:{at}") from error
        finally:
            client.close()

    @staticmethod
    def _client(
        login: CacheLogin, host: str, port: int, number: int, name: str | None
    ) -> "redis.Redis":
        return redis.Redis(
            host=host,
            port=port,
            db=number,
            username=login.user if login.password else None,
            password=login.password or None,
            client_name=name,
            protocol=2,
            decode_responses=True,
            encoding_errors="surrogateescape",  # names of keys may be any bytes
            socket_timeout=_SECONDS,
            socket_connect_timeout=_SECONDS,
            retry=Retry(NoBackoff(), 0),  # the engine retries what is Transient
        )

    def _reached(self, host: str | None, port: str | None) -> tuple[str, int]:
        """Say where an address that the application has is reached from here."""
        own_host, own_port = self._place()
        return host or own_host, int(port) if port and port.isdigit() else own_port


def _greet(client: "redis.Redis") -> None:
    """Have it connect and log in; a server that cannot save refuses PING as it does writes."""
    try:
        client.ping()
    except ResponseError as error:
        if not str(error).startswith("MISCONF"):
            raise


def is_refused_login(error: RemediationError) -> bool:
    """Say whether a server refused user or password, and nothing else."""
    cause = error.__cause__
    return isinstance(cause, AuthenticationError) or "NOAUTH" in str(cause)


def _told(error: redis.RedisError, where: str) -> RemediationError:
    refused = isinstance(error, AuthenticationError | ResponseError)
    refused = refused and not isinstance(error, BusyLoadingError)
    kind = PreconditionFailed if refused else Transient
    return kind(
        expected=f"{where} to carry out what it was asked.",
        found=f"{str(error) or type(error).__name__}.",
        state="What it was asked before stands.",
        todo="Correct the target's user or password of the cache, or their rights."
        if refused
        else "Wait until the cache answers, or start it; then try again.",
    )
