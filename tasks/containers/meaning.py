"""What compose files mean, whichever format says it: to prove that a new text means the same.

It is read here by other code than that which writes: every key that is not known to have another
name has to be there afterwards with the same value.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Service = dict[str, Any]
_UNITS = {"": 1, "b": 1, "k": 2**10, "kb": 2**10, "m": 2**20, "mb": 2**20, "g": 2**30, "gb": 2**30}
_STARTED = "service_started"


def bytes_of(memory: object) -> object:
    """Give an amount of memory in bytes; what is none, as a variable, as it stands."""
    found = re.fullmatch(r"([\d.]+)\s*([kmg]?b?)", str(memory).strip().lower())
    return int(float(found[1]) * _UNITS[found[2]]) if found else memory


# Where a limit is said: beside `deploy`, or below it.
_PLACES = (
    ("mem_limit", "limits", "memory", bytes_of),
    ("mem_reservation", "reservations", "memory", bytes_of),
    ("cpus", "limits", "cpus", str),
)


def meaning(
    projects: Sequence[Mapping[str, Any]], *, first_format: bool = False, restarts: bool = False
) -> dict[str, Any]:
    """Write projects that are laid over one another in one form only.

    Args:
        projects: What each file says, or `config` of all of them.
        first_format: Whether some come from files of the first format.
        restarts: Whether a link says that a restart is passed on.

    Returns:
        What they say together; equal where they mean the same.
    """
    found: dict[str, Any] = {}
    for project in projects:
        found = _laid_over(found, _one_form(project, first_format=first_format))
    services = found.get("services", {})
    for one in services.values():
        _links(one, services, restarts=restarts)
    return found


def _one_form(project: Mapping[str, Any], *, first_format: bool) -> dict[str, Any]:
    rest = {key: value for key, value in project.items() if key not in ("version", "name")}
    services = rest.pop("services", None)
    if services is None and first_format:
        services, rest = rest, {}
    if first_format:
        rest.pop("volumes", None)  # declared anew: the first format knew them undeclared
    found = {name: dict(one or {}) for name, one in (services or {}).items()}
    for one in found.values():
        _under_its_name_of_today(one, set(found), first_format=first_format)
        _limits(one)
    return {"services": found, **{key: value for key, value in rest.items() if value}}


def _laid_over(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    merged = {**one, **other}
    for key in one.keys() & other.keys():
        if isinstance(one[key], dict) and isinstance(other[key], dict):
            merged[key] = _laid_over(one[key], other[key])
        elif isinstance(one[key], list) and isinstance(other[key], list):
            merged[key] = [*one[key], *other[key]]
    return merged


def said_twice(projects: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the limits that files say with another value below `deploy` than beside it.

    Args:
        projects: What each file says.

    Returns:
        Their keys, as services.app.mem_limit.
    """
    flat: Service = {}
    deep: Service = {}
    for project in projects:
        for name, service in (project.get("services") or {}).items():
            for old, kind, key, read in _PLACES:
                where = f"services.{name}.{old}"
                found = (service or {}).get("deploy") or {}
                below = ((found.get("resources") or {}).get(kind) or {}).get(key)
                if (service or {}).get(old) is not None:
                    flat[where] = read(service[old])
                if below is not None:
                    deep[where] = read(below)
    return [where for where in flat.keys() & deep.keys() if flat[where] != deep[where]]


def differences(one: object, other: object, where: str = "") -> Iterator[str]:
    """Name the keys in which two meanings differ, without their values."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in sorted({*one, *other}, key=str):
            yield from differences(one.get(key), other.get(key), f"{where}.{key}".lstrip("."))
    elif one != other:
        yield where


def _under_its_name_of_today(one: Service, services: set[str], *, first_format: bool) -> None:
    if "net" in one:
        kind, _, name = str(one.pop("net")).partition(":")
        of_service = kind == "container" and name in services
        one["network_mode"] = (
            f"service:{name}" if of_service else ":".join(filter(None, (kind, name)))
        )
    if first_format and one.get("network_mode") == "bridge":
        del one["network_mode"]
    for old, new in (("log_driver", "driver"), ("log_opt", "options")):
        if old in one:
            one["logging"] = {**one.get("logging", {}), new: one.pop(old)}
    early = one.get("depends_on") or {}
    if not isinstance(early, dict):
        early = {other: {"condition": _STARTED} for other in early}
    one["depends_on"] = {
        other: {key: said for key, said in how.items() if (key, said) != ("required", True)}
        for other, how in early.items()
    }
    if "build" in one and not isinstance(one["build"], dict):
        one["build"] = {"context": one["build"]}
    if "dockerfile" in one and "build" in one:
        one["build"] = {**one["build"], "dockerfile": one.pop("dockerfile")}
    if one.get("volume_driver") == "local":
        del one["volume_driver"]
    if first_format and "volumes_from" in one:
        known = (*services, "container", "service")
        one["volumes_from"] = [
            entry if str(entry).split(":")[0] in known else f"container:{entry}"
            for entry in one["volumes_from"]
        ]


def _limits(one: Service) -> None:
    limits: Service = {}
    deploy = dict(one.pop("deploy", None) or {})
    resources = {
        kind: dict(found or {}) for kind, found in (deploy.pop("resources", None) or {}).items()
    }
    for old, kind, name, read in _PLACES:
        said = [one.pop(old, None), resources.get(kind, {}).pop(name, None)]
        values = {read(value) for value in said if value is not None}
        if values:  # two that differ are a conflict, and equal to nothing else
            limits[f"{kind}.{name}"] = sorted(values, key=str)
    one["limits"] = limits
    one["deploy"] = {
        **deploy,
        "resources": {kind: left for kind, left in resources.items() if left},
    }


def _links(one: Service, services: Mapping[str, Service], *, restarts: bool) -> None:
    early, left = dict(one["depends_on"]), []
    for link in one.get("links") or []:
        other, _, alias = str(link).partition(":")
        early.setdefault(other, {"condition": _STARTED, **({"restart": True} if restarts else {})})
        if alias not in ("", other) or not _on_one_network(one, services.get(other)):
            left.append(link)
    one["links"], one["depends_on"] = left, early


def _on_one_network(one: Service, other: Service | None) -> bool:
    if other is None or "network_mode" in one or "network_mode" in other:
        return False
    return bool(set(one.get("networks") or ["default"]) & set(other.get("networks") or ["default"]))
