"""An edit of what defines the application's service, and its containers made anew from it."""

from typing import ClassVar

from tasks.application.rolling import roll
from tasks.containers.file_edits import EditFiles
from tasks.guardrails import faults
from tasks.guardrails.plan import Observed, Standing, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.applications import Replica
from tasks.platforms.protocols import System


class EditAndMakeAnew(EditFiles):
    """Edit compose files, and have the application's containers made anew, one after the other.

    Both are one change: its undo has to edit first as well.

    Args:
        service: The application's service.
        served: Whether it served its users before: another one serves meanwhile then, and each
            that is made anew has to prove itself, in an undo too.
        words: The fingerprint of the service as it was planned, '' where unknown: its containers
            are made from all that the files say of it, not from the edit alone.
    """

    permissions: ClassVar[tuple[str, ...]] = (*EditFiles.permissions, "application:restart")

    service: str
    served: bool
    words: str = ""

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (*super().objects, f"service {self.service}")

    def observe(self, work: Work) -> Observed:
        """Compare the files, and what each container was made from."""
        files = super().observe(work)
        if files.standing not in (Standing.AFTER, Standing.BEFORE):
            return files
        system = targets.load(work.target)
        words = system.definition.read().fingerprints.get(self.service, "")
        begins = files.standing is Standing.BEFORE and work.is_to_begin
        if begins and self.words not in {"", words}:
            seen = f"what the compose files say of {self.service} has changed since the plan"
            return Observed(Standing.OTHER, seen)
        late = self._late(system, words)
        if files.standing is Standing.AFTER:
            late |= {one.name for one in system.application.replicas() if not one.serves}
        elif self.served and work.begun_at:
            late |= {one.name for one in system.application.replicas() if one.drained}
        if not late:
            return Observed(files.standing, f"{files.detail}; every container is made from that")
        seen = f"{files.detail}; not made anew from that, or not serving: {', '.join(sorted(late))}"
        return Observed(Standing.HALF if work.begun_at else files.standing, seen)

    def _late(self, system: System, words: str) -> set[str]:
        found = system.containers.of(self.service)
        return {one.name for one in found if one.made_from != words}

    def apply(self, work: Work) -> str:
        """Write the files, then make the containers anew."""
        written = super().apply(work)
        faults.point(f"{self.kind}:written")
        return f"{written}; {self._roll(work, prove=True)}"

    def revert(self, work: Work) -> str:
        """Put the files back, then make the containers anew from them."""
        written = super().revert(work)
        return f"{written}; {self._roll(work, prove=self.served)}"

    def _roll(self, work: Work, *, prove: bool) -> str:
        system = targets.load(work.target)
        late = self._late(system, system.definition.read().fingerprints.get(self.service, ""))

        def is_current(replica: Replica) -> bool:
            return replica.name not in late

        rolled = roll(work, is_current, prove=prove, serving=self.served)
        return f"{counted(rolled, 'container')} made anew"
