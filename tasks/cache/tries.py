"""One look each at what may keep the application from its cache.

Source: Redis manual, ACL DRYRUN (since 7.0), ACL LOG, INFO; redis.conf ("maxclients",
"maxmemory-policy", "stop-writes-on-bgsave-error", "replica-read-only", "protected-mode").
"""

import enum
import fnmatch
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import redis

from tasks.application.settings_change import find_stale
from tasks.cache.users import CacheUser, hash_of
from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.platforms.cache_servers import Cache, CacheLogin, CacheVariables
from tasks.platforms.redis_server import is_refused_login

if TYPE_CHECKING:
    from tasks.platforms.protocols import System


class Wrong(enum.StrEnum):
    """What may be wrong between the application and its cache."""

    DOWN = "down"
    HINDERED = "hindered"
    SILENT = "silent"
    LOADING = "loading"
    CLIENTS = "clients"
    PROTECTED = "protected"
    ADDRESS = "address"
    NUMBER = "number"
    MISSING = "missing"
    CLOSED = "closed"
    PASSWORD = "password"  # noqa: S105 - no password
    RIGHTS = "rights"
    READ_ONLY = "read_only"
    FULL = "full"
    NOT_SAVED = "not_saved"
    STALE = "stale"
    REFUSED = "refused"


# What a server answers whoever logs in, whatever the password.
_ANSWERS = {
    "max number of clients": (
        Wrong.CLIENTS,
        "it has as many clients as it may have, and takes no more",
    ),
    "protected mode": (Wrong.PROTECTED, "it is in protected mode: no password, no other machine"),
    "loading": (Wrong.LOADING, "it still reads its data, and answers once it has"),
    "DB index": (Wrong.NUMBER, "it has no database of the number in the settings"),
    "no permissions": (Wrong.RIGHTS, "its user may not use the database of that number"),
}


def try_login(
    system: "System", login: CacheLogin, host: str | None, port: str | None, number: int
) -> tuple[dict[Wrong, str], str]:
    """Log in to the cache as the application does.

    Args:
        system: The target.
        login: User and password.
        host: The address; the server's own where None.
        port: The same of the port.
        number: Number of the database.

    Returns:
        What is wrong, with a sentence each, and the server's run id where it may be asked.
    """
    try:
        with system.cache_server.log_in(login, host, port, number) as client:
            try:
                return {}, str(client.info("server")["run_id"])
            except redis.ResponseError:  # it may not ask INFO, as few applications need to
                return {}, ""
    except (PreconditionFailed, Transient) as error:
        return _told(error, login), ""


def _told(error: RemediationError, login: CacheLogin) -> dict[Wrong, str]:
    if is_refused_login(error):
        return {
            Wrong.PASSWORD: f"the password in its settings is not one of {login.user}"
            if login.password
            else "its settings have no password, and the cache asks for one"
        }
    for words, (kind, sentence) in _ANSWERS.items():
        if words.lower() in error.found.lower():
            return {kind: sentence}
    if isinstance(error, Transient):
        return {Wrong.SILENT: f"it does not answer: {error.found}"}
    return {Wrong.REFUSED: f"it refuses: {error.found}"}


def of_address(
    system: "System", variables: CacheVariables, shown: Mapping[str, str]
) -> dict[Wrong, str]:
    """Compare where the application looks for its cache with where that is."""
    host, port = shown.get(variables.host), shown.get(variables.port)
    right_host, right_port = system.cache_server.address
    fits = host is None or system.cache_server.is_called(host)
    if fits and port in {None, right_port}:
        return {}
    there = f"{host or 'its default'}:{port or 'its default'}"
    return {
        Wrong.ADDRESS: f"it looks for the cache at {there}, which is at {right_host}:{right_port}"
    }


def of_user(user: CacheUser, password: str) -> dict[Wrong, str]:
    """Say whether a user may log in with a password, as the server keeps both."""
    wrong = {}
    if not user.active:
        wrong[Wrong.CLOSED] = f"user {user.name} is switched off (ACL off)"
    if not user.accepted.anybody and hash_of(password) not in user.accepted.hashes:
        what = "the password in its settings is not" if password else "no password is set, that is"
        wrong[Wrong.PASSWORD] = f"{what} one of {user.name}"
    return wrong


