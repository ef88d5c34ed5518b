"""What in compose files keeps a service to one container, and how many they ask for."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ruamel.yaml.comments import CommentedMap

from tasks.containers import yaml_text
from tasks.guardrails.errors import PreconditionFailed

_VARIABLE = re.compile(r"\$\{[^}]*\}|\$\w+")
_FIXED_ADDRESSES = ("ipv4_address", "ipv6_address", "mac_address")


def find_conflicts(described: Mapping[str, Any], count: int) -> tuple[list[str], list[str]]:
    """Find what keeps a service from having so many containers.

    Args:
        described: What compose makes of the files for it.
        count: How many there shall be.

    Returns:
        What can be taken out of the files, and what a person has to decide on; as sentences.
    """
    ours, theirs = [], []
    if count > 1:
        if name := described.get("container_name"):
            ours.append(f"container_name {name}: only one container can have that name")
        ours += [
            f"port {one} of the host: only one container can be given it"
            for one in _fixed_ports(described.get("ports") or [], count)
        ]
        mode = str(described.get("network_mode", ""))
        if mode == "host" or mode.startswith(("container:", "service:")):
            theirs.append(f"network_mode {mode}: all would listen at the same port")
        for name, network in (described.get("networks") or {}).items():
            if any((network or {}).get(key) for key in _FIXED_ADDRESSES):
                theirs.append(f"a fixed address in network {name}: only one container can have it")
        if (described.get("deploy") or {}).get("mode") == "global":
            theirs.append("deploy.mode global: one container on each machine")
    return ours, theirs


def _fixed_ports(ports: list[Any], count: int) -> Iterator[str]:
    for port in ports:
        if isinstance(port, Mapping):
            address, outside = port.get("host_ip", ""), str(port.get("published") or "")
        else:
            parts = str(port).partition("/")[0].split(":")
            address, outside = ":".join(parts[:-2]), parts[-2] if len(parts) > 1 else ""
        first, _, last = outside.partition("-")
        if outside and outside != "0" and int(last or first) - int(first) + 1 < count:
            yield f"{address}:{outside}".lstrip(":")


def with_replicas(
    texts: Mapping[str, str], service: str, count: int, *, freed: bool
) -> dict[str, str]:
    """Say in the files how many containers a service has, where that is said last.

    Args:
        texts: Text by name, in the order in which they are laid over one another.
        service: The service.
        count: How many.
        freed: Whether its container_name and the host's ports that it is given are taken out.

    Returns:
        Text by name, of those that change.

    Raises:
        PreconditionFailed: No file has the service, or a variable says how many.
    """
    found = dict(texts)
    named = [name for name, text in texts.items() if service in _services(text)]
    if not named:
        raise PreconditionFailed(
            expected=f"a compose file that says something of service {service}.",
            found=f"{', '.join(texts)} do not; another file that they include or extend may.",
            todo="Name that file in `compose_files` of the target, then run again.",
        )
    if freed:
        for name in named:
            found[name] = yaml_text.edited(found[name], name, _on(service, _free))
    said = {name: _said(_services(texts[name])[service]) for name in named}
    last = next((name for name in reversed(named) if said[name] is not None), named[-1])
    if "$" in str(said[last]):
        raise PreconditionFailed(
            expected=f"how many containers {service} has as a number in {last}.",
            found=f"{said[last]}.",
            todo=f"Write {count} there in place of the variable, then run again.",
        )
    # Where nothing is said one is meant: it is said only once there are more.
    if said[last] is not None or count > 1:
        found[last] = yaml_text.edited(found[last], last, _on(service, _say(count)))
    return {name: text for name, text in found.items() if text != texts[name]}


def _services(text: str) -> Mapping[str, Any]:
    project = yaml_text.read(text) or {}
    return {name: said or {} for name, said in (project.get("services") or {}).items()}


def _said(service: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any YAML
    deploy = service.get("deploy")
    beside = deploy.get("replicas") if isinstance(deploy, Mapping) else None
    return service.get("scale", beside)


def _on(service: str, edit: Callable[[CommentedMap], None]) -> Callable[[CommentedMap], None]:
    def edited(document: CommentedMap) -> None:
        if document["services"].get(service) is None:
            document["services"][service] = CommentedMap()
        edit(document["services"][service])

    return edited


def _free(service: CommentedMap) -> None:
    service.pop("container_name", None)
    ports = service.get("ports")
    for port in list(ports or []):
        if _is_fixed(port):
            ports.remove(port)
    if ports is not None and not ports:
        del service["ports"]


def _is_fixed(port: object) -> bool:
    """Say whether a port of the host is named, by a variable too, and no range of them."""
    if isinstance(port, Mapping):
        return str(port.get("published", "")) not in ("", "0")
    outside = _VARIABLE.sub("X", str(port)).partition("/")[0].split(":")[:-1]
    return bool(outside and outside[-1])


def _say(count: int) -> Callable[[CommentedMap], None]:
    def said(service: CommentedMap) -> None:
        if "scale" in service:
            service["scale"] = count
            return
        if service.get("deploy") is None:
            service["deploy"] = CommentedMap()
        service["deploy"]["replicas"] = count

    return said
