"""An edit of the files that define services: made whole, recognised, and taken back."""

import hashlib
from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from tasks.containers.yaml_text import merged
from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed, WorldMoved
from tasks.guardrails.plan import Answer, Change, Check, Observed, Standing, Verdict, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.definitions import Definition

_NEW = ":new"  # behind a file's name, among what is kept
_UNDONE = "-undone"  # under it, hashes of what an undo left where others had edited


def hash_of(text: str) -> str:
    """Give the sha256 of a file's text."""
    return hashlib.sha256(text.encode()).hexdigest()


class EditedFile(BaseModel):
    """A file that changes; its text may hold secrets, and is not in the plan.

    Args:
        name: Its name in the project's folder.
        before: sha256 of what it is.
        after: sha256 of what it shall be.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    before: str
    after: str


def edited_files(texts: Mapping[str, str], new: Mapping[str, str]) -> tuple[EditedFile, ...]:
    """Say of files what they are, and what they shall be.

    Args:
        texts: Text by name.
        new: The new text by name, of those that change.
    """
    return tuple(
        EditedFile(name=name, before=hash_of(texts[name]), after=hash_of(text))
        for name, text in new.items()
    )


class EditFiles(Change):
    """Edit files that define services; what each was is kept among the target's secrets.

    Args:
        files: The files.
        keep: Name of the secret under which the old and the new texts are kept.
        readable: Whether the platform's program could read them before.
    """

    permissions: ClassVar[tuple[str, ...]] = ("definition:write", "secrets:write")

    files: tuple[EditedFile, ...]
    keep: str
    readable: bool = True

    def written(self, definition: Definition) -> Mapping[str, str]:
        """Make the new texts from the present ones, by name."""
        raise NotImplementedError

    @property
    def names(self) -> str:
        """The files, for sentences."""
        return ", ".join(one.name for one in self.files)

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return tuple(f"file {one.name}" for one in self.files)

    def observe(self, work: Work) -> Observed:
        """Compare the files with their hashes, or with what is kept where others edited them."""
        system = targets.load(work.target)
        texts, kept = system.definition.texts(), system.secrets.read(self.keep) or {}
        undone = system.secrets.read(f"{self.keep}{_UNDONE}") or {}
        stands = {
            one.name: _standing(one, texts.get(one.name, ""), kept, undone.get(one.name, ""))
            for one in self.files
        }
        seen = "; ".join(f"{name} {said}" for name, (_, said) in stands.items())
        found = {standing for standing, _ in stands.values()}
        if found == {Standing.AFTER}:
            return Observed(Standing.AFTER, seen)
        if found == {Standing.BEFORE}:
            # What is still kept is to be put back, or was just kept: neither is the beginning.
            begun = bool(work.begun_at and kept)
            return Observed(Standing.HALF if begun else Standing.BEFORE, seen)
        halfway = work.begun_at is not None and Standing.OTHER not in found
        return Observed(Standing.HALF if halfway else Standing.OTHER, seen)

    def apply(self, work: Work) -> str:
        """Keep the texts, then write those that are not new yet."""
        system = targets.load(work.target)
        texts, kept = system.definition.texts(), system.secrets.read(self.keep)
        if kept is None:
            new = self.written(system.definition)
            if {name: hash_of(text) for name, text in new.items()} != {
                one.name: one.after for one in self.files
            }:
                raise WorldMoved(
                    expected=f"the same edit of {self.names} as was planned.",
                    found="another one.",
                    todo="Run the remediation again, with the same version.",
                )
            system.secrets.keep(
                self.keep,
                {one.name: texts[one.name] for one in self.files}
                | {f"{name}{_NEW}": text for name, text in new.items()},
            )
            kept = system.secrets.read(self.keep) or {}
            faults.point(f"{self.kind}:kept")
        system.definition.write(
            {
                one.name: kept[f"{one.name}{_NEW}"]
                for one in self.files
                if hash_of(texts[one.name]) == one.before
            }
        )
        return f"{counted(len(self.files), 'file')} written"

    def revert(self, work: Work) -> str:
        """Put the old texts back; where others edited since, take only ours out of the new ones."""
        system = targets.load(work.target)
        definition, kept = system.definition, system.secrets.read(self.keep)
        if kept is None:
            return "nothing was written"
        texts, old, between = definition.texts(), {}, []
        for one in self.files:
            now, before, after = texts[one.name], kept[one.name], kept[f"{one.name}{_NEW}"]
            if now == after:
                old[one.name] = before
            elif now != before:
                old[one.name] = self._without_ours(one.name, now, before, after)
                between.append(one.name)
        if between:  # neither text of ours: by this it is known again
            left = {name: hash_of(old[name]) for name in between}
            system.secrets.keep(f"{self.keep}{_UNDONE}", left)
        definition.write(old, tried=self.readable and bool(between))
        faults.point(f"{self.kind}:put-back")
        system.secrets.forget(self.keep)
        if between:
            return f"what others edited since in {', '.join(between)} stays"
        return "byte for byte as before"

    def _without_ours(self, name: str, now: str, before: str, after: str) -> str:
        text = merged(after, now, before)
        if text is None:
            raise PreconditionFailed(
                expected=f"the lines of {name} that were written to be as they were left.",
                found="somebody has edited the same lines since.",
                state=f"{name} is as it was found.",
                todo=f"Take the edit back by hand; the text of before is kept as the target's "
                f"secret {self.keep}.",
            )
        return text


def _standing(
    file: EditedFile, now: str, kept: Mapping[str, str], undone: str
) -> tuple[Standing, str]:
    known = {undone: Standing.BEFORE, file.after: Standing.AFTER, file.before: Standing.BEFORE}
    words = {Standing.AFTER: "is as it shall be", Standing.BEFORE: "is as it was"}
    if standing := known.get(hash_of(now)):
        return standing, words[standing]
    if kept:
        before, after = kept[file.name], kept[f"{file.name}{_NEW}"]
        for standing, base, other in (
            (Standing.AFTER, before, after),
            (Standing.BEFORE, after, before),
        ):
            if merged(base, now, other) == now:
                return standing, f"{words[standing]}, but for what others edited since"
    return Standing.OTHER, "is neither what it was nor what it shall be"


class DefinitionIsRead(Check):
    """The platform's program reads the files without complaint of their format.

    Args:
        services: The services that it has to find in them.
    """

    kind: ClassVar[str] = "containers.definition_is_read"

    services: tuple[str, ...]

    @property
    def title(self) -> str:
        """The claim."""
        return f"compose reads its files, with {counted(len(self.services), 'service')}"

    def ask(self, work: Work) -> Answer:
        """Have it read them."""
        reading = targets.load(work.target).definition.read()
        said = "; ".join(reading.said) or "it says nothing"
        if reading.services is None:
            return Answer(Verdict.NOT_HELD, f"it refuses them: {said}")
        missing = sorted(set(self.services) - set(reading.services))
        if missing:
            return Answer(Verdict.NOT_HELD, f"it does not find {', '.join(missing)}")
        return Answer(Verdict.HELD, f"it finds {', '.join(sorted(reading.services))}; {said}")
