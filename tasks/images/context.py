"""What a build gets of its folder, what of it nothing needs, and the lines that keep it away."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.images.copied import find_copied, find_copying, find_wanted, takes_everything
from tasks.images.ignore_file import AddIgnoreLines, BuildGetsItsFiles, block_of, joined
from tasks.images.proof import Proof, prove_same_image
from tasks.images.proposals import propose
from tasks.images.shown import LINES, entries_of, megabytes, patch_of, rows_of
from tasks.platforms import targets
from tasks.platforms.images import Images, Recipe


@dataclass(frozen=True)
class Shrinking:
    """What was found, and the changes with the checks that prove them.

    Args:
        findings: What was seen.
        changes: The edits, one for each ignore file.
        checks: What is asked afterwards.
        notes: What the approver should know.
        largest: Bytes of the largest folder, that a build packs.
    """

    findings: tuple[Finding, ...]
    changes: tuple[AddIgnoreLines, ...]
    checks: tuple[BuildGetsItsFiles, ...]
    notes: tuple[str, ...]
    largest: int


@probe
def measure_contexts(target: str, remediation: str, smallest: int) -> Shrinking:
    """Measure what builds get, find what nothing copies, and prove that images stay the same.

    Args:
        target: Name of the target.
        remediation: The id that lines and images carry.
        smallest: Bytes from which whatever nothing copies is proposed.

    Returns:
        What was found, and the edits.

    Raises:
        PreconditionFailed: The project builds nothing, an image cannot be built as things are, or
            another one would be built.
    """
    images = targets.load(target).images
    recipes = images.recipes()
    if not recipes:
        raise PreconditionFailed(
            expected="a service with `build` in the compose files.",
            found="none: every image is pulled, or built elsewhere.",
            todo="Run it on the target whose compose files build the image.",
        )
    groups: dict[tuple[str, str], list[Recipe]] = {}
    for recipe in recipes:
        groups.setdefault((str(recipe.context), recipe.ignore), []).append(recipe)
    found = [_Folder(images, one, remediation, smallest) for one in groups.values()]
    proved = [one for one in found if one.change]
    return Shrinking(
        findings=tuple(finding for one in found for finding in one.findings()),
        changes=tuple(one.change for one in proved if one.change),
        checks=tuple(one.check() for one in proved),
        notes=tuple(note for one in found for note in one.notes()),
        largest=max(one.size for one in found),
    )


class _Folder:
    """A folder that images are built from, with one ignore file."""

    def __init__(
        self, images: Images, recipes: Sequence[Recipe], remediation: str, smallest: int
    ) -> None:
        self.recipes, first = recipes, recipes[0]
        self.context, self.ignore = first.context, first.ignore
        self.before = images.read(self.context, self.ignore)
        self.files = images.files(first, self.before)
        self.size = sum(self.files.values())
        copied = set[str]()
        held = set[str]()
        for one in recipes:
            copied |= find_copied(images, one, self.files)
            held |= find_wanted(images, one, self.files, self.before or "")
        self.copied, self.whole = copied, _whole(images, recipes)
        self.proposals = propose(self.files, copied, held, images.hidden, smallest)
        self.lines = tuple(one.line for one in self.proposals.lines)
        self.after = joined(self.before, block_of(self.lines, remediation, self.before))
        self.proofs: list[tuple[Recipe, Proof]] = []
        if self.lines:
            for one in recipes:
                self._insist_on_same_files(images, one)
                self.proofs.append((one, self._prove(images, one, remediation)))
        proved = self.proofs and not any(proof.unable for _, proof in self.proofs)
        self.change = (
            AddIgnoreLines(
                context=self.context,
                name=self.ignore,
                before=self.before,
                lines=self.lines,
                mark=remediation,
            )
            if proved
            else None
        )

    def _insist_on_same_files(self, images: Images, recipe: Recipe) -> None:
        gets = images.files(recipe, self.after)
        if missing := sorted(find_copied(images, recipe, self.files) - set(gets)):
            raise PreconditionFailed(
                expected="lines that hide nothing that a Dockerfile copies.",
                found=f"{missing[0]} would be hidden.",
                todo="Add the lines by hand, one after the other.",
            )

    def _prove(self, images: Images, recipe: Recipe, remediation: str) -> Proof:
        proof = prove_same_image(images, recipe, remediation, self.before, self.after)
        if proof.failed:
            raise PreconditionFailed(
                expected=f"{recipe} to be built as things are: by that it is proved that the "
                "lines change nothing of it.",
                found=f"{proof.failed}.",
                todo="Repair the build first.",
            )
        if proof.differs:
            raise PreconditionFailed(
                expected=f"{recipe} to be the same one with the lines {', '.join(self.lines)}.",
                found=f"with them {proof.differs}: something is copied that the Dockerfiles do "
                "not show, as by ONBUILD of their base.",
                todo="Add the lines by hand, without the one that hides it.",
            )
        return proof

    def check(self) -> BuildGetsItsFiles:
        return BuildGetsItsFiles(
            context=self.context, name=self.ignore, before=self.before, lines=self.lines
        )

    def findings(self) -> Iterator[Finding]:
        services = ", ".join(service for one in self.recipes for service in one.services)
        yield Finding(
            what=f"A build of {services} gets {megabytes(self.size)} of {self.context}: "
            f"{megabytes(sum(self.files[path] for path in self.copied))} of it are copied.",
            how=f"the files in it, by the rules of {self.ignore}"
            + ("" if self.before is not None else ", which is not there"),
            columns=("entry", "size", "share", "files", "copied"),
            rows=entries_of(self.files, self.copied),
        )
        secret = [one for one in (*self.proposals.copied, *self.proposals.lines) if one.secret]
        if secret:
            yield Finding(
                what="Security: what looks like secrets goes to the builder. "
                + (
                    "What is copied is in the image, for everybody who has that."
                    if any(one in self.proposals.copied for one in secret)
                    else "None of it is copied."
                ),
                how="names of files",
                columns=("line", "what it is about", "files", "in the image"),
                rows=tuple(
                    (
                        one.line,
                        one.why,
                        str(one.files),
                        "yes" if one in self.proposals.copied else "no",
                    )
                    for one in secret
                ),
            )
        if self.lines:
            yield self._proposed()
        if self.proposals.copied:
            yield self._to_decide()

    def _proposed(self) -> Finding:
        unable = [f"{recipe}: {proof.unable}" for recipe, proof in self.proofs if proof.unable]
        proved = ", ".join(
            f"{recipe} is {proof.image.removeprefix('sha256:')[:12]} with and without them"
            for recipe, proof in self.proofs
            if proof.image
        )
        saved = sum(one.size for one in self.proposals.lines)
        what = (
            f"{counted(len(self.lines), 'line')} for {self.ignore} would keep "
            f"{megabytes(saved)} away from the builder, and hide nothing that is copied"
        )
        if unable:
            return Finding(
                what=f"{what}. The engine's own builder cannot prove that ({'; '.join(unable)}): "
                "add them by hand, and build.",
                how="the Dockerfiles, instruction by instruction",
                columns=LINES,
                rows=rows_of(self.proposals.lines),
                patch=patch_of(self.ignore, self.before, self.after),
            )
        return Finding(
            what=f"{what}: {proved}.",
            how="built twice by the engine with the project's arguments: it takes a step from an "
            "earlier build where all files that it copies are the same by hash",
            columns=LINES,
            rows=rows_of(self.proposals.lines),
        )

    def _to_decide(self) -> Finding:
        lines = [one.line for one in self.proposals.copied]
        by = f": {'; '.join(self.whole)}" if self.whole else ""
        return Finding(
            what=f"{counted(len(lines), 'line')} would change the image, as what they hide is "
            f"copied{by}. Somebody who knows the application has to decide.",
            how="the Dockerfiles, instruction by instruction",
            columns=LINES,
            rows=rows_of(self.proposals.copied),
            patch=patch_of(
                self.ignore, self.before, joined(self.before, "".join(f"{x}\n" for x in lines))
            ),
        )

    def notes(self) -> Iterator[str]:
        if self.change and self.ignore != ".dockerignore":
            yield (
                f"{self.ignore} is read by BuildKit alone; a builder without it reads "
                ".dockerignore, which stays as it is"
            )


def _whole(images: Images, recipes: Sequence[Recipe]) -> tuple[str, ...]:
    found: Mapping[str, None] = dict.fromkeys(
        said for one in recipes for said in takes_everything(find_copying(images, one))
    )
    return tuple(found)
