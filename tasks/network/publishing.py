"""Publish a port of a service: in its files, and by a container that is made anew from them."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from tasks.application.rolling import roll
from tasks.containers.file_edits import EditFiles
from tasks.guardrails import faults
from tasks.guardrails.plan import Observed, Reverts, Standing, Work
from tasks.network.port_texts import with_port
from tasks.platforms import targets
from tasks.platforms.definitions import Definition
from tasks.platforms.networks import Binding, Way
from tasks.platforms.protocols import System


class Published(BaseModel):
    """A port at an address of the machine, as it stands in a plan.

    Args:
        port: The port inside.
        address: The machine's address, '' for all of them.
        outside: The machine's port, 0 for any.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int
    address: str
    outside: int

    @classmethod
    def of(cls, binding: Binding) -> "Published":
        """Take over what a binding says."""
        return cls(port=binding.port, address=binding.address, outside=binding.outside)

    @property
    def binding(self) -> Binding:
        """The same, to compare."""
        return Binding(self.port, self.address, self.outside)


class PublishPort(EditFiles):
    """Publish a port of a service, and make its container anew.

    Args:
        service: The service.
        wanted: What is to be published.
        replaces: What an entry of the files publishes in whose place it comes, or None.
        before: All that its container publishes.
        after: All that it shall publish.
        rolls: Whether the application's containers are made anew one after the other.
        served: Whether something serves in its place meanwhile.
    """

    kind: ClassVar[str] = "network.publish_port"
    permissions: ClassVar[tuple[str, ...]] = (
        "definition:write",
        "secrets:write",
        "containers:recreate",
    )

    service: str
    wanted: Published
    replaces: Published | None
    before: tuple[Published, ...]
    after: tuple[Published, ...]
    rolls: bool = Field(default=False)
    served: bool = Field(default=False)

    @property
    def title(self) -> str:
        """What the change does."""
        where = f" in {self.names}" if self.files else ""
        return f"publish {self.wanted.binding} of {self.service}{where}, and make it anew"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (*super().objects, f"ports of service {self.service}")

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return _shown(self.service, self.before), _shown(self.service, self.after)

    def written(self, definition: Definition) -> Mapping[str, str]:
        """Make the new texts from the present ones, by name."""
        replaces = self.replaces.binding if self.replaces else None
        return with_port(definition.texts(), self.service, self.wanted.binding, replaces)

    def observe(self, work: Work) -> Observed:
        """Compare the files, and what the container was made with."""
        system = targets.load(work.target)
        ways = system.network.ways(self.service)
        texts = super().observe(work) if self.files else None
        files = texts.standing if texts else None
        is_new, is_old = self._is_made_with(ways, self.after), self._is_made_with(ways, self.before)
        seen = "; ".join(filter(None, (texts.detail if texts else "", _seen(ways))))
        if self.rolls:
            drained = not all(one.serves for one in system.application.replicas())
        else:  # one that is made and not started is between two
            drained = not all(one.runs for one in ways)
        if files is Standing.OTHER:
            return Observed(Standing.OTHER, seen)
        if is_new and files in (None, Standing.AFTER):
            return Observed(Standing.HALF if drained and work.begun_at else Standing.AFTER, seen)
        if is_old and files in (None, Standing.BEFORE):
            return Observed(Standing.HALF if drained and work.begun_at else Standing.BEFORE, seen)
        return Observed(Standing.HALF if work.begun_at else Standing.OTHER, seen)

    def apply(self, work: Work) -> str:
        """Write the files, then have the container made anew from them."""
        if self.files and super().observe(work).standing is not Standing.AFTER:
            super().apply(work)
        faults.point(f"{self.kind}:written")
        self._make_anew(work, self.after, back=False)
        return f"{self.service} publishes {self.wanted.binding}"

    def revert(self, work: Work) -> str:
        """Put the files back, then have the container made anew from them."""
        said = super().revert(work)
        self._make_anew(work, self.before, back=True)
        return said

    def _make_anew(self, work: Work, wanted: tuple[Published, ...], *, back: bool) -> None:
        system = targets.load(work.target)
        if self.rolls:
            current = {
                one.container
                for one in system.network.ways(self.service)
                if self._is_made_with([one], wanted)
            }
            # What was not served before is not asked to prove itself in an undo.
            prove = self.served or not back
            roll(work, lambda one: one.name in current, prove=prove, serving=self.served)
        elif not self._is_up(system, wanted):
            system.network.remake(self.service)

    def _is_up(self, system: System, wanted: tuple[Published, ...]) -> bool:
        ways = system.network.ways(self.service)
        return self._is_made_with(ways, wanted) and all(one.runs for one in ways)

    def _is_made_with(self, ways: list[Way], wanted: tuple[Published, ...]) -> bool:
        bindings = {one.binding for one in wanted}
        return bool(ways) and all(set(one.asked) == bindings for one in ways)


class PublishAsWritten(PublishPort):
    """Make a container anew that was made before its files said what it publishes.

    Its undo would make it from the same files again: it stays.
    """

    kind: ClassVar[str] = "network.publish_as_written"
    reverts: ClassVar[Reverts] = "pointless"


def _seen(ways: list[Way]) -> str:
    said = (
        f"{one.container} {'runs' if one.runs else 'does not run'}, made with "
        f"{', '.join(map(str, one.asked)) or 'no port'}"
        for one in ways
    )
    return "; ".join(said) or "there is no container"


def _shown(service: str, published: tuple[Published, ...]) -> str:
    what = ", ".join(str(one.binding) for one in published)
    return f"{service} publishes {what or 'no port'}"
