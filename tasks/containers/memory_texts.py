"""A service's limit of memory in compose files: where it is said, and said otherwise."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from ruamel.yaml.comments import CommentedMap

from tasks.containers import yaml_text
from tasks.guardrails.errors import PreconditionFailed

_DEPLOY = ("deploy", "resources", "limits", "memory")
_FLAT = ("mem_limit",)
_SWAP = ("memswap_limit",)
_STEPS = ((2**30, "G"), (2**20, "M"), (2**10, "K"))


def written(amount: int) -> str:
    """Write an amount of memory as compose files have it, as 3G or 768M."""
    return next(
        (f"{amount // size}{unit}" for size, unit in _STEPS if amount % size == 0), f"{amount}b"
    )


def with_limit(
    texts: Mapping[str, str], service: str, memory: int, swap: int, *, deploy: bool
) -> dict[str, str]:
    """Say another limit in the files, each time where it is said last.

    Args:
        texts: Text by name, in the order in which they are laid over one another.
        service: The service.
        memory: The limit, in bytes.
        swap: That of memory and swap together where the files say one, 0 to leave it.
        deploy: Whether it is said under `deploy` where no file says it yet.

    Returns:
        Text by name, of those that change.

    Raises:
        PreconditionFailed: It is said by a variable, or no file has the service.
    """
    found: dict[str, str] = dict(texts)
    spelled = [way for way in (_DEPLOY, _FLAT) if _owner(texts, service, way)]
    for way in spelled or [_DEPLOY if deploy else _FLAT]:
        _say(found, service, way, memory)
    if swap and _owner(texts, service, _SWAP):
        _say(found, service, _SWAP, swap)
    return {name: text for name, text in found.items() if text != texts[name]}


def is_flat(texts: Mapping[str, str], service: str) -> bool:
    """Say whether a file has the limit as mem_limit, which every compose honours."""
    return bool(_owner(texts, service, _FLAT))


def _owner(texts: Mapping[str, str], service: str, way: tuple[str, ...]) -> str:
    """Name the file that says something of a service last, '' where none does."""
    for name, text in reversed(list(texts.items())):
        if _value(_service(text, service), way) is not None:
            return name
    return ""


def _service(text: str, service: str) -> Mapping[str, Any] | None:
    project = yaml_text.read(text) or {}
    services = project.get("services") or {}
    return (services[service] or {}) if service in services else None


def _value(found: Any, way: tuple[str, ...]) -> Any:  # noqa: ANN401 - any YAML
    for step in way:
        if not isinstance(found, Mapping):
            return None
        found = found.get(step)
    return found


def _say(texts: dict[str, str], service: str, way: tuple[str, ...], amount: int) -> None:
    name = _owner(texts, service, way) or next(
        (one for one, text in reversed(list(texts.items())) if _service(text, service) is not None),
        "",
    )
    if not name:
        raise PreconditionFailed(
            expected=f"a compose file that says something of service {service}.",
            found=f"{', '.join(texts)} do not; another file that they include or extend may.",
            todo="Name that file in `compose_files` of the target, or set the limit there by hand.",
        )
    now = str(_value(_service(texts[name], service), way) or "")
    if "$" in now:
        raise PreconditionFailed(
            expected=f"the limit of service {service} as a number in {name}.",
            found=f"{'.'.join(way)} is {now}.",
            todo=f"Set that variable to {written(amount)} in `.env`, then run again.",
        )
    edit = partial(_set, service=service, way=way, amount=written(amount))
    texts[name] = yaml_text.edited(texts[name], name, edit)


def _set(document: CommentedMap, *, service: str, way: tuple[str, ...], amount: str) -> None:
    inside = document["services"]
    for step in (service, *way[:-1]):
        if inside.get(step) is None:
            inside[step] = CommentedMap()
        inside = inside[step]
    inside[way[-1]] = amount
