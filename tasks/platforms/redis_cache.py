"""The application's cache and queues in Redis or Valkey."""

import itertools
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient

BATCH = 500
SECONDS = 5.0


class RedisCache:
    """A namespace of a Redis database, without the queues that lie in it.

    Args:
        host: Address of the server.
        port: Its port.
        password: Its password; empty for none.
        number: Number of the database.
        namespace: What the names of the application's keys begin with.
        queues: Keys of the lists that hold waiting jobs; never cleared.
    """

    def __init__(
        self,
        host: str,
        port: int,
        password: str,
        number: int,
        namespace: str,
        queues: Sequence[str],
    ) -> None:
        """Keep the address; connects to nothing."""
        self._address = f"the cache on {host}:{port}"
        self._namespace, self._queues = namespace, tuple(queues)
        self._host, self._port, self._password, self._number = host, port, password, number

    def clear(self) -> int:
        """Clear the application's namespace only; queued jobs stay.

        Returns:
            How many keys went.

        Raises:
            Transient: The cache does not answer.
            PreconditionFailed: It answers and refuses.
        """
        with self._client() as client:
            keys = self._keys(client)
            went = 0
            while batch := list(itertools.islice(keys, BATCH)):
                went += int(client.unlink(*batch))
            return went

    def count(self) -> int:
        """Count the keys of the application's namespace, without the queues.

        Returns:
            How many there are.

        Raises:
            Transient: The cache does not answer.
            PreconditionFailed: It answers and refuses.
        """
        with self._client() as client:
            return len(set(self._keys(client)))  # SCAN may give a key twice

    def queued(self) -> dict[str, int]:
        """Give the jobs waiting in each queue by its name.

        Returns:
            Number by queue.

        Raises:
            Transient: The cache does not answer.
            PreconditionFailed: It answers and refuses.
        """
        with self._client() as client:
            return {queue: int(client.llen(queue)) for queue in self._queues}

    def _keys(self, client: "redis.Redis") -> Iterator[bytes]:
        kept = {queue.encode() for queue in self._queues}
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self._namespace) + "*"
        for key in client.scan_iter(match=pattern, count=BATCH):
            if key not in kept:
                yield key

    @contextmanager
    def _client(self) -> Iterator["redis.Redis"]:
        client = redis.Redis(
            host=self._host,
            port=self._port,
            db=self._number,
            password=self._password or None,
            socket_timeout=SECONDS,
            socket_connect_timeout=SECONDS,
            retry=Retry(NoBackoff(), 0),  # the engine retries what is Transient
        )
        try:
            yield client
        except redis.RedisError as error:
            raise self._told(error) from error
        finally:
            client.close()

    def _told(self, error: redis.RedisError) -> RemediationError:
        refused = isinstance(error, redis.AuthenticationError | redis.ResponseError)
        kind = PreconditionFailed if refused else Transient
        return kind(
            expected=f"{self._address} to carry out what it was asked.",
            found=f"{error or type(error).__name__}.",
            state="Keys that it had removed are gone; the application reads them anew.",
            todo="Correct the cache's password in the target, or its rights."
            if refused
            else "Wait until the cache answers, then try again.",
        )
