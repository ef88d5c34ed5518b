"""Who works in the data of a server: the containers that may write to it, and their processes."""

from pathlib import Path
from typing import Any

from docker import DockerClient
from docker.errors import APIError, NotFound

from tasks.platforms.compose.engine import OF_TARGET, OF_TOKEN, Engine, Mount
from tasks.platforms.compose.inside import said_inside
from tasks.platforms.compose.port_holders import who_has
from tasks.platforms.compose.server.place import Place
from tasks.platforms.servers import Holder

_ENDED = {404, 409}  # it has just ended, or is paused
_SELF, _STOPPED, _ZOMBIE = "self", "T", "Z"
_WHOLE = "whole"
# Its own number first; then each process as proc(5) has it: number (name) state parent ...
_PROCESSES = f"""echo {_SELF} $$
for one in /proc/[0-9]*/stat; do cat $one; done 2>/dev/null
echo {_WHOLE}"""


def find_port_holder(engine: Engine, place: Place) -> str:
    """Say who else has a port that a server is to be published at.

    Args:
        engine: The engine.
        place: The server.

    Returns:
        Who, '' for nobody.

    Raises:
        Transient: The engine does not answer.
    """
    for address, port in sorted(place.ports):
        if found := who_has(engine, port, address, {place.container}):
            return f"{found[0].name}, at {port}"
    return ""


def find_holders(engine: Engine, place: Place) -> tuple[Holder, ...]:
    """List the processes that work in a server's data, whichever container they are in.

    Args:
        engine: The engine.
        place: Where the data is.

    Returns:
        All of the containers that run and may write there, but for those of ours.

    Raises:
        Transient: The engine does not answer.
    """
    found: list[Holder] = []
    with engine.client() as client:
        for one in client.api.containers():  # those that run, or are paused
            labels = one.get("Labels") or {}
            if OF_TARGET in labels and OF_TOKEN in labels:
                continue  # ours: whoever takes the lease over ends it
            if any(_writes_to(mount, place.mount) for mount in one["Mounts"]):
                name = one["Names"][0].removeprefix("/")
                where = "" if one["Id"] == place.container else name
                found += _processes(client, one["Id"], name, where)
    return tuple(found)


def why_unseen(engine: Engine, place: Place) -> str:
    """Say why somebody may work in a server's data and not be seen, '' where all are.

    Args:
        engine: The engine.
        place: Where the data is.

    Raises:
        Transient: The engine does not answer.
    """
    volume = place.mount.volume
    if not volume:
        return ""
    with engine.client() as client:
        try:
            seen: dict[str, Any] = client.volumes.get(volume).attrs
        except NotFound:
            return ""
    kind = str((seen.get("Options") or {}).get("type", ""))
    if seen["Driver"] != "local" or kind.startswith(("nfs", "cifs", "smb")):
        return f"volume {volume} ({kind or seen['Driver']}) may be mounted on another machine"
    return ""


def _writes_to(seen: dict[str, Any], mount: Mount) -> bool:
    if not seen.get("RW", True):
        return False
    if mount.volume:
        return bool(seen.get("Name") == mount.volume)
    theirs, ours = Path(seen.get("Source") or "/dev/null"), Path(mount.source)
    return theirs.is_relative_to(ours) or ours.is_relative_to(theirs)


def _processes(client: DockerClient, number: str, name: str, where: str) -> list[Holder]:
    try:
        container = client.containers.get(number)
        status, said = said_inside(container, ["sh", "-c", _PROCESSES], user="0:0")
    except APIError as error:
        if error.status_code not in _ENDED:
            raise
        state = client.api.inspect_container(number)["State"]
        if not state["Running"] or state.get("Restarting"):
            return []
        go_on = f"docker unpause {name}" if state["Paused"] else ""
        return [Holder(1, f"all of {name}", bool(state["Paused"]), where, go_on)]
    *lines, last = said.splitlines() or [""]
    if status or last != _WHOLE:  # it has no shell, or has just ended
        return [Holder(1, f"of {name}", stopped=False, where=where)]
    own, found = "", []
    for line in lines:
        if line.startswith(_SELF):
            own = line.split()[1]
            continue
        before, _, after = line.rpartition(")")
        pid, _, program = before.partition(" (")
        state, parent = after.split()[:2] if after else ("", "")
        if own in {pid, parent} or state in {"", _ZOMBIE}:
            continue
        stopped = state == _STOPPED
        go_on = f"docker exec {name} kill -CONT {pid}"
        if pid == "1":  # a signal from inside does not reach it
            go_on = f"docker kill --signal CONT {name}"
        found.append(Holder(int(pid), program, stopped, where, go_on))
    return sorted(found, key=lambda one: one.pid)
