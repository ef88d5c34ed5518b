"""Whether an image can be built, with and without the builder's cache, and why not."""

from collections.abc import Mapping
from dataclasses import dataclass

from tasks.containers.file_edits import hash_of
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.images.build_failures import Failure, classify
from tasks.images.names import beside
from tasks.images.new_image import BuildImage, ImageComesUp, recipe_of
from tasks.images.packages import packages_of
from tasks.images.pin_proposals import Proposal, propose, requirements_of
from tasks.images.pinning import PinRequirements, with_pins
from tasks.images.requirements import lines_of
from tasks.images.running import find_running
from tasks.images.shown import patch_of
from tasks.platforms import targets
from tasks.platforms.containers import ServiceContainer
from tasks.platforms.images import Built, Images, Recipe

_PATIENCE_SECONDS = 60.0  # without a health check


@dataclass(frozen=True)
class Rebuilding:
    """What was found, and what is done about it.

    Args:
        service: The application's service.
        name: The name of its image.
        findings: What was seen.
        changes: Versions that are written, and the build.
        checks: What is asked of the new image.
    """

    service: str
    name: str
    findings: tuple[Finding, ...]
    changes: tuple[PinRequirements | BuildImage, ...]
    checks: tuple[ImageComesUp, ...]


@probe
def find_rebuild(target: str, remediation: str, *, pin: bool) -> Rebuilding:
    """Build the application's image with and without the cache, and say why that fails.

    Args:
        target: Name of the target.
        remediation: The id that what is made carries.
        pin: Whether versions may be written into the requirements file.

    Returns:
        What was found, and the build that is to be done.

    Raises:
        PreconditionFailed: It is not built here, or what runs is not what its name says.
        Transient: The engine does not answer.
    """
    system = targets.load(target)
    images, service = system.images, system.scaling.service
    recipe = recipe_of(images, service)
    running, name = find_running(system, recipe, service)
    if recipe.unable:
        findings = (_unable(recipe),)
        return Rebuilding(service, name, findings, (), ())
    return _Looking(images, recipe, remediation, running).done(service, name, pin=pin)


def _unable(recipe: Recipe) -> Finding:
    return Finding(
        what=f"{recipe} cannot be built by the engine's own builder: its compose file asks for "
        f"{recipe.unable}.",
        how="the compose files",
        patch=f"docker compose build --no-cache {recipe.services[0]}",
    )


class _Looking:
    """An image that is built for a look."""

    def __init__(
        self, images: Images, recipe: Recipe, remediation: str, container: ServiceContainer
    ) -> None:
        self.images, self.recipe, self.remediation = images, recipe, remediation
        self.container = container
        self.findings: list[Finding] = []
        self.ignore = images.read(recipe.context, recipe.ignore)
        builds: list[Built] = []
        try:
            builds.append(images.build(recipe, remediation, ignore=self.ignore))
            builds.append(images.build(recipe, remediation, ignore=self.ignore, cached=False))
        finally:
            images.forget(remediation, builds)
        self.cached, self.anew = builds

    def done(self, service: str, name: str, *, pin: bool) -> Rebuilding:
        """Give what was found."""
        self.findings.append(self._compared())
        proposal, texts = None, self._texts(self.anew)
        if not self.anew.image:
            failure = classify(self.anew)
            proposal = self._explained(failure, texts)
            if not (pin and proposal and proposal.proved):
                return Rebuilding(service, name, tuple(self.findings), (), ())
        edits, texts = self._edits(proposal, texts)
        new = beside(name, f"rebuilt-{self.remediation}")
        build = BuildImage(
            service=service,
            name=new,
            needs=(PinRequirements.kind,) if edits else (),
            dockerfile=hash_of(self.recipe.text),
            files={path: hash_of(text) for path, text in texts.items()},
        )
        check = self.container.check
        seconds = max(check.patience if check else 0.0, _PATIENCE_SECONDS)
        come_up = ImageComesUp(name=new, seconds=seconds)
        return Rebuilding(service, name, tuple(self.findings), (*edits, build), (come_up,))

    def _texts(self, built: Built) -> dict[str, str]:
        """Read the files that the build installs from."""
        found: dict[str, str] = {}
        for step in built.steps:
            found |= requirements_of(self.images, self.recipe, step.instruction)
        return found

    def _compared(self) -> Finding:
        taken = sum(one.cached for one in self.cached.steps)
        with_cache = (
            f"is built, {taken} of {counted(len(self.cached.steps), 'step')} taken from earlier "
            "builds"
            if self.cached.image
            else f"fails at {_step(self.cached)}"
        )
        anew = "is built" if self.anew.image else f"fails at {_step(self.anew)}"
        what = f"With the builder's cache {self.recipe} {with_cache}; without it, it {anew}."
        if self.cached.image and not self.anew.image:
            what += (
                " Whoever builds elsewhere, or after a change above that step, meets it: what it "
                "installs has moved on since it was built last."
            )
        if self.anew.image and not self.cached.image:
            what += " What an earlier build has left is stale: by the new one it is replaced."
        return Finding(what=what, how="built by the engine with the project's arguments")

    def _explained(self, failure: Failure, texts: Mapping[str, str]) -> Proposal | None:
        lines = [
            line
            for file, text in texts.items()
            for line in lines_of(file, text)
            if line.package in failure.packages
        ]
        where = f" It is required by {', '.join(map(str, lines))}." if lines else ""
        indirect = [one for one in failure.packages if one not in {line.package for line in lines}]
        if indirect and texts and failure.packages:
            where += (
                f" {', '.join(indirect)}: no line of {', '.join(texts)} names it; others need it."
            )
        self.findings.append(
            Finding(
                what=f"{failure.step} fails. {failure.what}{where}",
                how=f"what that step printed ({failure.kind})",
                patch=failure.todo,
            )
        )
        running = packages_of(self.images, self.container.image) or {}
        named = requirements_of(self.images, self.recipe, failure.step)
        found = propose(self.images, self.recipe, self.remediation, failure, named, running)
        if found:
            self.findings.append(self._proposed(found, named))
        return found

    def _proposed(self, found: Proposal, texts: Mapping[str, str]) -> Finding:
        text = texts[found.file]
        new = with_pins(text, found.edits, found.added, self.remediation) or text
        rest = found.rest
        said = (
            "with these versions it is built"
            if found.proved
            else f"with these versions it goes on, and {rest.step if rest else 'it'} fails: "
            f"{rest.what if rest else ''}"
        )
        return Finding(
            what=f"Versions for {found.file}: {said}.",
            how="built without the cache, with that file in the place of the present one",
            columns=("line", "now", "version", "why"),
            rows=tuple(
                (
                    str(one.line.number) if one.line else "new",
                    one.line.text if one.line else "-",
                    one.new,
                    one.why,
                )
                for one in found.pins
            ),
            patch=patch_of(found.file, text, new, around=0),
        )

    def _edits(
        self, proposal: Proposal | None, texts: dict[str, str]
    ) -> tuple[tuple[PinRequirements, ...], dict[str, str]]:
        if proposal is None:
            return (), texts
        text = texts[proposal.file]
        new = with_pins(text, proposal.edits, proposal.added, self.remediation) or text
        edit = PinRequirements(
            context=self.recipe.context,
            name=proposal.file,
            before=hash_of(text),
            after=hash_of(new),
            pins=proposal.edits,
            added=proposal.added,
            mark=self.remediation,
        )
        return (edit,), {**texts, proposal.file: new}


def _step(built: Built) -> str:
    return f"step {len(built.steps)}, `{built.steps[-1].instruction}`" if built.steps else "its end"
