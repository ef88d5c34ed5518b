"""Lines added to an ignore file, recognised by their mark, and taken out again."""

from pathlib import Path
from typing import ClassVar

from tasks.guardrails.errors import PreconditionFailed, WorldMoved
from tasks.guardrails.plan import Answer, Change, Check, Observed, Standing, Verdict, Work
from tasks.guardrails.words import counted
from tasks.images.copied import find_copied
from tasks.platforms import targets


def block_of(lines: tuple[str, ...], remediation: str, before: str | None) -> str:
    """Write lines as they go behind a text, below a comment with the remediation's id.

    Args:
        lines: The lines.
        remediation: The id.
        before: The text; its line ends are taken over.
    """
    end = "\r\n" if "\r\n" in (before or "") else "\n"
    return "".join(f"{line}{end}" for line in (f"# remedy {remediation}", *lines))


def joined(before: str | None, block: str) -> str:
    """Put a block behind a text; where its last line has no end, that gets one."""
    head = before or ""
    if head and not head.endswith("\n"):
        head += "\r\n" if "\r\n" in head else "\n"
    return head + block


class AddIgnoreLines(Change):
    """Add lines to the file that says what of a folder a build does not get.

    Args:
        context: The folder.
        name: The file's name there.
        before: Its text, None where there is none.
        lines: The lines.
        mark: The remediation's id, in the comment above them.
    """

    kind: ClassVar[str] = "images.add_ignore_lines"
    permissions: ClassVar[tuple[str, ...]] = ("images:write-ignore-file",)

    context: Path
    name: str
    before: str | None
    lines: tuple[str, ...]
    mark: str

    @property
    def block(self) -> str:
        """What is written behind the text."""
        return block_of(self.lines, self.mark, self.before)

    @property
    def title(self) -> str:
        """What the change does."""
        return f"add {counted(len(self.lines), 'line')} to {self.context.name}/{self.name}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"file {self.context / self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        was = "no such file" if self.before is None else "the file without them"
        return was, f"at its end: {', '.join(self.lines)}"

    def observe(self, work: Work) -> Observed:
        """Look for the text of before, or for our lines."""
        now = targets.load(work.target).images.read(self.context, self.name)
        if now == self.before:
            return Observed(Standing.BEFORE, f"{self.name} is as it was")
        if self.block in (now or ""):
            return Observed(Standing.AFTER, f"{self.name} has the lines")
        if work.begun_at is not None and self.mark not in (now or ""):
            return Observed(Standing.BEFORE, f"{self.name} has none of the lines")
        return Observed(Standing.OTHER, f"{self.name} was edited since it was looked at")

    def apply(self, work: Work) -> str:
        """Write the file, whole or not at all."""
        images = targets.load(work.target).images
        if images.read(self.context, self.name) != self.before:
            raise WorldMoved(
                expected=f"{self.name} as the plan was made from it.",
                found="somebody has edited it since.",
                todo="Run the remediation again.",
            )
        images.write(self.context, self.name, joined(self.before, self.block))
        return f"{counted(len(self.lines), 'line')} added"

    def revert(self, work: Work) -> str:
        """Put the text of before back; where others edited since, take only our lines out."""
        images = targets.load(work.target).images
        now = images.read(self.context, self.name)
        if now is None or self.mark not in now:
            return "none of the lines is there"
        if now == joined(self.before, self.block):
            images.write(self.context, self.name, self.before)
            return "byte for byte as before"
        if now.count(self.block) != 1:
            raise PreconditionFailed(
                expected=f"the lines below the comment `# remedy {self.mark}` as they were left.",
                found="somebody has edited them since.",
                state=f"{self.context / self.name} is as it was found.",
                todo="Take out by hand what of them is not wanted, with the comment.",
            )
        images.write(self.context, self.name, now.replace(self.block, ""))
        return "what others edited since stays"


class BuildGetsItsFiles(Check):
    """A build gets every file that it copies, and nothing that the lines are about.

    Args:
        context: Its folder.
        name: The ignore file.
        before: Text of that before.
        lines: The lines.
    """

    kind: ClassVar[str] = "images.build_gets_its_files"

    context: Path
    name: str
    before: str | None
    lines: tuple[str, ...]

    @property
    def title(self) -> str:
        """The claim."""
        return f"a build from {self.context.name} gets what it copies, and nothing of these lines"

    def ask(self, work: Work) -> Answer:
        """List what the builder gets now, and compare."""
        images = targets.load(work.target).images
        now = images.read(self.context, self.name)
        said = []
        for recipe in images.recipes():
            if (recipe.context, recipe.ignore) != (self.context, self.name):
                continue
            gets, got = images.files(recipe, now), images.files(recipe, self.before)
            if missing := sorted(set(find_copied(images, recipe, got)) - set(gets)):
                return Answer(
                    Verdict.NOT_HELD, f"{recipe} copies {missing[0]}, which the builder lacks"
                )
            if still := images.hidden(self.lines, gets):
                return Answer(
                    Verdict.NOT_HELD,
                    f"the builder still gets {counted(len(still), 'path')} of these lines",
                )
            said.append(_measured(gets, got))
        if not said:
            return Answer(Verdict.NOT_ASKED, "no service is built from there any more")
        return Answer(Verdict.HELD, "; ".join(dict.fromkeys(said)))


def _measured(gets: dict[str, int], got: dict[str, int]) -> str:
    sizes = (sum(got.values()) / 1e6, sum(gets.values()) / 1e6)
    return f"the builder gets {sizes[1]:,.1f} MB instead of {sizes[0]:,.1f} MB"
