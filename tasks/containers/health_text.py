"""Where compose files say a service's health check, and how it is said otherwise there."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from pydantic import BaseModel, ConfigDict
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from tasks.containers import yaml_text
from tasks.guardrails.errors import PreconditionFailed


class Wording(BaseModel):
    """What of a health check is said otherwise; what is empty stays.

    Args:
        old_url: The URL that it asks, where another one shall be.
        new_url: The other one.
        test: A whole new command; not together with another URL. No secret is in it.
        timeout: In whole seconds.
        start_period: In whole seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    old_url: str = ""
    new_url: str = ""
    test: tuple[str, ...] = ()
    timeout: int = 0
    start_period: int = 0

    @property
    def of_check(self) -> tuple[str, ...]:
        """The keys of `healthcheck` that it is about (`keys` would make it a mapping)."""
        said = {
            "test": bool(self.new_url or self.test),
            "timeout": bool(self.timeout),
            "start_period": bool(self.start_period),
        }
        return tuple(key for key, is_said in said.items() if is_said)

    def __str__(self) -> str:
        """Say it in a sentence."""
        said = []
        if self.new_url:
            said.append(f"asks {self.new_url} instead of {self.old_url}")
        if self.test:
            said.append(f"runs {' '.join(self.test[1:])}")
        if self.timeout:
            said.append(f"may take {self.timeout} s")
        if self.start_period:
            said.append(f"counts {self.start_period} s after the start at the earliest")
        return ", ".join(said)


def with_wording(texts: Mapping[str, str], service: str, wording: Wording) -> dict[str, str]:
    """Say a service's health check otherwise, each key where it is said last.

    Args:
        texts: Text by name, in the order in which they are laid over one another.
        service: The service.
        wording: What is said otherwise.

    Returns:
        Text by name, of the files that change.

    Raises:
        PreconditionFailed: A key is said by a variable, or in a way that is not ours to edit.
    """
    found: dict[str, str] = {}
    for key in wording.of_check:
        name, said = _said_in(texts, service, key)
        value = _value(key, said, name, wording)
        text = found.get(name, texts[name])
        found[name] = yaml_text.edited(
            text, name, partial(_set, service=service, key=key, value=value)
        )
    return found


def _said_in(texts: Mapping[str, str], service: str, key: str) -> tuple[str, Any]:
    """Find the file that says a key last; else that of the check, else that of the service."""
    of_check = of_service = ""
    for name, text in reversed(list(texts.items())):
        services = (yaml_text.read(text) or {}).get("services") or {}
        if not isinstance(services, dict) or service not in services:
            continue
        of_service = of_service or name
        check = (services[service] or {}).get("healthcheck")
        if check is None:
            continue
        if not isinstance(check, dict):
            raise _not_ours(service, name)
        of_check = of_check or name
        if key in check:
            return name, check[key]
    if not of_service:
        raise PreconditionFailed(
            expected=f"a compose file that has service {service}.",
            found=f"{', '.join(texts)} have not; a file that they include or extend may.",
            todo="Name that file in `compose_files` of the target.",
        )
    return of_check or of_service, None


def _value(key: str, said: object, name: str, wording: Wording) -> object:
    if key != "test":
        if "$" in str(said):
            raise PreconditionFailed(
                expected=f"{key} of the health check as a number in {name}.",
                found="a variable says it.",
                todo=f"Set that variable in `.env` so that {wording}.",
            )
        return f"{getattr(wording, key)}s"
    if wording.test:
        test = CommentedSeq(DoubleQuotedScalarString(word) for word in wording.test)
        test.fa.set_flow_style()
        return test
    inside = [said] if isinstance(said, str) else said
    if not isinstance(inside, list) or not any(wording.old_url in str(one) for one in inside):
        raise PreconditionFailed(
            expected=f"the URL of the health check, {wording.old_url}, in {name}.",
            found="it is not said there in these words; an image or a variable may say it.",
            todo=f"Say it there so that it {wording}.",
        )
    return (wording.old_url, wording.new_url)


def _set(document: CommentedMap, *, service: str, key: str, value: object) -> None:
    part = document["services"][service]
    check = part.get("healthcheck")
    if check is None:
        check = part["healthcheck"] = CommentedMap()
    if not isinstance(value, tuple):
        check[key] = value
        return
    old, new = value
    said = check[key]
    if isinstance(said, str):
        check[key] = type(said)(said.replace(old, new))
        return
    for place, word in enumerate(said):
        if old in str(word):
            said[place] = type(word)(str(word).replace(old, new))


def _not_ours(service: str, name: str) -> PreconditionFailed:
    return PreconditionFailed(
        expected=f"the health check of {service} as a mapping in {name}.",
        found="it has a tag of compose's.",
        todo="Edit it by hand.",
    )
