"""Versions written into a requirements file, known by its hash and by the lines themselves."""

from pathlib import Path
from typing import ClassVar

from tasks.containers.file_edits import hash_of
from tasks.guardrails.errors import PreconditionFailed, WorldMoved
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.images.requirements import lines_of, written
from tasks.platforms import targets


def with_pins(
    text: str, pins: tuple[tuple[int, str, str], ...], added: tuple[str, ...], mark: str
) -> str | None:
    """Write versions into a requirements file.

    Args:
        text: The file.
        pins: Number of a line, what it requires, what it shall require.
        added: Requirements that come at the end.
        mark: The remediation's id, in the comment above those.

    Returns:
        The new text; None where something else stands on one of the lines.
    """
    block = (f"# remedy {mark}", *added) if added else ()
    return written(text, {number: (old, new) for number, old, new in pins}, block)


class PinRequirements(Change):
    """Write versions into a requirements file; its comments and order stay.

    Args:
        context: The folder that is built.
        name: The file, seen from there.
        before: Hash of its text.
        after: Hash of the new text.
        pins: Number of a line, what it requires, what it shall require.
        added: Requirements that come at the end.
        mark: The remediation's id.
    """

    kind: ClassVar[str] = "images.pin_requirements"
    permissions: ClassVar[tuple[str, ...]] = ("images:write-requirements",)

    context: Path
    name: str
    before: str
    after: str
    pins: tuple[tuple[int, str, str], ...]
    added: tuple[str, ...]
    mark: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"write into {self.name}: {', '.join(self._new)}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"file {self.context / self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        old = [f"line {number}: {was}" for number, was, _ in self.pins]
        return ", ".join(old) or "the file without them", ", ".join(self._new)

    @property
    def _new(self) -> tuple[str, ...]:
        return (*(new for _, _, new in self.pins), *self.added)

    def observe(self, work: Work) -> Observed:
        """Compare the text; where others edited it since, look for our lines."""
        text = targets.load(work.target).images.read(self.context, self.name)
        if text is None:
            return Observed(Standing.OTHER, f"{self.name} is gone")
        if hash_of(text) == self.before:
            return Observed(Standing.BEFORE, f"{self.name} is as it was")
        if hash_of(text) == self.after:
            return Observed(Standing.AFTER, f"{self.name} has the versions")
        has = {line.text for line in lines_of(self.name, text)}
        if work.begun_at is not None and has >= set(self._new):
            return Observed(Standing.AFTER, f"{self.name} has the versions, and other edits")
        if work.begun_at is not None and not has & set(self._new):
            return Observed(Standing.BEFORE, f"{self.name} has none of the versions")
        return Observed(Standing.OTHER, f"{self.name} was edited since it was looked at")

    def apply(self, work: Work) -> str:
        """Write the file, whole or not at all."""
        images = targets.load(work.target).images
        text = images.read(self.context, self.name)
        new = with_pins(text or "", self.pins, self.added, self.mark)
        if text is None or new is None or hash_of(new) != self.after:
            raise WorldMoved(
                expected=f"{self.name} as the plan was made from it.",
                found="somebody has edited it since.",
                todo="Run the remediation again.",
            )
        images.write(self.context, self.name, new)
        return f"{self.name} has {', '.join(self._new)}"

    def revert(self, work: Work) -> str:
        """Write the lines of before; byte for byte where nobody else has edited the file."""
        images = targets.load(work.target).images
        text = images.read(self.context, self.name) or ""
        found = {line.text: line.number for line in lines_of(self.name, text)}
        if hash_of(text) == self.before or not set(self._new) & set(found):
            return "none of the versions is there"
        if not set(self._new) <= set(found):
            raise PreconditionFailed(
                expected=f"{', '.join(self._new)} in {self.name}, as they were left.",
                found="somebody has edited them since.",
                state=f"{self.context / self.name} is as it was found.",
                todo="Write by hand what is wanted in their place.",
            )
        old = written(text, {found[new]: (new, was) for _, was, new in self.pins}, ()) or text
        end = "\r\n" if "\r\n" in text else "\n"
        if self.added:
            block = "".join(f"{line}{end}" for line in (f"# remedy {self.mark}", *self.added))
            old = old.replace(block, "", 1)
        bare = old.removesuffix(end)
        images.write(self.context, self.name, bare if hash_of(bare) == self.before else old)
        exact = self.before in {hash_of(old), hash_of(bare)}
        return "byte for byte as before" if exact else "what others edited since stays"
