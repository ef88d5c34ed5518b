"""A service's published ports in compose files: read, added, and given another address.

Source: the compose specification, services/ports.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from tasks.containers import yaml_text
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.networks import EVERYWHERE, Binding

_SHORT = re.compile(
    r"^(?:(?:(?:\[(?P<six>[^\]]+)\]|(?P<four>\d+(?:\.\d+){3})):)?(?P<out>\d*):)?(?P<port>\d+)$"
)


def read_port(entry: object) -> Binding | None:
    """Read an entry of `ports`.

    Args:
        entry: A number, a text as "127.0.0.1:8000:8000", or the long form.

    Returns:
        What it publishes; None for another protocol, a range, or one with a variable in it.
    """
    if isinstance(entry, Mapping):
        if str(entry.get("protocol", "tcp")) != "tcp":
            return None
        port, outside = str(entry.get("target", "")), str(entry.get("published") or 0)
        if not port.isdigit() or not outside.isdigit():
            return None
        return Binding(int(port), _address(str(entry.get("host_ip") or "")), int(outside))
    found = _SHORT.match(str(entry).removesuffix("/tcp"))
    if found is None:
        return None
    address = _address(found["six"] or found["four"] or "")
    return Binding(int(found["port"]), address, int(found["out"] or 0))


def read_ports(service: Mapping[str, Any]) -> tuple[Binding, ...]:
    """Read what a service publishes, as `config` has it; ports of TCP alone."""
    found = {read_port(one) for one in service.get("ports") or []}
    return tuple(sorted(one for one in found if one is not None))


def with_port(
    texts: Mapping[str, str], service: str, wanted: Binding, now: Binding | None
) -> dict[str, str]:
    """Publish a port in the files, in the place of an entry or beside what there is.

    Args:
        texts: Text by name, in the order in which they are laid over one another.
        service: The service.
        wanted: What is to be published.
        now: What an entry publishes that it takes the place of; None to add one.

    Returns:
        Text by name, of those that change.

    Raises:
        PreconditionFailed: A variable says it, or no file has the service.
    """
    if now is not None:
        name = next((one for one, entry in _entries(texts, service) if read_port(entry) == now), "")
        if not name:
            raise PreconditionFailed(
                expected=f"an entry {now} of `ports` of service {service} in {', '.join(texts)}.",
                found="none that is written so: a variable of `.env` says a part of it.",
                todo=f"Set that variable so that it gives {wanted}, then run again.",
            )
        edit = partial(_replace, service=service, now=now, wanted=wanted)
    else:
        with_ports = [one for one, _ in _entries(texts, service)]
        named = [one for one, text in texts.items() if service in _services(text)]
        if not named:
            raise PreconditionFailed(
                expected=f"a compose file that says something of service {service}.",
                found=f"{', '.join(texts)} do not; another one that they include may.",
                todo="Name that file in `compose_files` of the target.",
            )
        name = (with_ports or named)[-1]
        edit = partial(_add, service=service, wanted=wanted)
    return {name: yaml_text.edited(texts[name], name, edit)}


def _address(address: str) -> str:
    return "" if address in EVERYWHERE else address


def _services(text: str) -> Mapping[str, Any]:
    return (yaml_text.read(text) or {}).get("services") or {}


def _entries(texts: Mapping[str, str], service: str) -> Iterator[tuple[str, object]]:
    for name, text in texts.items():
        ports = (_services(text).get(service) or {}).get("ports")
        for entry in ports if isinstance(ports, list) else []:
            yield name, entry


def _replace(document: CommentedMap, *, service: str, now: Binding, wanted: Binding) -> None:
    ports = document["services"][service]["ports"]
    place = next(number for number, entry in enumerate(ports) if read_port(entry) == now)
    entry = ports[place]
    if isinstance(entry, CommentedMap):
        entry["published"] = DoubleQuotedScalarString(str(wanted.outside))
        entry.pop("host_ip", None)
        if wanted.address:
            entry["host_ip"] = wanted.address
    else:
        ports[place] = DoubleQuotedScalarString(str(wanted))


def _add(document: CommentedMap, *, service: str, wanted: Binding) -> None:
    part = document["services"][service]
    entry = DoubleQuotedScalarString(str(wanted))
    if part is None:
        part = document["services"][service] = CommentedMap()
    if isinstance(part.get("ports"), CommentedSeq):
        part["ports"].append(entry)
        return
    part.pop("ports", None)
    part.insert(min(1, len(part)), "ports", CommentedSeq([entry]))
