"""Old syntax in a project's compose files: what compose says, and the change that mends it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from tasks.containers import yaml_text
from tasks.containers.file_edits import EditFiles, edited_files
from tasks.containers.meaning import differences, meaning, said_twice
from tasks.containers.old_syntax import Written, modernised
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.definitions import Definition, Program, Reading

# From here on docker-compose reads files without `version`, and heeds limits below `deploy`.
_OLDEST = (1, 27)
# From here on a link means that a restart is passed on, and `depends_on` can say it.
_RESTARTS = (2, 17)


@dataclass(frozen=True)
class OldSyntax:
    """What is old in a project's files, and what the files shall be.

    Args:
        findings: What was seen.
        change: The edit, None where nothing is old.
        services: The services that the files define.
        notes: What the approver should know.
    """

    findings: tuple[Finding, ...]
    change: "ModerniseFiles | None"
    services: tuple[str, ...]
    notes: tuple[str, ...]


class ModerniseFiles(EditFiles):
    """Write compose files as the compose specification has them.

    Args:
        limits_move: Whether mem_limit, mem_reservation and cpus go to `deploy.resources`.
        links_go: Whether links that say no more become `depends_on`.
        restarts: Whether a link also passes a restart on, for the program in use.
        volumes: Volumes that there were, for files of the first format.
    """

    kind: ClassVar[str] = "containers.modernise_files"

    limits_move: bool
    links_go: bool
    restarts: bool
    volumes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What the change does."""
        return f"write {self.names} in the syntax of today"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"{self.names} in older syntax", f"{self.names} in the syntax of today"

    def written(self, definition: Definition) -> Mapping[str, str]:
        """Make the new texts from the present ones, by name."""
        return modernised(
            definition.texts(),
            frozenset(self.volumes),
            limits_move=self.limits_move,
            links_go=self.links_go,
            restarts=self.restarts,
        ).texts


@probe
def find_old_syntax(target: str, keep: str, *, keep_readable: bool) -> OldSyntax:
    """Find old syntax in a project's files, and prove that what shall be there means the same.

    Args:
        target: Name of the target.
        keep: Name of the secret under which an edit keeps the texts.
        keep_readable: Whether what compose still reads stays.

    Returns:
        What is old, and the change.

    Raises:
        PreconditionFailed: The program is too old, or refuses the files for another reason than
            their format, or the new texts would mean something else.
    """
    definition = targets.load(target).definition
    program, texts, reading = definition.program(), definition.texts(), definition.read()
    _insist_on_program(program)
    _insist_on_one_value(reading, texts)
    volumes = definition.volumes()
    way = {
        "limits_move": not keep_readable,
        "links_go": not keep_readable,
        "restarts": program.version >= _RESTARTS,
    }
    written = modernised(texts, volumes, **way)
    said = Finding(
        what=f"{program} {'refuses' if reading.services is None else 'reads'} "
        f"{', '.join(texts)}{', and says:' if reading.said else '.'}",
        how=f"`{program.name} config`",
        columns=("what it says",) if reading.said else (),
        rows=tuple((one,) for one in reading.said),
    )
    new = definition.read(written.texts)
    if new.services is None:
        raise PreconditionFailed(
            expected=f"{program} to read the files once their old syntax is gone.",
            found=f"it refuses them: {'; '.join(new.said)}.",
            todo="Correct what it names, then run again.",
        )
    if not written.texts:
        return OldSyntax((said,), None, tuple(new.services), ())
    how = _insist_on_one_meaning(texts, written, reading, new, restarts=way["restarts"])
    anew = sorted(
        service
        for service, was in definition.made_from().items()
        if was != new.fingerprints.get(service, was)
    )
    keys = {key for _, key, _ in written.rewrites}
    change = ModerniseFiles(
        files=edited_files(texts, written.texts),
        keep=keep,
        readable=reading.services is not None,
        volumes=tuple(sorted(one for one in volumes if f"volumes.{one}" in keys)),
        **way,
    )
    rewritten = Finding(
        what=f"{counted(len(written.rewrites), 'key is', 'keys are')} of an older format.",
        how=f"read {', '.join(texts)}",
        columns=("file", "key", "what becomes of it"),
        rows=written.rewrites,
    )
    same = Finding(
        what=f"The new {'file means' if len(written.texts) == 1 else 'files mean'} the same: "
        f"{counted(len(new.services), 'service')}, key by key.",
        how=how,
    )
    notes = tuple(_notes(written, anew, program))
    return OldSyntax((said, rewritten, same), change, tuple(sorted(new.services)), notes)


def _insist_on_program(program: Program) -> None:
    if program.version < _OLDEST:
        raise PreconditionFailed(
            expected="docker-compose 1.27 or newer, or `docker compose`.",
            found=f"{program}, which takes files without `version` for the first format.",
            todo="Update compose first.",
        )


def _insist_on_one_value(reading: Reading, texts: Mapping[str, str]) -> None:
    conflicts = [one for one in reading.said if "distinct values" in one]
    conflicts += said_twice([yaml_text.read(text) for text in texts.values()])
    if conflicts:
        raise PreconditionFailed(
            expected="each limit to be said once, or twice with the same value.",
            found=f"{'; '.join(conflicts)}: which of them is meant, the files do not say.",
            todo="See what is in force with `docker inspect`, and delete the other one.",
        )


def _insist_on_one_meaning(
    texts: Mapping[str, str], written: Written, reading: Reading, new: Reading, *, restarts: bool
) -> str:
    """Compare what the files meant with what they shall mean; say how that was seen."""
    if reading.project is not None and new.project is not None:
        old, today = [reading.project], [new.project]
        how = "`config` of both, in one form"
    else:
        old = [yaml_text.read(text) for text in texts.values()]
        today = [yaml_text.read(text) for text in {**texts, **written.texts}.values()]
        how = (
            "compose cannot read the old text: both were read key by key, with the names that "
            "keys had in each format; `config` reads the new one"
        )
    known = partial(meaning, first_format=written.first_format, restarts=restarts)
    differ = list(differences(known(old), known(today)))
    if differ:
        raise PreconditionFailed(
            expected="files in the syntax of today that mean the same as the old ones.",
            found=f"they would differ in {', '.join(differ)}.",
            todo="Rewrite these keys by hand, then run again.",
        )
    return how


def _notes(written: Written, anew: list[str], program: Program) -> Iterator[str]:
    if anew:
        yield (
            f"nothing is restarted; the next `{program.name} up -d` makes the containers of "
            f"{', '.join(anew)} anew, as they were made from other words"
        )
    else:
        yield f"nothing is restarted, and the next `{program.name} up -d` restarts nothing for it"
    if written.first_format:
        yield (
            "files of the first format ran on the engine's bridge: from the next `up` on services "
            "are on a network of the project's own, and variables like DB_PORT that links set are "
            "gone"
        )
