"""A new image of the application, under a name of its own, and whether it comes up."""

from typing import ClassVar

from tasks.application.answers import ask_application
from tasks.containers.crash_logs import complaints
from tasks.containers.file_edits import hash_of
from tasks.guardrails.errors import PreconditionFailed, RemediationError, WorldMoved
from tasks.guardrails.plan import Answer, Change, Check, Observed, Standing, Verdict, Work
from tasks.images.build_failures import classify
from tasks.platforms import targets
from tasks.platforms.images import Images, Recipe, Trial


def recipe_of(images: Images, service: str) -> Recipe:
    """Find how the image of a service is built.

    Args:
        images: The images of the project.
        service: The service.

    Raises:
        PreconditionFailed: It is not built here.
    """
    for recipe in images.recipes():
        if service in recipe.services:
            return recipe
    raise PreconditionFailed(
        expected=f"`build` of service {service} in the compose files.",
        found="none: its image is pulled, or built elsewhere.",
        todo="Run it on the target whose compose files build the image.",
    )


class BuildImage(Change):
    """Build the image of a service without the builder's cache, under a name of its own.

    Args:
        service: The service.
        name: The name.
        dockerfile: Hash of its Dockerfile.
        files: Hash of each file that says what is installed, by its path.
    """

    kind: ClassVar[str] = "images.build"
    permissions: ClassVar[tuple[str, ...]] = ("images:build", "images:remove")

    service: str
    name: str
    dockerfile: str
    files: dict[str, str]

    @property
    def title(self) -> str:
        """What the change does."""
        return f"build the image of {self.service} anew, as {self.name}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"image {self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"no image is called {self.name}", f"{self.name} is built; nothing runs it"

    def observe(self, work: Work) -> Observed:
        """Ask whether an image has the name: it holds the remediation's id."""
        found = targets.load(work.target).containers.image(self.name)
        if found is None:
            return Observed(Standing.BEFORE, "no image has the name")
        return Observed(Standing.AFTER, f"image {found.id} has the name")

    def apply(self, work: Work) -> str:
        """Build it from the files as they were looked at."""
        images = targets.load(work.target).images
        recipe = recipe_of(images, self.service)
        now = {path: hash_of(images.read(recipe.context, path) or "") for path in self.files}
        if hash_of(recipe.text) != self.dockerfile or now != self.files:
            raise WorldMoved(
                expected="Dockerfile and requirements as the plan was made from them.",
                found="somebody has edited them since.",
                todo="Run the remediation again.",
            )
        work.progress(0.0, f"building {self.name}")
        ignore = images.read(recipe.context, recipe.ignore)
        built = images.build(recipe, work.remediation, ignore=ignore, cached=False, name=self.name)
        if not built.image:
            failure = classify(built)
            images.forget(work.remediation, [built])
            raise PreconditionFailed(
                expected=f"{self.name} to be built, as it was when this was planned.",
                found=f"{failure.step} fails. {failure.what}",
                state="What runs is as before.",
                todo="Run the remediation again: it looks into it.",
            )
        return f"image {built.image} in {len(built.steps)} steps"

    def revert(self, work: Work) -> str:
        """Remove it."""
        images = targets.load(work.target).images
        images.remove(self.name)
        images.forget(work.remediation)
        return "the image is removed"


class ImageComesUp(Check):
    """A container of an image, with the application's settings, serves the probe account.

    Args:
        name: Name of the image.
        seconds: How long it may take to answer.
    """

    kind: ClassVar[str] = "images.comes_up"

    name: str
    seconds: float

    @property
    def title(self) -> str:
        """The claim."""
        return f"a container of {self.name} comes up, and serves from the database"

    def ask(self, work: Work) -> Answer:
        """Start one beside those that serve, ask it past nginx, and remove it."""
        system = targets.load(work.target)
        if system.containers.image(self.name) is None:
            # As it is before the act; that it fails afterwards is then never a person's choice.
            return Answer(Verdict.NOT_ASKED, "there is no such image")
        try:
            with system.images.tried(self.name, self.seconds) as trial:
                return _judged(work, trial)
        except RemediationError as error:  # what could not be tried takes nobody's place
            return Answer(Verdict.NOT_HELD, f"it cannot be tried: {error.found}")


def _judged(work: Work, trial: Trial) -> Answer:
    if not trial.url:
        causes = dict.fromkeys(one.what for one in complaints(trial.log))
        why = " ".join(causes) or "Its log says nothing that is known."
        state = f"{trial.status}, exit status {trial.exit_code}"
        return Answer(Verdict.NOT_HELD, f"it does not come up: {state}. {why}")
    answer = ask_application(work, trial.url)
    if answer.verdict is Verdict.NOT_ASKED:
        return Answer(Verdict.NOT_ASKED, f"it comes up; {answer.detail}")
    return answer
