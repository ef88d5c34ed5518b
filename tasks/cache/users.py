"""Users of a cache's server, live and in the files from which it starts.

Passwords are named by their hashes: neither MONITOR nor a log sees one. Source: Redis manual,
ACL ("#<hash>", "Key permissions"), redis.conf ("requirepass", "user").
"""

import hashlib
import re
import shlex
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field

from tasks.guardrails.errors import PreconditionFailed

if TYPE_CHECKING:
    import redis

DEFAULT = "default"


class Accepted(BaseModel):
    """What a user is let in with.

    Args:
        hashes: sha256 of each password.
        anybody: Whether any password does, and none at all.
    """

    model_config = ConfigDict(frozen=True)

    hashes: frozenset[str] = Field(default=frozenset(), repr=False)
    anybody: bool = False

    def words(self) -> list[str]:
        """Give it in the words of ACL SETUSER, without what was accepted before."""
        if self.anybody:
            return ["nopass"]
        return ["resetpass", *(f"#{one}" for one in sorted(self.hashes))]


class CacheUser(BaseModel):
    """A user of the server.

    Args:
        name: The user's name.
        active: Whether it may log in.
        accepted: With what.
        rules: What it may do, in the words of ACL LIST.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    active: bool
    accepted: Accepted
    rules: tuple[str, ...]

    def line(self, accepted: Accepted) -> str:
        """Write it as a line of a configuration, with what it is let in with."""
        words = [one for one in accepted.words() if one != "resetpass"]
        state = "on" if self.active else "off"
        return " ".join(["user", self.name, state, *words, *self.rules])


def hash_of(password: str) -> str:
    """Give the hash by which the server knows a password."""
    return hashlib.sha256(password.encode()).hexdigest()


def read_user(client: "redis.Redis", name: str) -> CacheUser:
    """Read a user from the server.

    Args:
        client: A session.
        name: The user's name.

    Raises:
        PreconditionFailed: There is none, or the session may not read it.
    """
    for line in client.acl_list():
        words = str(line).split()
        if words[:2] == ["user", name]:
            return _user(words)
    raise PreconditionFailed(
        expected=f"user {name} on the cache's server.",
        found="it has no such user.",
        todo="Correct the user in the application's settings, or make it: ACL SETUSER.",
    )


def accept(client: "redis.Redis", name: str, accepted: Accepted) -> None:
    """Say with what a user is let in, by one command: there is no moment between."""
    # redis-py has no types for it, and its own acl_setuser always says `on` or `off` as well.
    client.execute_command("ACL", "SETUSER", name, *accepted.words())  # type: ignore[no-untyped-call]


def accepted_in(text: str, name: str) -> Accepted | None:
    """Say with what a server that starts from a text lets a user in.

    Args:
        text: A configuration file, or an aclfile.
        name: The user's name.

    Returns:
        None where the text does not say: the server lets anybody in then.
    """
    found: Accepted | None = None
    for line in text.splitlines():
        words = _words(line)
        if words[:2] == ["user", name]:
            return _user(words).accepted  # goes before requirepass, wherever that stands
        if words[:1] == ["requirepass"] and name == DEFAULT and len(words) > 1:
            password = words[1]
            found = Accepted(hashes=frozenset({hash_of(password)}) if password else frozenset())
            found = found if password else Accepted(anybody=True)
    return found


def user_in(text: str, name: str) -> CacheUser | None:
    """Give a user as a line `user` of a text has it; None where there is no such line."""
    found = None
    for line in text.splitlines():
        words = _words(line)
        if words[:2] == ["user", name]:
            found = _user(words)
    return found


def with_line(text: str, name: str, line: str) -> str:
    """Write a user's line into a configuration, in the place of what said it before.

    Args:
        text: A configuration file.
        name: The user's name.
        line: The line, without its end.
    """
    ending = "\r\n" if "\r\n" in text else "\n"
    kept: list[str] = []
    place = -1
    for one in text.splitlines(keepends=True):
        words = _words(one)
        if words[:2] == ["user", name] or (name == DEFAULT and words[:1] == ["requirepass"]):
            place = len(kept) if place < 0 else place
        else:
            kept.append(one)
    if place < 0:
        if kept and not kept[-1].endswith(("\n", "\r")):
            kept[-1] += ending
        place = len(kept)
    return "".join([*kept[:place], f"{line}{ending}", *kept[place:]])


def _words(line: str) -> list[str]:
    if re.match(r"\s*(user|requirepass)\s", line, re.IGNORECASE) is None:
        return []
    try:
        words = shlex.split(line)
    except ValueError:  # quotes as no server reads them either
        words = line.split()
    return [words[0].lower(), *words[1:]]


def _user(words: list[str]) -> CacheUser:
    hashes: set[str] = set()
    anybody, active, rules = False, False, []
    for word in words[2:]:
        if word.startswith("#"):
            hashes.add(word[1:].lower())
        elif word.startswith(">"):
            hashes.add(hash_of(word[1:]))
        elif word in {"on", "off"}:
            active = word == "on"
        elif word == "nopass":
            anybody = True
        elif word != "resetpass":
            rules.append(word)
    accepted = Accepted(hashes=frozenset(hashes), anybody=anybody)
    return CacheUser(name=words[1], active=active, accepted=accepted, rules=tuple(rules))
