"""Where a cache's server has its users from when it starts, kept in step with what it has live."""

import enum
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from tasks.cache.users import Accepted, CacheUser, accepted_in, with_line
from tasks.containers.yaml_text import merged
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.cache_servers import CacheServer

if TYPE_CHECKING:
    import redis


class Place(enum.StrEnum):
    """Where they are kept."""

    FILE = "configuration file"
    ACLFILE = "aclfile"
    COMMAND = "command"


def find_place(
    server: CacheServer, client: "redis.Redis", user: CacheUser, variable: str, password: str
) -> tuple[Place, str]:
    """Find out where a server has a user's passwords from when it starts.

    Args:
        server: The server.
        client: A session with it.
        user: The user as it is live.
        variable: The application's setting of the password.
        password: The password that the application sends; '' for none.

    Returns:
        The place, and the path of the file on the server's machine, '' for none.

    Raises:
        PreconditionFailed: Nowhere: its next start would bring other passwords.
    """
    configured = client.config_get("aclfile", "dir")
    if path := configured.get("aclfile"):
        return _insist(server, Place.ACLFILE, _absolute(path, configured.get("dir") or "/"), user)
    if path := str(_info(client, "server").get("config_file") or ""):
        said = accepted_in(server.read_file(path), user.name)
        if said is not None or user.accepted.anybody:
            return _insist(server, Place.FILE, path, user)
    if password and server.follows(variable, password):
        if not server.is_in_step():
            raise PreconditionFailed(
                expected="a cache that runs as its files say: it is made anew from them.",
                found="they were edited since it was started.",
                todo="Bring it up with them when that suits, or take the edit back; run again.",
            )
        return Place.COMMAND, ""
    raise PreconditionFailed(
        expected=f"the password of user {user.name} in an aclfile, in the cache's configuration "
        "file, or in its command from the application's settings.",
        found="in none of them: at its next start the cache lets others in than now.",
        todo="Write it there (requirepass, or a line `user`), restart the cache when that "
        "suits, then run again.",
    )


def _insist(server: CacheServer, place: Place, path: str, user: CacheUser) -> tuple[Place, str]:
    said = accepted_in(server.read_file(path), user.name) or Accepted(anybody=True)
    if said != user.accepted:
        raise PreconditionFailed(
            expected=f"the same passwords of user {user.name} in {path} as the cache has live.",
            found="others: its next start would change who may log in.",
            todo="Bring both in step: ACL SAVE or CONFIG REWRITE for what is live, ACL LOAD or a "
            "restart for what is in the file; then run again.",
        )
    return place, path


def is_kept(server: CacheServer, place: Place, path: str, name: str, accepted: Accepted) -> bool:
    """Say whether a server's next start lets a user in as it shall.

    Args:
        server: The server.
        place: Where its users are kept.
        path: The file.
        name: The user's name.
        accepted: With what it shall be let in.
    """
    if place is Place.COMMAND:
        return True  # follows the application's settings, see RemakeCache
    said = accepted_in(server.read_file(path), name) or Accepted(anybody=True)
    return said == accepted


def keep(
    server: CacheServer,
    client: "redis.Redis",
    place: Place,
    path: str,
    user: CacheUser,
    accepted: Accepted,
) -> None:
    """Have a server's next start let a user in as it is let in live.

    Args:
        server: The server.
        client: A session with it.
        place: Where its users are kept.
        path: The file.
        user: The user.
        accepted: With what it is let in.
    """
    if is_kept(server, place, path, user.name, accepted):
        return
    if place is Place.ACLFILE:
        client.acl_save()
        return
    text = server.read_file(path)
    server.write_file(path, with_line(text, user.name, user.line(accepted)))


def as_kept(server: CacheServer, client: "redis.Redis", path: str) -> dict[str, str]:
    """Give what `give_back` needs: the text of the file, and all users as they are live."""
    return {"file": server.read_file(path) if path else "", "users": _users(client)}


def give_back(
    server: CacheServer,
    client: "redis.Redis",
    place: Place,
    path: str,
    user: CacheUser,
    kept: Mapping[str, str],
) -> None:
    """Put the file back from which a server starts, once a user is live what it was.

    Args:
        server: The server.
        client: A session with it.
        place: Where its users are kept.
        path: The file.
        user: The user as it was written there.
        kept: What `as_kept` gave before.

    Raises:
        PreconditionFailed: Others edited the very lines of a configuration file.
    """
    if place is Place.FILE:
        put_back(server, path, user, kept["file"])
    elif place is Place.ACLFILE:
        if kept.get("users") == _users(client):
            with suppress(PreconditionFailed):  # in a volume, where only the server itself writes
                server.write_file(path, kept["file"])
                return
        client.acl_save()


def _users(client: "redis.Redis") -> str:
    return json.dumps([str(one) for one in client.acl_list()])


def put_back(server: CacheServer, path: str, user: CacheUser, original: str) -> None:
    """Put a configuration file back; where others edited it since, take only ours out.

    Args:
        server: The server.
        path: The file.
        user: The user, with what it is let in by the file.
        original: The text that it was.

    Raises:
        PreconditionFailed: Others edited the very lines.
    """
    now = server.read_file(path)
    said = accepted_in(now, user.name)
    if now == original or said is None:
        return
    ours = with_line(original, user.name, user.line(said))
    text = original if now == ours else merged(ours, now, original)
    if text is None:
        raise PreconditionFailed(
            expected=f"{path} with the lines of user {user.name} as they were written.",
            found="others have edited these lines since.",
            state="The file is as they left it; the cache has its old passwords.",
            todo="Write the old password there by hand.",
        )
    server.write_file(path, text)


def _absolute(path: str, directory: str) -> str:
    return str(PurePosixPath(directory) / path)


def _info(client: "redis.Redis", section: str) -> dict[str, Any]:
    found: dict[str, Any] = client.info(section)
    return found