def find_grants(
    client: "redis.Redis", user: CacheUser, cache: Cache, number: int
) -> tuple[str, ...]:
    """Find out what a user may not do of what a cache and a queue need; nothing is carried out.

    Args:
        client: A session that may ask ACL DRYRUN.
        user: The user.
        cache: The application's cache and queues.
        number: Number of the database that it uses.

    Returns:
        What it lacks, in the words of ACL SETUSER; nothing where the server is older than
        ACL DRYRUN.
    """
    key = f"{cache.namespace}remedy"
    asked = [("GET", key), ("SET", key, "1", "EX", "1"), ("DEL", key)]
    asked += [("RPUSH", queue, "1") for queue in cache.queues]
    asked += [("SELECT", str(number))] if number else []
    patterns = [one[1:] for one in user.rules if one.startswith("~")]
    lacks: list[str] = []
    for command in asked:
        try:
            # redis-py has no types for it.
            answer = str(client.execute_command("ACL", "DRYRUN", user.name, *command))  # type: ignore[no-untyped-call]
        except redis.ResponseError:
            return ()
        if answer == "OK":
            continue
        if "command" in answer:
            lacks.append(f"+{command[0].lower()}")
        of_key = command[0] != "SELECT"
        if of_key and not any(fnmatch.fnmatchcase(command[1], one) for one in patterns):
            in_queue = command[1] in cache.queues
            lacks.append(f"~{_plain(command[1])}" if in_queue else f"~{_plain(cache.namespace)}*")
    return tuple(dict.fromkeys(lacks))


def _plain(name: str) -> str:
    return re.sub(r"([*?\[\]\\])", r"\\\1", name)


def of_server(client: "redis.Redis") -> dict[Wrong, str]:
    """Look at what of the server itself refuses commands, though it lets the application in."""
    seen: dict[str, Any] = client.info("everything")
    wrong = {}
    if int(seen.get("loading", 0)):
        wrong[Wrong.LOADING] = _ANSWERS["loading"][1]
    if seen.get("role") == "slave" and int(seen.get("slave_read_only", 1)):
        wrong[Wrong.READ_ONLY] = (
            f"it is a read-only copy of {seen.get('master_host')}:{seen.get('master_port')}: "
            "nothing can be written"
        )
    used, most = int(seen.get("used_memory", 0)), int(seen.get("maxmemory", 0))
    if most and used >= most and seen.get("maxmemory_policy") == "noeviction":
        wrong[Wrong.FULL] = (
            f"it is full ({used:,} of {most:,} bytes) and may evict nothing (noeviction): writes "
            "are refused with OOM"
        )
    if why := _not_saved(client, seen):
        wrong[Wrong.NOT_SAVED] = why
    return wrong


def _not_saved(client: "redis.Redis", seen: Mapping[str, Any]) -> str:
    """Say why a server refuses writes with MISCONF, as it decides itself; '' where it does not."""
    if seen.get("role") == "slave":
        return ""
    stops = client.config_get("stop-writes-on-bgsave-error").get("stop-writes-on-bgsave-error")
    saves = client.config_get("save").get("save")  # when it saves by itself; '' for never
    if stops == "yes" and saves and seen.get("rdb_last_bgsave_status") == "err":
        return "its last save failed, and it refuses writes (MISCONF) until one goes well"
    if int(seen.get("aof_enabled", 0)) and seen.get("aof_last_write_status") == "err":
        return (
            "it could not write to its append-only file, and refuses writes (MISCONF) until it can"
        )
    return ""


def of_replicas(
    system: "System", variables: CacheVariables, now: Mapping[str, str]
) -> dict[Wrong, str]:
    """Look whether each replica was started with the settings of the cache as they are now."""
    stale = find_stale(system, variables.model_dump().values(), now)
    return {Wrong.STALE: stale} if stale else {}
