"""How the application logs in to its cache, and what a rotation of its password meets there."""

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from tasks.application.login import describe_replicas, find_ready_replicas
from tasks.cache.keeping import Place, find_place
from tasks.cache.old_sessions import described, find_sessions
from tasks.cache.users import DEFAULT, CacheUser, hash_of, read_user
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.cache_servers import CacheServer

if TYPE_CHECKING:
    import redis

_SAYS_HELLO = "3"  # RESP3 begins with HELLO and AUTH of user and password


class CacheLoginFound(BaseModel):
    """How the application logs in to its cache.

    Args:
        user: The user of the cache's server.
        variable: Name of the application's setting with the password.
        shown: Its settings of the cache that are no secrets.
        first: Whether the cache lets anybody in.
        place: Where the server has its users from when it starts; None where it has none.
        path: The file, '' for none.
        replicas: Names of the application's replicas.
        findings: What was found, for the plan.
    """

    model_config = ConfigDict(frozen=True)

    user: str
    variable: str
    shown: dict[str, str]
    first: bool
    place: Place | None
    path: str
    replicas: tuple[str, ...]
    findings: tuple[Finding, ...]


@probe
def inspect_cache_login(target: str, *, first: bool) -> CacheLoginFound:
    """Look at how the application logs in to its cache, and whether that can change.

    Args:
        target: Name of the target.
        first: Whether a cache that lets anybody in shall get its first password.

    Returns:
        The user, where its password is kept, and what was found.

    Raises:
        PreconditionFailed: The application's password is not the cache's; the server copies
            another one or is copied; its next start would bring other passwords; its clients
            could not send a first password before it is required; or a replica cannot be
            restarted without an outage.
    """
    system = targets.load(target)
    variables, now = system.cache_variables, system.application.settings()
    user, password = now.get(variables.user) or DEFAULT, now.get(variables.password, "")
    server = system.cache_server
    with server.connect() as client:
        found = read_user(client, user)
        sessions = find_sessions(client, user)
        _insist_on_single(client)
        asked = not found.accepted.anybody or first
        place, path = (
            find_place(server, client, found, variables.password, password) if asked else (None, "")
        )
        if asked:
            _insist_on_fitting(found, password)
        if asked and found.accepted.anybody:
            _insist_on_hello(sessions)
    names = (variables.host, variables.port, variables.number)
    findings = (_describe(server, found, place, path), _list(user, sessions))
    replicas = find_ready_replicas(system, {variables.password: password}) if asked else []
    return CacheLoginFound(
        user=user,
        variable=variables.password,
        shown={name: now[name] for name in names if name in now},
        first=found.accepted.anybody,
        place=place,
        path=path,
        replicas=tuple(one.name for one in replicas),
        findings=(*findings, describe_replicas(replicas)) if replicas else findings,
    )


def _insist_on_single(client: "redis.Redis") -> None:
    role = client.info("replication")
    copies = int(role.get("connected_slaves", 0))
    if role["role"] == "master" and not copies:
        return
    raise PreconditionFailed(
        expected="a cache that copies no other one, and that none copies.",
        found=f"role {role['role']}, {counted(copies, 'copy', 'copies')}: "
        "each logs in with a password of its own (masterauth).",
        todo="Give the copies a user of their own for replication, and rotate each by hand.",
    )


def _insist_on_fitting(found: CacheUser, password: str) -> None:
    if found.active and (found.accepted.anybody or hash_of(password) in found.accepted.hashes):
        return
    raise PreconditionFailed(
        expected=f"an application that logs in to its cache as {found.name}.",
        found="the password in its settings is not the cache's."
        if found.active
        else "that user is switched off.",
        todo="Have the application log in to it first: correct the setting or the cache's user.",
    )


def _insist_on_hello(sessions: list[dict[str, str]]) -> None:
    others = [one for one in sessions if one.get("resp") != _SAYS_HELLO]
    if sessions and not others:
        return
    raise PreconditionFailed(
        expected="clients that may send a password before one is required: by RESP3, which names "
        "the user along with it.",
        found=f"{counted(len(others), 'session')} of {len(sessions)} by RESP2, where a server "
        "without a password refuses whoever sends one.",
        todo="Use redis-py 8, or protocol=3 in the client, and have the application read "
        "something; or set `requirepass` and REDIS_PASSWORD together while nobody works.",
    )


def _describe(server: CacheServer, found: CacheUser, place: Place | None, path: str) -> Finding:
    how = f"ACL LIST, CONFIG GET, INFO of {server.name}"
    if found.accepted.anybody:
        return Finding(
            what=f"The cache lets anybody in as {found.name} who reaches it, without a password: "
            "to read what is cached, to change jobs that wait, and to write files where it "
            "keeps its data.",
            how=how,
            patch="Where it starts from a file: remedy run rotate-cache-password --param first=true"
            "\nIn a compose project set REDIS_PASSWORD in `.env` and write into its file, then "
            "bring both up at once:\ncommand: redis-server ... --requirepass ${REDIS_PASSWORD}"
            if place is None
            else "",
        )
    where = f"the {place} {path}".strip()
    if place is Place.COMMAND:
        return Finding(
            what=f"User {found.name} has its password from {where} of the cache's container: "
            "whoever may ask the engine, or list its machine's processes at a start, reads it.",
            how=how,
            patch="An aclfile in the cache's volume has hashes alone:\n"
            "command: redis-server ... --aclfile /data/users.acl",
        )
    return Finding(
        what=f"User {found.name} is let in with "
        f"{counted(len(found.accepted.hashes), 'password')}, kept in {where}.",
        how=how,
    )


def _list(user: str, sessions: list[dict[str, str]]) -> Finding:
    return Finding(
        what=f"{counted(len(sessions), 'session')} of {user}. Who still has the old password "
        "at the end is named, and keeps the old one right.",
        how="CLIENT LIST, remediations' own left out",
        columns=("sessions", "from", "name", "library", "RESP"),
        rows=described(sessions),
    )
