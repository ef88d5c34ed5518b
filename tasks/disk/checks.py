"""What holds after room was made on an engine's disk: the project is as it was."""

from typing import ClassVar

from tasks.disk.removals import store_of
from tasks.guardrails.plan import Answer, Check, Verdict, Work
from tasks.guardrails.words import counted


class ContainersAreTheSame(Check):
    """Each service of the project has the containers that it had.

    Args:
        services: Ids of containers by service.
    """

    kind: ClassVar[str] = "disk.containers_are_the_same"

    services: dict[str, tuple[str, ...]]

    @property
    def title(self) -> str:
        """The claim."""
        return f"the containers of {', '.join(self.services)} are the same"

    def ask(self, work: Work) -> Answer:
        """Look at the project's containers."""
        now = store_of(work).services()
        every = {*now, *self.services}
        others = sorted(one for one in every if now.get(one) != self.services.get(one))
        if others:
            return Answer(Verdict.NOT_HELD, f"other containers: {', '.join(others)}")
        return Answer(Verdict.HELD, counted(len(now), "service"))


class ProjectIsWhole(Check):
    """What the project's compose files name is there as it was: images, volumes, networks.

    Args:
        named: Each by its kind and name.
    """

    kind: ClassVar[str] = "disk.project_is_whole"

    named: tuple[str, ...]

    @property
    def title(self) -> str:
        """The claim."""
        return "images, volumes and networks that the compose files name are there"

    def ask(self, work: Work) -> Answer:
        """Look for each of them."""
        gone = sorted({*self.named} - {*store_of(work).named()})
        if gone:
            return Answer(Verdict.NOT_HELD, f"gone: {', '.join(gone)}")
        return Answer(Verdict.HELD, f"{len(self.named)} of {len(self.named)}")
