"""Links between services: on a network of their own they say no more than who is started first."""

from collections.abc import Sequence

from ruamel.yaml.comments import CommentedMap

from tasks.containers import yaml_text
from tasks.containers.service_keys import Note, rename

_STARTED = "service_started"


class Reachable:
    """Which services reach one another by name without a link.

    Args:
        documents: All compose files, in the order in which they are laid over one another.
    """

    def __init__(self, documents: Sequence[CommentedMap]) -> None:
        """Gather each service's networks."""
        self._networks: dict[str, set[str]] = {}
        self._apart: set[str] = set()
        self._early: dict[str, set[str]] = {}
        for document in documents:
            for name, service in (document.get("services") or {}).items():
                self._networks.setdefault(name, set())
                for part in yaml_text.parts(service):
                    self._networks[name].update(part.get("networks") or ())
                    self._early.setdefault(name, set()).update(part.get("depends_on") or ())
                    # `net: bridge` of the first format is what all of its services have.
                    if "network_mode" in part or str(part.get("net", "bridge")) != "bridge":
                        self._apart.add(name)

    def without_link(self, one: str, other: str) -> bool:
        """Say whether a service reaches another one by its name."""
        if {one, other} & self._apart or other not in self._networks:
            return False
        return bool(self.networks(one) & self.networks(other))

    def networks(self, service: str) -> set[str]:
        """Name a service's networks."""
        return self._networks[service] or {"default"}

    def waits_for(self, one: str, other: str) -> bool:
        """Say whether a service says already that it is started after another one."""
        return other in self._early.get(one, set())


def replace_links(
    part: CommentedMap, service: str, reachable: Reachable, *, restarts: bool
) -> list[Note]:
    """Put what is started first in the place of links that say no more.

    Args:
        part: The service, or a mapping that is merged into it.
        service: Its name.
        reachable: Who reaches whom.
        restarts: Whether a link also passes a restart on.

    Returns:
        What was done.
    """
    if "links" not in part:
        return []
    gone = [link for link in part["links"] if _is_plain(str(link), service, reachable)]
    if not gone:
        return []
    first = [other for link in gone if not reachable.waits_for(service, other := _other(link))]
    left = [link for link in part["links"] if link not in gone]
    if first:
        _start_first(part, first, restarts=restarts, stays=bool(left))
    if left:
        for link in gone:
            part["links"].remove(link)
    elif "links" in part:
        del part["links"]
    where = f"services.{service}.links"
    early = "; depends_on says who is started first" if first else ""
    reached = f"{', '.join(map(_other, gone))} is reached by name on the same network"
    return [Note(where, f"{'goes' if not left else 'is shorter'}: {reached}{early}")]


def _other(link: object) -> str:
    return str(link).split(":")[0]


def _is_plain(link: str, service: str, reachable: Reachable) -> bool:
    other, _, alias = link.partition(":")
    return alias in ("", other) and reachable.without_link(service, other)


def _start_first(part: CommentedMap, first: Sequence[str], *, restarts: bool, stays: bool) -> None:
    more: dict[str, bool] = {"restart": True} if restarts else {}
    there = part.get("depends_on")
    if there is None:
        added = CommentedMap()
        if stays:
            part.insert(list(part).index("links"), "depends_on", added)
        else:
            rename(part, "links", "depends_on", added)
    elif isinstance(there, CommentedMap):
        added = there
    else:
        added = CommentedMap({str(one): CommentedMap({"condition": _STARTED}) for one in there})
        part["depends_on"] = added
    for other in first:
        added[other] = CommentedMap({"condition": _STARTED, **more})
