"""Compose files of older formats, written as the compose specification has them.

Sources: compose specification; Docker manuals, "Compose file versions and upgrading"; the
schemas of version 1 and 2 that come with docker-compose 1.29.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from ruamel.yaml.comments import CommentedMap

from tasks.containers import yaml_text
from tasks.containers.links import Reachable, replace_links
from tasks.containers.service_keys import Note, rewrite_service
from tasks.guardrails.errors import PreconditionFailed

_HEAD = re.compile(r"\A(?:[ \t]*(?:\#.*)?\n|(?:---|%.*)\s*\n)*")


@dataclass(frozen=True)
class Written:
    """Files as they shall be.

    Args:
        texts: Text by name, of those that change.
        rewrites: File, key and what becomes of it, for each.
        first_format: Whether some were of the first format, without `services`.
    """

    texts: Mapping[str, str] = field(repr=False)
    rewrites: tuple[tuple[str, str, str], ...]
    first_format: bool


def modernised(
    texts: Mapping[str, str],
    volumes: frozenset[str],
    *,
    limits_move: bool,
    links_go: bool,
    restarts: bool,
) -> Written:
    """Write compose files anew.

    Args:
        texts: Text by name, in the order in which they are laid over one another.
        volumes: Names of the volumes that there are.
        limits_move: Whether mem_limit, mem_reservation and cpus go to `deploy.resources`.
        links_go: Whether links to a service of the same network become `depends_on`.
        restarts: Whether a link also says, for the program in use, that a restart is passed on.

    Returns:
        The texts, and each key that was rewritten.

    Raises:
        PreconditionFailed: A file is no YAML, or nothing that compose ever read.
    """
    wrapped: dict[str, str] = {}
    rewrites: list[tuple[str, str, str]] = []
    firsts = set()
    for name, text in texts.items():
        document = yaml_text.load(text, name)
        wrapped[name] = text
        if _is_first_format(document, name):
            firsts.add(name)
            wrapped[name] = _below_services(text, name)
            rewrites.append((name, "(top)", "its services now stand below `services`"))
    reachable = Reachable([yaml_text.load(text, name) for name, text in wrapped.items()])
    changed = {}
    for name, text in wrapped.items():
        notes: list[Note] = []
        edit = partial(
            _edit,
            notes=notes,
            first=name in firsts,
            volumes=volumes,
            limits_move=limits_move,
            reachable=reachable if links_go else None,
            restarts=restarts,
        )
        new = yaml_text.edited(text, name, edit)
        rewrites += [(name, note.key, note.becomes) for note in notes]
        if new != texts[name]:
            changed[name] = new
    return Written(changed, tuple(rewrites), bool(firsts))


def _edit(
    document: CommentedMap,
    *,
    notes: list[Note],
    first: bool,
    volumes: frozenset[str],
    limits_move: bool,
    reachable: Reachable | None,
    restarts: bool,
) -> None:
    if "version" in document:
        del document["version"]
        notes.append(Note("version", "goes: the format has none any more"))
    services = document.get("services") or CommentedMap()
    for service, found in services.items():
        for part in yaml_text.parts(found):
            where = f"services.{service}"
            notes += rewrite_service(
                part, where, frozenset(services), first=first, limits_move=limits_move
            )
            if reachable is not None:
                notes += replace_links(part, service, reachable, restarts=restarts)
    if first:
        _name_volumes(document, volumes, notes)


def _is_first_format(document: CommentedMap, name: str) -> bool:
    if "services" in document or not (set(document) - {"version"}):
        return False
    rest = [key for key in document if key != "version" and not str(key).startswith("x-")]
    if str(document.get("version", "1")).split(".")[0] == "1" and all(
        isinstance(document[key], CommentedMap)
        and {"image", "build", "extends"} & set(document[key])
        for key in rest
    ):
        return True
    if set(rest) <= {"volumes", "networks", "secrets", "configs", "include", "name"}:
        return False
    raise PreconditionFailed(
        expected=f"`services` in {name}, or a file of the first format: services at its top.",
        found=f"{', '.join(map(str, rest))} with version {document.get('version', '(none)')}.",
        todo="Write the services below `services`, then run again.",
    )


def _below_services(text: str, name: str) -> str:
    """Indent a file of the first format below `services`; what stands above it stays there."""
    end = "\r\n" if "\r\n" in text else "\n"
    text = text.replace("\r\n", "\n")
    if "version" in (document := yaml_text.load(text, name)):
        line = document.lc.key("version")[0]
        lines = text.splitlines(keepends=True)
        text = "".join(lines[:line] + lines[line + 1 :])
    head = _HEAD.match(text)
    begins = head.end() if head else 0
    body = "".join(
        f"  {line}" if line.strip() else line for line in text[begins:].splitlines(keepends=True)
    )
    return f"{text[:begins]}services:\n{body}".replace("\n", end)


def _name_volumes(document: CommentedMap, there: frozenset[str], notes: list[Note]) -> None:
    """Declare the volumes of a file of the first format by the names that they had on the engine.

    Else compose would put the project's name before them, and start with empty ones.
    """
    named: dict[str, None] = {}
    for service in document["services"].values():
        for part in yaml_text.parts(service):
            for mount in part.get("volumes") or []:
                source, colon, _ = str(mount).partition(":")
                if colon and re.fullmatch(r"[A-Za-z0-9][\w.-]+", source):
                    named[source] = None
    for name in named:
        declared = CommentedMap({"name": name, **({"external": True} if name in there else {})})
        document.setdefault("volumes", CommentedMap())[name] = declared
        how = "there is one of this name: it is used" if name in there else "by the same name"
        notes.append(Note(f"volumes.{name}", f"is declared, {how}"))
