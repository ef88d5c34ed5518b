"""A service's image back to one that is known to have worked: its name, and where it is said."""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from ruamel.yaml.comments import CommentedMap

from tasks.containers import yaml_text
from tasks.containers.remade import EditAndMakeAnew
from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.definitions import Definition


class NameImage(Change):
    """Give an image a name of its own, so that it stays and can be asked for.

    Args:
        image: Its id.
        name: The name, with a tag.
        otherwise: Id of another image with a name: when ours goes, no image goes with it.
    """

    kind: ClassVar[str] = "containers.name_image"
    permissions: ClassVar[tuple[str, ...]] = ("images:tag",)

    image: str
    name: str
    otherwise: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"call image {self.image[:19]} {self.name}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"image {self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"no image is called {self.name}", f"{self.image[:19]} is"

    def observe(self, work: Work) -> Observed:
        """Ask which image has the name."""
        found = targets.load(work.target).containers.image(self.name)
        if found is None:
            return Observed(Standing.BEFORE, "no image has the name")
        if found.id == self.image:
            return Observed(Standing.AFTER, "it has the name")
        # An undo gives the name away first, so that the image does not go with it.
        halfway = found.id == self.otherwise and work.begun_at is not None
        seen = f"image {found.id[:19]} has the name"
        return Observed(Standing.HALF if halfway else Standing.OTHER, seen)

    def apply(self, work: Work) -> None:
        """Name it."""
        targets.load(work.target).containers.name_image(self.image, self.name)

    def revert(self, work: Work) -> str:
        """Take the name away; the image stays, nameless where it was."""
        targets.load(work.target).containers.unname_image(self.name, self.otherwise)
        faults.point(f"{self.kind}:unnamed")
        return "the image has the names of before"


class PinImage(EditAndMakeAnew):
    """Say another image for the application in its compose file, and make it anew.

    Args:
        before: Name of the image, as the file says it; '' where it says none.
        after: Name of the other one.
        image: Id of the image that this name is to mean; '' where it is not known, or given the
            name by a change before this one.
    """

    kind: ClassVar[str] = "containers.pin_image"

    before: str
    after: str
    image: str = ""

    @property
    def title(self) -> str:
        """What the change does."""
        return f"have {self.service} made from image {self.after}"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"made from {self.before or 'what is built'}", f"made from {self.after}"

    def observe(self, work: Work) -> Observed:
        """Compare files and containers, and before the beginning which image the name means."""
        seen = super().observe(work)
        if seen.standing is not Standing.BEFORE or not (work.is_to_begin and self.image):
            return seen
        found = targets.load(work.target).containers.image(self.after)
        if found and found.id == self.image:
            return seen
        now = f"image {found.id[:19]} by now" if found else "no image any more"
        return Observed(Standing.OTHER, f"{self.after} is {now}, not {self.image[:19]}")

    def written(self, definition: Definition) -> Mapping[str, str]:
        """Make the new texts from the present ones, by name."""
        return with_image(definition.texts(), self.service, self.after)


def image_in(texts: Mapping[str, str], service: str) -> tuple[str, str]:
    """Find the file that says a service's image last, and what it says.

    Args:
        texts: Text by name, in the order in which they are laid over one another.
        service: The service.

    Returns:
        Name and image; the file that has the service last, and '', where none says an image.

    Raises:
        PreconditionFailed: No file has the service.
    """
    having = ""
    for name, text in reversed(list(texts.items())):
        services = (yaml_text.read(text) or {}).get("services") or {}
        if service in services:
            having = having or name
            if said := (services[service] or {}).get("image"):
                return name, str(said)
    if not having:
        raise PreconditionFailed(
            expected=f"a compose file that has service {service}.",
            found=f"{', '.join(texts)} have not; a file that they include or extend may.",
            todo="Name that file in `compose_files` of the target.",
        )
    return having, ""


def with_image(texts: Mapping[str, str], service: str, image: str) -> dict[str, str]:
    """Say another image for a service, where it is said last.

    Args:
        texts: Text by name.
        service: The service.
        image: Name of the image.

    Returns:
        Text by name, of the file that changes.

    Raises:
        PreconditionFailed: It is said by a variable, or no file has the service.
    """
    name, said = image_in(texts, service)
    if "$" in said:
        raise PreconditionFailed(
            expected=f"the image of service {service} by its name in {name}.",
            found=f"it is {said}.",
            todo=f"Set that variable so that it names {image} in `.env`, then "
            f"`compose up -d {service}`.",
        )
    return {name: yaml_text.edited(texts[name], name, partial(_set, service=service, image=image))}


def _set(document: CommentedMap, *, service: str, image: str) -> None:
    document["services"][service]["image"] = image
