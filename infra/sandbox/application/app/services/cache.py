"""The cache and the queue: keys under `planner:` in Redis. Without Redis all still works."""

import json
import logging
import uuid
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from app.settings import settings

PREFIX = "planner:"
QUEUE = "planner:queue:reports"

logger = logging.getLogger(__name__)
client = redis.Redis(
    host=settings.REDIS_HOST,
    port=settings.REDIS_PORT,
    db=settings.REDIS_DB,
    password=settings.REDIS_PASSWORD or None,
    socket_timeout=0.5,
    socket_connect_timeout=0.5,
    retry=Retry(NoBackoff(), 0),  # its own ten attempts would hold a user for seconds
    decode_responses=True,
)


def key(kind: str, row: uuid.UUID) -> str:
    """Give the key under which a row is cached."""
    return f"{PREFIX}{kind}:{row}"


def get(name: str) -> dict[str, Any] | None:
    """Read a cached answer; None where there is none or no cache."""
    try:
        found = client.get(name)
    except redis.RedisError as error:
        logger.warning("the cache cannot be read: %s", error)
        return None
    return None if found is None else dict(json.loads(found))


def put(name: str, value: dict[str, Any]) -> None:
    """Cache an answer."""
    try:
        client.set(name, json.dumps(value), ex=settings.CACHE_SECONDS)
    except redis.RedisError as error:
        logger.warning("the cache cannot be written: %s", error)


def drop(name: str) -> None:
    """Forget a cached answer."""
    try:
        client.delete(name)
    except redis.RedisError as error:
        logger.warning("the cache cannot be cleared: %s", error)


def enqueue(job: dict[str, Any]) -> int:
    """Queue a job.

    Args:
        job: What is to be done.

    Returns:
        How many jobs wait now.

    Raises:
        redis.RedisError: The job was not queued.
    """
    return client.rpush(QUEUE, json.dumps(job))
