"""Have another number of containers serve the application: in its files, and on the engine."""

from collections.abc import Mapping
from typing import ClassVar

from tasks.application.answers import ask_application
from tasks.application.scale_texts import with_replicas
from tasks.containers.file_edits import EditFiles
from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.plan import Change, Observed, Standing, Verdict, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.definitions import Definition


class SetReplicasInFiles(EditFiles):
    """Say in the files how many containers the application has, so that `up` keeps them.

    Args:
        service: The application's service.
        before: How many the files ask for.
        after: How many they shall ask for.
        freed: Whether its container_name and the host's ports that it is given are taken out.
    """

    kind: ClassVar[str] = "application.set_replicas_in_files"

    service: str
    before: int
    after: int
    freed: bool

    @property
    def title(self) -> str:
        """What the change does."""
        freed = ", without a container_name and a port of the host" if self.freed else ""
        return f"say {counted(self.after, 'container')} of {self.service} in {self.names}{freed}"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return (
            f"the files ask for {counted(self.before, 'container')}",
            f"the files ask for {counted(self.after, 'container')}",
        )

    def written(self, definition: Definition) -> Mapping[str, str]:
        """Make the new texts from the present ones, by name."""
        return with_replicas(definition.texts(), self.service, self.after, freed=self.freed)


class SetReplicas(Change):
    """Have another number of containers serve: proved before they get requests, drained before.

    Args:
        service: The application's service.
        before: How many there are.
        after: How many there shall be.
    """

    kind: ClassVar[str] = "application.set_replicas"
    permissions: ClassVar[tuple[str, ...]] = (
        "containers:create",
        "containers:remove",
        "proxy:reload",
    )

    service: str
    before: int
    after: int

    @property
    def title(self) -> str:
        """What the change does."""
        return f"have {counted(self.after, 'container')} of {self.service} serve"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"containers of service {self.service}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return counted(self.before, "container"), counted(self.after, "container")

    def observe(self, work: Work) -> Observed:
        """Count those that there are, and see whether requests are led to each."""
        scaling = targets.load(work.target).scaling
        found, chosen = scaling.seen(), scaling.is_choosy()
        idle = [one.name for one in found if not one.led]
        seen = f"{counted(len(found), 'container')}: {', '.join(one.name for one in found)}"
        if idle:
            seen += f"; no requests are led to {', '.join(idle)}"
        elif chosen:
            seen += "; the proxy leads to them by name still"
        known = {self.before: Standing.BEFORE, self.after: Standing.AFTER}
        if not idle and not chosen and len(found) in known:
            return Observed(known[len(found)], seen)
        fewest, most = sorted(known)
        halfway = work.begun_at is not None and fewest <= len(found) <= most
        return Observed(Standing.HALF if halfway else Standing.OTHER, seen)

    def apply(self, work: Work) -> str:
        """Make or remove containers, no request failing."""
        return self._reach(work, self.after)

    def revert(self, work: Work) -> str:
        """Come back to as many as before."""
        return self._reach(work, self.before)

    def _reach(self, work: Work, count: int) -> str:
        # By whom the proxy names, a successor sees that this is not over.
        scaling = targets.load(work.target).scaling
        found = sorted(scaling.seen(), key=lambda one: not one.runs)
        if len(found) > count:
            kept, gone = found[:count], [one.name for one in found[count:]]
            scaling.lead([one.name for one in kept])
            work.progress(0.5, f"no requests are on their way to {', '.join(gone)}")
            scaling.remove(gone)
        else:
            led = [one.name for one in found if one.led]
            if len(found) < count or not all(one.runs for one in found):
                scaling.lead(led)
                scaling.add(count)
            for name in [one.name for one in scaling.seen() if one.name not in led]:
                work.progress(0.5, f"{name} answers, and is proved")
                _prove(work, name)
        scaling.lead()
        return f"requests are led to {', '.join(one.name for one in scaling.seen())}"


def _prove(work: Work, name: str) -> None:
    """Have a new container serve the probe account past the proxy, before it gets requests."""
    system = targets.load(work.target)
    url = next(one.url for one in system.application.replicas() if one.name == name)
    answer = ask_application(work, url)
    if answer.verdict is Verdict.HELD or system.probe_account is None:
        return
    kind = Transient if answer.verdict is Verdict.NOT_ASKED else PreconditionFailed
    raise kind(
        expected=f"{name} to serve the probe account before it gets requests.",
        found=answer.detail,
        state="It gets none; those that served before serve.",
        todo=f"Read its log: `docker logs {name}`.",
    )
