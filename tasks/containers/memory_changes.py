"""Raise a service's limit of memory: in its files, and while its containers run."""

from collections.abc import Mapping
from typing import ClassVar

from tasks.containers.file_edits import EditFiles
from tasks.containers.memory_texts import with_limit, written
from tasks.guardrails.errors import Transient
from tasks.guardrails.plan import (
    Answer,
    Change,
    Check,
    Limit,
    Loss,
    Observed,
    Standing,
    Verdict,
    Work,
)
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.definitions import Definition
from tasks.platforms.memory import MemoryUse


class SetMemoryInFiles(EditFiles):
    """Say a service's limit of memory in the files from which its containers are made.

    Args:
        service: The service.
        before: The limit that is said, in bytes, 0 for none.
        after: The limit that shall be said.
        swap: That of memory and swap together where the files say one, 0 to leave it.
        deploy: Whether it is said under `deploy` where no file says it yet.
    """

    kind: ClassVar[str] = "containers.set_memory_in_files"

    service: str
    before: int
    after: int
    swap: int
    deploy: bool

    @property
    def title(self) -> str:
        """What the change does."""
        return f"say {written(self.after)} as the memory of {self.service} in {self.names}"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"the files say {_shown(self.before)}", f"the files say {written(self.after)}"

    def written(self, definition: Definition) -> Mapping[str, str]:
        """Make the new texts from the present ones, by name."""
        return with_limit(
            definition.texts(), self.service, self.after, self.swap, deploy=self.deploy
        )


class SetMemoryLimit(Change):
    """Raise the limit of memory of a service's containers while they run.

    Args:
        service: The service.
        before: The limit, in bytes.
        swap_before: That of memory and swap together, as the engine says it.
        after: The limit that shall be.
        swap_after: The same for memory and swap together.
    """

    kind: ClassVar[str] = "containers.set_memory_limit"
    permissions: ClassVar[tuple[str, ...]] = ("containers:update",)

    service: str
    before: int
    swap_before: int
    after: int
    swap_after: int

    @property
    def title(self) -> str:
        """What the change does."""
        return f"let {self.service} use {written(self.after)} of memory, without a restart"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"memory of service {self.service}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"at most {_shown(self.before)}", f"at most {_shown(self.after)}"

    def observe(self, work: Work) -> Observed:
        """Compare the limit of each container."""
        found = targets.load(work.target).memory.use(self.service)
        seen = ", ".join(f"{one.container}: at most {_shown(one.limit)}" for one in found)
        limits = {one.limit for one in found}
        if limits == {self.after}:
            return Observed(Standing.AFTER, seen)
        if limits == {self.before}:
            return Observed(Standing.BEFORE, seen)
        halfway = work.begun_at is not None and limits == {self.before, self.after}
        return Observed(Standing.HALF if halfway else Standing.OTHER, seen or "no container")

    def apply(self, work: Work) -> str:
        """Raise it, container after container."""
        return self._set(work, self.after, self.swap_after)

    def revert(self, work: Work) -> str:
        """Lower it again, unless more than that is in use."""
        if loss := self.undo_loss(work):
            raise Transient(
                expected=f"{self.service} to use less than the {written(self.before)} of before.",
                found=loss.sentence,
                state=f"It may use {written(self.after)} as before this undo.",
                todo=f"Restart it (`compose restart {self.service}`), then try again.",
            )
        return self._set(work, self.before, self.swap_before)

    def _set(self, work: Work, memory: int, swap: int) -> str:
        limits = targets.load(work.target).memory
        found = limits.use(self.service)
        for one in found:
            if one.limit != memory:
                limits.limit(one.container, memory, swap)
        same = sum(_is_same(one, found) for one in limits.use(self.service))
        return f"{same} of {counted(len(found), 'container')} has the start time of before"

    def undo_loss(self, work: Work) -> Loss | None:
        """Say that more than the old limit is in use by now."""
        found = targets.load(work.target).memory.use(self.service)
        beyond = {
            one.container: one.working_set
            for one in found
            if one.working_set is not None and one.working_set > self.before
        }
        if not beyond:
            return None
        used = ", ".join(f"{name} uses {amount / 1e6:.0f} MB" for name, amount in beyond.items())
        return Loss(
            amount=sum(beyond.values()),
            unit="bytes in use",
            sentence=f"{used}, more than the {self.before / 1e6:.0f} MB of before: it has to be "
            "restarted first, as the engine refuses that or the kernel kills what is in it.",
        )


class HostHasMemory(Limit):
    """The machine has the memory by which a service may grow.

    Args:
        service: The service.
    """

    kind: ClassVar[str] = "containers.host_has_memory"

    service: str

    @property
    def title(self) -> str:
        """What is limited."""
        return f"memory that the machine has for {self.service}"

    def measure(self, work: Work) -> float:
        """Measure what is available, with what the service uses already."""
        memory = targets.load(work.target).memory
        host = memory.host()
        in_use = sum(one.working_set or 0 for one in memory.use(self.service))
        return float(in_use + (host.total if host.available is None else host.available))


class MemoryLimitHolds(Check):
    """Engine and kernel say the same limit of a service's containers.

    Args:
        service: The service.
        limit: The limit, in bytes.
    """

    kind: ClassVar[str] = "containers.memory_limit_holds"

    service: str
    limit: int

    @property
    def title(self) -> str:
        """The claim."""
        return f"the kernel lets {self.service} use {written(self.limit)} of memory"

    def ask(self, work: Work) -> Answer:
        """Ask the engine, and each container that runs for what the kernel enforces in it."""
        found = targets.load(work.target).memory.use(self.service)
        seen = "; ".join(_as_seen(one) for one in found) or "no container"
        limits = {limit for one in found for limit in (one.limit, one.enforced or one.limit)}
        if limits != {self.limit}:
            return Answer(Verdict.NOT_HELD, seen)
        if any(one.runs and one.enforced is None for one in found):
            return Answer(Verdict.NOT_ASKED, f"{seen}; the kernel could not be asked")
        return Answer(Verdict.HELD, seen)


def _as_seen(one: MemoryUse) -> str:
    kernel = "" if one.enforced is None else f", the kernel {one.enforced / 2**20:.0f} MiB"
    return f"{one.container}: the engine says {one.limit / 2**20:.0f} MiB{kernel}"


def _is_same(one: MemoryUse, before: list[MemoryUse]) -> bool:
    return any((one.container, one.started_at) == (it.container, it.started_at) for it in before)


def _shown(limit: int) -> str:
    return written(limit) if limit else "no limit"
