"""Have the application's logs rotated: in its compose file, and by containers made anew from it.

Source: docker's manual, "JSON File logging driver"; the compose specification, services/logging.
"""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from tasks.containers import yaml_text
from tasks.containers.remade import EditAndMakeAnew
from tasks.disk.removals import store_of
from tasks.disk.sizes import megabytes
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Answer, Check, Verdict, Work
from tasks.platforms.definitions import Definition

DRIVER = "json-file"


class RotateLogs(EditAndMakeAnew):
    """Say in the compose file how the application's logs are rotated, and make it anew.

    Args:
        max_size: From which size on a log is rotated, as '10m'.
        max_files: How many files are kept, the one that is written to among them.
    """

    kind: ClassVar[str] = "disk.rotate_logs"

    max_size: str
    max_files: int

    @property
    def title(self) -> str:
        """What the change does."""
        return f"rotate the logs of {self.service} at {self.max_size}, and make it anew"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return "its log grows without bound", f"at most {self.max_files} files of {self.max_size}"

    def written(self, definition: Definition) -> Mapping[str, str]:
        """Make the new texts from the present ones, by name."""
        return with_rotation(definition.texts(), self.service, self.max_size, self.max_files)


class LogsAreBounded(Check):
    """The engine rotates the log of each container of a service.

    Args:
        service: The service.
        bound: By what, as '10m x 3'.
    """

    kind: ClassVar[str] = "disk.logs_are_bounded"

    service: str
    bound: str

    @property
    def title(self) -> str:
        """The claim."""
        return f"the engine keeps {self.bound} of the logs of {self.service}"

    def ask(self, work: Work) -> Answer:
        """Ask the engine for the options of each container's log."""
        store = store_of(work)
        found = [
            one
            for one in store.logs()
            if (one.project, one.service) == (store.project, self.service)
        ]
        seen = "; ".join(
            f"{one.container}: {one.most or 'nothing'}"
            + ("" if one.size is None else f", {megabytes(one.size)} MB now")
            for one in found
        )
        held = bool(found) and all(one.most == self.bound for one in found)
        return Answer(Verdict.HELD if held else Verdict.NOT_HELD, seen or "no container")


def with_rotation(
    texts: Mapping[str, str], service: str, max_size: str, max_files: int
) -> dict[str, str]:
    """Say how a service's logs are rotated, where its logging is said last.

    Args:
        texts: Text by name, in the order in which they are laid over one another.
        service: The service.
        max_size: From which size on, as '10m'.
        max_files: How many files are kept.

    Returns:
        Text by name, of the file that changes.

    Raises:
        PreconditionFailed: No file has the service.
    """
    having = [name for name, text in texts.items() if service in _services(text)]
    if not having:
        raise PreconditionFailed(
            expected=f"a compose file that says something of service {service}.",
            found=f"{', '.join(texts)} do not; another one that they include or extend may.",
            todo="Name that file in `compose_files` of the target.",
        )
    saying = [name for name in having if (_services(texts[name])[service] or {}).get("logging")]
    name = (saying or having)[-1]
    edit = partial(_set, service=service, max_size=max_size, max_files=max_files)
    return {name: yaml_text.edited(texts[name], name, edit)}


def _services(text: str) -> Mapping[str, Mapping[str, object] | None]:
    return (yaml_text.read(text) or {}).get("services") or {}


def _set(document: CommentedMap, *, service: str, max_size: str, max_files: int) -> None:
    services = document["services"]
    if services[service] is None:
        services[service] = CommentedMap()
    logging = services[service].setdefault("logging", CommentedMap())
    logging["driver"] = DRIVER
    options = logging.setdefault("options", CommentedMap())
    options["max-size"] = DoubleQuotedScalarString(max_size)
    options["max-file"] = DoubleQuotedScalarString(str(max_files))
