"""The application's cache and queues in Redis or Valkey."""

import itertools
import re
from collections.abc import Iterator, Sequence

import redis

from tasks.platforms.redis_server import RedisServer

BATCH = 500


class RedisCache:
    """A namespace of a Redis database, without the queues that lie in it.

    Args:
        server: The server that it is on.
        number: Number of the database.
        namespace: What the names of the application's keys begin with.
        queues: Keys of the lists that hold waiting jobs; never cleared.
    """

    def __init__(
        self, server: RedisServer, number: int, namespace: str, queues: Sequence[str]
    ) -> None:
        """Keep where it is; connects to nothing."""
        self._server, self._number = server, number
        self._namespace, self._queues = namespace, tuple(queues)

    @property
    def number(self) -> int:
        """Number of the database."""
        return self._number

    @property
    def namespace(self) -> str:
        """What the names of the application's keys begin with."""
        return self._namespace

    @property
    def queues(self) -> tuple[str, ...]:
        """Keys of the lists that hold waiting jobs."""
        return self._queues

    def clear(self) -> int:
        """Clear the application's namespace only; queued jobs stay.

        Returns:
            How many keys went.

        Raises:
            Transient: The cache does not answer.
            PreconditionFailed: It answers and refuses.
        """
        with self._server.connect(self._number) as client:
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
        with self._server.connect(self._number) as client:
            return len(set(self._keys(client)))  # SCAN may give a key twice

    def queued(self) -> dict[str, int]:
        """Give the jobs waiting in each queue by its name.

        Returns:
            Number by queue.

        Raises:
            Transient: The cache does not answer.
            PreconditionFailed: It answers and refuses.
        """
        with self._server.connect(self._number) as client:
            return {queue: int(client.llen(queue)) for queue in self._queues}

    def _keys(self, client: "redis.Redis") -> Iterator[str]:
        kept = set(self._queues)
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self._namespace) + "*"
        for key in client.scan_iter(match=pattern, count=BATCH):
            if key not in kept:
                yield key
