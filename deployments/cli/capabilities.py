"""What of a target works: each capability is asked, read-only but for the probe's own row."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.database.catalogue import elsewhere, inspect_database
from tasks.database.rights import inspect_rights, require_rights
from tasks.guardrails.errors import PreconditionFailed, RemediationError, Transient
from tasks.guardrails.plan import Verdict, Work
from tasks.platforms import targets
from tasks.platforms.protocols import System

Word = Literal["works", "fails", "lacking", "unproved"]
_VERDICTS: dict[Verdict, Word] = {
    Verdict.HELD: "works",
    Verdict.NOT_HELD: "fails",
    Verdict.NOT_ASKED: "unproved",
}
_TRIED_SECONDS, _NEWEST_LINES = 10.0, 1000


@dataclass(frozen=True)
class Answer:
    """How a capability answered."""

    what: str
    answer: Word
    detail: str


def examine(name: str) -> list[Answer]:
    """Ask every capability of a target.

    Args:
        name: Name of the target.

    Returns:
        An answer for each; one that the platform lacks is said to be lacking.

    Raises:
        PreconditionFailed: There is no such target.
    """
    system = targets.load(name)
    asked: list[tuple[str, Callable[[System], str]]] = [
        ("identity", lambda one: ", ".join(f"{k} {v}" for k, v in one.identity().items())),
        ("database", _database),
        ("database rights", _rights),
        ("backups", _backups),
        ("cache", lambda one: f"{one.cache.count()} keys; queued: {one.cache.queued() or 'none'}"),
        ("application", lambda one: one.application.url),
        ("migrations", _migrations),
        ("server", lambda one: f"data folder {one.server.look().data}"),
        ("disks", _disks),
    ]
    found = [_ask(what, question, system) for what, question in asked]
    found += [_ask_if_any(what, *of_it, system) for what, of_it in _NOT_EVERYWHERE.items()]
    answer = ApplicationAnswers().ask(Work(target=name, remediation="target-check"))
    found.append(Answer("probe account", _VERDICTS[answer.verdict], answer.detail))
    found += [Answer("probe account", "unproved", sentence) for sentence in find_unproved(name)]
    return found


def _ask(what: str, question: Callable[[System], str], system: System) -> Answer:
    try:
        return Answer(what, "works", question(system))
    except PreconditionFailed as error:
        lacking = "capability" in error.expected or "lacks" in error.found
        return Answer(what, "lacking" if lacking else "fails", error.found)
    except RemediationError as error:
        return Answer(what, "fails", error.found)


def _ask_if_any(
    what: str, attribute: str, question: Callable[[System], str], system: System
) -> Answer:
    try:
        getattr(system, attribute)
    except PreconditionFailed as error:
        return Answer(what, "lacking", error.found)
    return _ask(what, question, system)


def _database(system: System) -> str:
    database = system.database
    with database.connect() as session:
        row = session.execute(
            "SELECT version() AS version, pg_size_pretty(pg_database_size(current_database()))"
            " AS size"
        ).fetchone()
    programs = database.program("pg_restore").parent
    said = row or {}
    free = database.free_bytes()
    disk = "unknown" if free is None else f"{free / 1e9:.1f} GB"
    version = " ".join(str(said.get("version", "")).split()[:2])
    return f"{database.name} on {version}, {said.get('size')}, disk free {disk}, {programs}"


def _rights(system: System) -> str:
    database = system.database
    with database.connect(elsewhere(database)) as session:
        rights = inspect_rights(session, inspect_database(session, database.name))
    require_rights(rights)
    return f"{rights.user} is a superuser" if rights.superuser else f"{rights.user} has them all"


def _backups(system: System) -> str:
    found = system.backups.list()
    if not found:
        return "none yet"
    return f"{len(found)} files, newest {found[0].name} of {found[0].modified:%F %R}"


def _disks(system: System) -> str:
    places, unseen = system.disks.places()
    seen = [f"{one.what} {one.free / 1e9:.1f} GB free" for one in places]
    return "; ".join((*seen, *unseen))


def _definition(system: System) -> str:
    definition = system.definition
    services = definition.read().whole().get("services") or {}
    return f"{', '.join(services)} in {', '.join(definition.texts())}, by {definition.program()}"


def _of_each(system: System, question: Callable[[System, str], str]) -> str:
    return "; ".join(question(system, one) for one in system.definition.read().services or ())


def _containers(system: System, service: str) -> str:
    found = system.containers.of(service)
    return ", ".join(f"{one.name} {one.status}" for one in found) or f"{service} has none"


def _memory(system: System, service: str) -> str:
    used = sum(one.working_set or 0 for one in system.memory.use(service))
    return f"{service} uses {used / 1e6:.0f} MB"


def _ports(system: System, service: str) -> str:
    bound = [str(port) for way in system.network.ways(service) for port in way.bound]
    return f"{service} {', '.join(bound) or 'none'}"


def _scaling(system: System) -> str:
    found, obstacles = system.scaling.seen(), system.scaling.obstacles()
    for_more = "; ".join(obstacles) or "nothing"
    return f"{len(found)} of {system.scaling.service}; in the way of more: {for_more}"


def _trials(system: System, service: str) -> str:
    tried = {
        one.name: system.trials.inside(one.id, ["true"], _TRIED_SECONDS)
        for one in system.containers.of(service)
        if one.runs
    }
    for name, one in tried.items():
        if not one.ended:
            raise Transient(
                expected=f"`true` to end in {name}.", found=f"{one}.", todo="Look at its load."
            )
    return ", ".join(f"{name} {one}" for name, one in tried.items()) or f"none of {service} runs"


def _processes(system: System) -> str:
    used = system.processes.used()
    each = ", ".join(f"{name} uses {amount / 1e6:.0f} MB" for (name, _), amount in used.items())
    try:
        return f"{each or 'none runs'}; processes seen: {len(system.processes.here())}"
    except PreconditionFailed as error:  # the containers can be measured, what is in them not
        return f"{each or 'none runs'}; processes not seen: {error.found}"


def _access_log(system: System) -> str:
    return f"{len(system.access_log.lines(_NEWEST_LINES))} of its newest lines read"


def _migrations(system: System) -> str:
    settings = system.migrations
    if settings is None:
        raise PreconditionFailed(
            expected="the capability to migrate the schema.",
            found="the target lacks the settings for it.",
            todo="Add `migrations` to the target.",
        )
    return " ".join(settings.upgrade)


# What a platform need not have: by name, the attribute of the target, and what it is asked.
_NOT_EVERYWHERE: dict[str, tuple[str, Callable[[System], str]]] = {
    "machine": ("machine", lambda one: one.machine.run(["uname", "-sr"]).output.strip()),
    "compose files": ("definition", _definition),
    "containers": ("containers", lambda one: _of_each(one, _containers)),
    "memory": ("memory", lambda one: _of_each(one, _memory)),
    "ports": ("network", lambda one: _of_each(one, _ports)),
    "images": ("images", lambda one: ", ".join(map(str, one.images.recipes())) or "none is built"),
    "scaling": ("scaling", _scaling),
    "commands in containers": ("trials", lambda one: _of_each(one, _trials)),
    "processes": ("processes", _processes),
    "access log": ("access_log", _access_log),
}
