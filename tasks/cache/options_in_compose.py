"""Options of a cache's server in its command in a compose file."""

import re
from collections.abc import Collection, Iterator, Mapping
from functools import partial
from typing import Any, ClassVar

from ruamel.yaml.comments import CommentedMap, CommentedSeq

from tasks.cache.options import shown
from tasks.containers import yaml_text
from tasks.containers.file_edits import EditFiles
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.definitions import Definition

_SERVER = re.compile(r"\b(?:redis|valkey)-server\b")


class SetCacheOptionsInCompose(EditFiles):
    """Say options in the command of the cache's service, for when its container is made anew.

    Args:
        service: The service.
        before: The options as the server has them.
        after: The options as they shall be.
    """

    kind: ClassVar[str] = "cache.set_options_in_compose"

    service: str
    before: dict[str, str]
    after: dict[str, str]

    @property
    def title(self) -> str:
        """What the change does."""
        return f"say {', '.join(self.after)} in the command of {self.service} in {self.names}"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"its command: {shown(self.before)}", f"its command: {shown(self.after)}"

    def written(self, definition: Definition) -> Mapping[str, str]:
        """Make the new texts from the present ones, by name."""
        return with_command(definition.texts(), self.service, self.after)


def says_in_command(texts: Mapping[str, str], service: str, options: Collection[str]) -> bool:
    """Say whether a service's command names one of some options: it wins over any file.

    Args:
        texts: Text by name, in the order in which they are laid over one another.
        service: The service.
        options: Their names.
    """
    words = next((said for _, said in _commands(texts, service)), "")
    return any(re.search(rf"--{re.escape(one)}[ =]", words) for one in options)


def _commands(texts: Mapping[str, str], service: str) -> Iterator[tuple[str, str]]:
    """Give the commands that files say for a service, the last one first, by file."""
    for name, text in reversed(list(texts.items())):
        services = (yaml_text.read(text) or {}).get("services") or {}
        command = (services.get(service) or {}).get("command")
        words = " ".join(map(str, command)) if isinstance(command, list) else str(command or "")
        if words:
            yield name, words


def with_command(
    texts: Mapping[str, str], service: str, options: Mapping[str, str]
) -> dict[str, str]:
    """Say options in a service's command, in the file that says it last.

    Args:
        texts: Text by name, in the order in which they are laid over one another.
        service: The service.
        options: Value by name.

    Returns:
        Text by name, of the file that changes.

    Raises:
        PreconditionFailed: No file has a command of a Redis or Valkey server for it.
    """
    name, words = next(_commands(texts, service), ("", ""))
    if _SERVER.search(words) and not any(_is_variable(words, one) for one in options):
        edit = partial(_set, service=service, options=options)
        return {name: yaml_text.edited(texts[name], name, edit)}
    raise PreconditionFailed(
        expected=f"a command of {service} in the compose files that starts redis-server or "
        "valkey-server, with its options as they are.",
        found="none, or a variable says them.",
        todo=f"Say {shown(options)} where its next start finds it, by hand.",
    )


def _is_variable(words: str, option: str) -> bool:
    return bool(re.search(rf"--{re.escape(option)}[ =]\S*\$", words))


def _set(document: CommentedMap, *, service: str, options: Mapping[str, str]) -> None:
    part: dict[str, Any] = document["services"][service]
    for name, value in options.items():
        command = part["command"]
        if isinstance(command, CommentedSeq):
            _set_in_list(command, f"--{name}", value)
            continue
        pattern = re.compile(rf"(--{re.escape(name)}[ =])\S+")
        new = pattern.sub(rf"\g<1>{value}", str(command))
        if new == command and not pattern.search(str(command)):
            new = f"{str(command).rstrip()} --{name} {value}"
        part["command"] = type(command)(new)


def _set_in_list(command: CommentedSeq, option: str, value: str) -> None:
    for place, word in enumerate(command):
        if word == option and place + 1 < len(command):
            command[place + 1] = value
            return
        if str(word).startswith(f"{option} "):
            command[place] = f"{option} {value}"
            return
    command.extend([option, value])
