"""What an engine says of images, containers, volumes and networks, in our words."""

import json
import os
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from tasks.platforms.compose.disk.users import Users, moment_of, reasons_of_container
from tasks.platforms.disks import Kept, LogFile

_ANONYMOUS = re.compile(r"[0-9a-f]{64}")
_NO_NAME = "<none>"
_OF_SERVICE = "com.docker.compose.service"
_OF_PROJECT = "com.docker.compose.project"
# The driver "local" rotates by itself; the others keep nothing on this disk, or bound it.
_UNBOUNDED = "json-file"


def image_of(seen: Mapping[str, Any], users: Users, came: datetime | None = None) -> Kept:
    """Describe an image, as the engine inspects it.

    Args:
        seen: The image.
        users: Who uses what.
        came: When it came to the engine; None where that cannot be seen.
    """
    tags = tuple(one for one in seen.get("RepoTags") or () if _NO_NAME not in one)
    digests = tuple(one for one in seen.get("RepoDigests") or () if _NO_NAME not in one)
    tagged = moment_of((seen.get("Metadata") or {}).get("LastTagTime", ""))
    # A pulled one was made long ago by somebody else: only since when it is here counts, and a
    # pull sets no tag time.
    is_known = came or tagged or not digests
    known = (moment_of(seen["Created"]), tagged, came) if is_known else ()
    since = max(filter(None, known), default=None)
    return Kept(
        kind="image",
        id=seen["Id"],
        name=tags[0] if tags else seen["Id"].removeprefix("sha256:")[:12],
        size=seen["Size"],
        since=since,
        last_used=users.ended.get(seen["Id"]),
        labels=(seen.get("Config") or {}).get("Labels") or {},
        used_by=tuple(f"container {one}" for one in users.images.get(seen["Id"], ())),
        tags=tags,
        digests=digests,
    )


def container_of(seen: Mapping[str, Any], size: int = 0) -> Kept:
    """Describe a container, as the engine inspects it."""
    ended = moment_of(seen["State"].get("FinishedAt", ""))
    made = moment_of(seen["Created"])
    return Kept(
        kind="container",
        id=seen["Id"],
        name=seen["Name"].removeprefix("/"),
        size=size,
        since=max(filter(None, (made, ended)), default=None),
        last_used=ended,
        labels=seen["Config"].get("Labels") or {},
        used_by=reasons_of_container(seen),
    )


def volume_of(seen: Mapping[str, Any], users: Users, *, is_here: bool) -> Kept:
    """Describe a volume, as the engine inspects it.

    Args:
        seen: The volume.
        users: Who uses what.
        is_here: Whether its folder is one of this machine.
    """
    is_plain = seen["Driver"] == "local" and not seen.get("Options")
    name, labels = seen["Name"], seen.get("Labels") or {}
    # One of a name was given that name by somebody who wants to find it again.
    is_anonymous = _ANONYMOUS.fullmatch(name) or "com.docker.volume.anonymous" in labels
    size = (seen.get("UsageData") or {}).get("Size", 0)
    return Kept(
        kind="volume",
        id=name,
        name=name,
        size=max(size, 0),
        since=moment_of(seen.get("CreatedAt", "")),
        labels=labels,
        used_by=tuple(f"container {one}" for one in users.volumes.get(name, ())),
        made=json.dumps({"driver": "local", "labels": labels}, sort_keys=True)
        if is_plain and is_anonymous
        else "",
        is_empty=_is_empty(seen["Mountpoint"]) if is_plain and is_here else None,
    )


def network_of(seen: Mapping[str, Any], users: Users) -> Kept:
    """Describe a network, as the engine inspects it."""
    name = seen["Name"]
    attached = [one["Name"] for one in (seen.get("Containers") or {}).values()]
    used = dict.fromkeys([*users.networks.get(name, ()), *attached])
    made = {
        "driver": seen["Driver"],
        "options": seen.get("Options") or {},
        "ipam": seen["IPAM"],
        "internal": seen["Internal"],
        "attachable": seen["Attachable"],
        "enable_ipv6": seen["EnableIPv6"],
        "labels": seen.get("Labels") or {},
    }
    return Kept(
        kind="network",
        id=name,
        name=name,
        since=moment_of(seen["Created"]),
        labels=seen.get("Labels") or {},
        used_by=tuple(f"container {one}" for one in used),
        made=json.dumps(made, sort_keys=True),
    )


def log_of(seen: Mapping[str, Any], *, is_here: bool) -> LogFile:
    """Describe a container's log, as the engine inspects the container."""
    configured = seen["HostConfig"].get("LogConfig") or {}
    driver, options = configured.get("Type", ""), configured.get("Config") or {}
    labels = seen["Config"].get("Labels") or {}
    most = f"the driver {driver}"
    if driver == _UNBOUNDED:
        bound = options.get("max-size", "")
        most = f"{bound} x {options.get('max-file', '1')}" if bound not in ("", "-1") else ""
    return LogFile(
        container=seen["Name"].removeprefix("/"),
        project=labels.get(_OF_PROJECT, ""),
        service=labels.get(_OF_SERVICE, ""),
        driver=driver,
        size=_size_of_log(seen.get("LogPath", "")) if is_here else None,
        most=most,
    )


def _is_empty(folder: str) -> bool | None:
    try:
        with os.scandir(folder) as entries:
            return next(iter(entries), None) is None
    except OSError:
        return None


def _size_of_log(path: str) -> int | None:
    """Add up a log and those that it was rotated into; None where it is no file of ours to see."""
    folder, name = os.path.split(path)
    try:
        with os.scandir(folder or "/nowhere") as entries:
            return sum(one.stat().st_size for one in entries if one.name.startswith(name))
    except OSError:
        return None
