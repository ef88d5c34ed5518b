"""Options of a cache in its configuration file, and in its command in a compose file."""

import pytest

from tasks.cache.options import options_in, with_options
from tasks.cache.options_in_compose import with_command
from tasks.guardrails.errors import PreconditionFailed

WANTED = {"maxmemory": "1024", "maxmemory-policy": "volatile-lru"}


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("", "maxmemory 1024\nmaxmemory-policy volatile-lru\n"),
        (
            "# maxmemory 1gb\nport 6379",
            "# maxmemory 1gb\nport 6379\nmaxmemory 1024\nmaxmemory-policy volatile-lru\n",
        ),
        (
            "maxmemory 256mb\nMaxMemory  2gb\nmaxmemory-policy allkeys-lru\nport 1\n",
            "maxmemory 256mb\nMaxMemory  1024\nmaxmemory-policy volatile-lru\nport 1\n",
        ),
    ],
)
def test_options_are_said_where_they_were_said_last(text: str, new: str) -> None:
    """The rest stays as it is; the server takes the last of two."""
    assert with_options(text, WANTED) == new
    found = options_in(new)
    assert {name: found[name] for name in WANTED} == WANTED


@pytest.mark.parametrize(
    ("command", "new"),
    [
        (
            "redis-server --maxmemory 256mb --maxmemory-policy allkeys-lru",
            "redis-server --maxmemory 1024 --maxmemory-policy volatile-lru",
        ),
        (
            "redis-server --appendonly yes",
            "redis-server --appendonly yes --maxmemory 1024 --maxmemory-policy volatile-lru",
        ),
        (
            '["valkey-server", "--maxmemory", "256mb"]',
            '["valkey-server", "--maxmemory", "1024", --maxmemory-policy, volatile-lru]',
        ),
    ],
)
def test_options_are_said_in_a_command(command: str, new: str) -> None:
    """In the file that says the command last, comments kept."""
    base = f"services:\n  cache:\n    command: {command} # ours\n"
    texts = {"base.yml": base, "over.yml": "services:\n  cache: {restart: always}\n"}
    found = with_command(texts, "cache", WANTED)
    assert list(found) == ["base.yml"]
    assert found["base.yml"].split("#")[0].rstrip() == f"services:\n  cache:\n    command: {new}"
    assert found["base.yml"].endswith("# ours\n")


@pytest.mark.parametrize(
    "command", ["redis-server --maxmemory ${MOST}", "sleep 1", '["./start.sh"]']
)
def test_what_something_else_says_is_refused(command: str) -> None:
    """A variable, or a program of somebody's own."""
    texts = {"base.yml": f"services:\n  cache:\n    command: {command}\n"}
    with pytest.raises(PreconditionFailed, match="by hand"):
        with_command(texts, "cache", WANTED)
