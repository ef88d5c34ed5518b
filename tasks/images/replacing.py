"""The application's containers made from another image, one after the other, while it serves."""

from typing import ClassVar

from tasks.application.rolling import roll
from tasks.guardrails import faults
from tasks.guardrails.errors import WorldMoved
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.applications import Replica
from tasks.platforms.protocols import System


class ReplaceImage(Change):
    """Give another image the name that the compose files say, and roll the application.

    Args:
        service: The application's service.
        name: The name.
        before: Id of the image that has it, and that the containers are made of.
        after: Id of the other image.
        kept: Name by which the old one is kept.
        served: Whether the application served its users before: only then one container has to
            serve all the time, and an undo has to prove them.
    """

    kind: ClassVar[str] = "images.replace"
    permissions: ClassVar[tuple[str, ...]] = ("images:tag", "application:restart")

    service: str
    name: str
    before: str
    after: str
    kept: str
    served: bool

    @property
    def title(self) -> str:
        """What the change does."""
        return f"have {self.service} made from the new {self.name}, one container after the other"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"image {self.name}", f"containers of service {self.service}")

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"made from {self.before[7:19]}", f"made from {self.after[7:19]}"

    def observe(self, work: Work) -> Observed:
        """Ask which image has the name, of which the containers are, and whether they serve."""
        system = targets.load(work.target)
        found = system.containers.image(self.name)
        named = found.id if found else ""
        images = set(self._images(system).values())
        late = [one.name for one in system.application.replicas() if not one.serves]
        seen = (
            f"{self.name} is {named[7:19] or 'no image'}; "
            f"{counted(len(images), 'image runs', 'images run')}: "
            f"{', '.join(sorted(one[7:19] for one in images)) or 'none'}"
        ) + (f"; not serving: {', '.join(late)}" if late else "")
        if named not in {self.before, self.after} or images - {self.before, self.after}:
            return Observed(Standing.OTHER, seen)
        if (named, images) == (self.after, {self.after}) and not late:
            return Observed(Standing.AFTER, seen)
        is_kept = system.containers.image(self.kept) is not None
        if (named, images) == (self.before, {self.before}) and not is_kept:
            busy = bool(late) and self.served and work.begun_at is not None
            return Observed(Standing.HALF if busy else Standing.BEFORE, seen)
        return Observed(Standing.OTHER if work.begun_at is None else Standing.HALF, seen)

    def apply(self, work: Work) -> str:
        """Keep the old image under a name of its own, give its name to the new one, roll."""
        system = targets.load(work.target)
        images = self._images(system)
        if set(images.values()) - {self.before, self.after}:
            raise WorldMoved(
                expected=f"containers of {self.service} that are made of {self.before[:19]}.",
                found="somebody has made one of another image since.",
                todo="Run the remediation again.",
            )
        system.containers.name_image(self.before, self.kept)
        faults.point(f"{self.kind}:kept")
        system.containers.name_image(self.after, self.name)
        faults.point(f"{self.kind}:named")
        rolled = self._roll(work, system, self.after, prove=True)
        return f"{counted(rolled, 'container was', 'containers were')} made anew"

    def revert(self, work: Work) -> str:
        """Give the name back to the old image, roll, and take the name that kept it away."""
        system = targets.load(work.target)
        system.containers.name_image(self.before, self.name)
        faults.point(f"{self.kind}:named-back")
        rolled = self._roll(work, system, self.before, prove=self.served)
        if system.containers.image(self.kept) is not None:
            system.containers.unname_image(self.kept, self.before)
        return f"{counted(rolled, 'container was', 'containers were')} made from the old image"

    def _roll(self, work: Work, system: System, image: str, *, prove: bool) -> int:
        made_of = self._images(system)

        def is_current(replica: Replica) -> bool:
            return made_of.get(replica.name) == image

        return roll(work, is_current, prove=prove, serving=self.served)

    def _images(self, system: System) -> dict[str, str]:
        return {one.name: one.image for one in system.containers.of(self.service)}
