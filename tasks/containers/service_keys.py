"""Keys of a service in older formats of compose files, and what became of them."""

from collections.abc import Iterator
from dataclasses import dataclass

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.tokens import CommentToken

# Where a limit of format 2 stands now.
LIMITS = {
    "mem_limit": ("limits", "memory"),
    "mem_reservation": ("reservations", "memory"),
    "cpus": ("limits", "cpus"),
}


@dataclass(frozen=True)
class Note:
    """What becomes of a key, without its value: that may be a secret.

    Args:
        key: Where it stands, as services.app.net.
        becomes: What is done with it.
    """

    key: str
    becomes: str


def rewrite_service(
    part: CommentedMap, where: str, services: frozenset[str], *, first: bool, limits_move: bool
) -> list[Note]:
    """Rewrite the keys of a service in place.

    Args:
        part: The service, or a mapping that is merged into it.
        where: Where it stands, as services.app.
        services: Names of the services of its file.
        first: Whether the file is of the first format.
        limits_move: Whether limits go to `deploy.resources`.

    Returns:
        What was done.
    """
    notes = [*_network(part, services, first=first), *_logging(part), *_dockerfile(part)]
    notes += [*_volumes(part, services, first=first)]
    if limits_move:
        notes += _limits(part)
    return [Note(f"{where}.{one.key}", one.becomes) for one in notes]


def rename(part: CommentedMap, old: str, new: str, value: object) -> None:
    """Put another key in the place of one."""
    place, comment = list(part).index(old), _beside(part, old)
    del part[old]
    part.insert(place, new, value)
    if not isinstance(value, CommentedMap):
        _put_beside(part, new, comment)


def _beside(part: CommentedMap, key: str) -> CommentToken | None:
    """Give the comment behind a value, without the lines below it."""
    token = (part.ca.items.get(key) or [None] * 3)[2]
    if token is None or not token.value.lstrip(" ").startswith("#"):
        return None
    return CommentToken(f"{token.value.splitlines()[0]}\n", token.start_mark, None)


def _put_beside(part: CommentedMap, key: str, comment: CommentToken | None) -> None:
    if comment is not None:
        part.ca.items[key] = [None, None, comment, None]


def _network(part: CommentedMap, services: frozenset[str], *, first: bool) -> Iterator[Note]:
    if "net" not in part:
        return
    value = str(part["net"])
    kind, _, name = value.partition(":")
    if first and value == "bridge":  # as every service of the first format without the key
        del part["net"]
        yield Note("net", "goes: it is on the project's network, as the others are now")
        return
    if kind == "container" and name in services:
        value = f"service:{name}"
    rename(part, "net", "network_mode", value)
    yield Note("net", "is called network_mode")


def _logging(part: CommentedMap) -> Iterator[Note]:
    for old, new in (("log_driver", "driver"), ("log_opt", "options")):
        if old not in part:
            continue
        value = part[old]
        if "logging" in part:
            part["logging"][new] = value
            del part[old]
        else:
            rename(part, old, "logging", CommentedMap({new: value}))
        yield Note(old, f"is called logging.{new}")


def _dockerfile(part: CommentedMap) -> Iterator[Note]:
    if "dockerfile" not in part or "build" not in part:
        return
    value = part["dockerfile"]
    del part["dockerfile"]
    if isinstance(part["build"], CommentedMap):
        part["build"]["dockerfile"] = value
    else:
        part["build"] = CommentedMap({"context": part["build"], "dockerfile": value})
    yield Note("dockerfile", "stands in build, with the context beside it")


def _volumes(part: CommentedMap, services: frozenset[str], *, first: bool) -> Iterator[Note]:
    if "volume_driver" in part and str(part["volume_driver"]) == "local":
        del part["volume_driver"]
        yield Note("volume_driver", "goes: local is what there is without it")
    if not first or "volumes_from" not in part:
        return
    for index, entry in enumerate(part["volumes_from"]):
        if str(entry).split(":")[0] not in services:
            part["volumes_from"][index] = f"container:{entry}"
            yield Note(f"volumes_from.{index}", "says that it is a container, no service")


def _limits(part: CommentedMap) -> Iterator[Note]:
    for old, (kind, name) in LIMITS.items():
        if old not in part:
            continue
        value, place, comment = part[old], list(part).index(old), _beside(part, old)
        del part[old]
        if "deploy" not in part or part["deploy"] is None:
            part.pop("deploy", None)
            part.insert(min(place, len(part)), "deploy", CommentedMap())
        inside = part["deploy"]
        for step in ("resources", kind):
            if inside.get(step) is None:
                inside[step] = CommentedMap()
            inside = inside[step]
        # With both, compose takes neither unless they are equal: the caller has asked it.
        inside[name] = value
        _put_beside(inside, name, comment)
        yield Note(old, f"is called deploy.resources.{kind}.{name}")
