"""What the engine asks of a target, without knowing any: who it is, and ending old sessions."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol

_fence: ContextVar["Fence | None"] = ContextVar("remedy_fence", default=None)
_pinned: ContextVar["SystemFacts | None"] = ContextVar("remedy_pinned_system", default=None)


class SystemFacts(Protocol):
    """The part of a target that the engine sees."""

    name: str

    def fingerprint(self) -> str:
        """Hash what the target resolves to, without secrets' values."""

    def identity(self) -> dict[str, str]:
        """Ask the system who it is."""

    def end_older(self, token: int) -> list[str]:
        """End what sessions with a token below `token` still run; say what was ended."""


class Fence(Protocol):
    """The lease under which we work, as what opens sessions sees it."""

    token: int

    def insist_fresh(self) -> None:
        """Raise LeaseLost where somebody else may hold the lease by now."""

    def note_child(self, pid: int, program: str) -> None:
        """Record a child process that works under the lease."""


Loader = Callable[[str], SystemFacts]
_loaders: list[Loader] = []


def use_loader(loader: Loader) -> None:
    """Say how a target's name becomes a system; the platforms do, when they are imported."""
    _loaders[:] = [loader]


def load(name: str) -> SystemFacts:
    """Load a target, or give the one that the engine pinned for the stage at work.

    Args:
        name: The target's name.

    Returns:
        The system. While a stage is carried out always the one that was checked against
        the plan, so that an edit of the target's block in between redirects nothing.
    """
    pinned = _pinned.get()
    if pinned is not None and pinned.name == name:
        return pinned
    return _loaders[0](name)


@contextmanager
def pin(system: SystemFacts, fence: Fence) -> Iterator[None]:
    """Make `load` give this system, and its sessions carry this lease's fencing token."""
    pinned, held = _pinned.set(system), _fence.set(fence)
    try:
        yield
    finally:
        _pinned.reset(pinned)
        _fence.reset(held)


def fencing_token() -> int:
    """Give the fencing token of the lease under which we work; 0 without one."""
    fence = _fence.get()
    return fence.token if fence else 0


def insist_on_fence() -> None:
    """Make sure that what was just opened under our lease can be ended by its next holder.

    A process that was stopped opens nothing any more once its lease ran out: whoever took it
    over has ended what was open before.

    Raises:
        LeaseLost: The lease ran out.
    """
    fence = _fence.get()
    if fence is not None:
        fence.insist_fresh()


def note_child(pid: int, program: str) -> None:
    """Record a child process that works under our lease, so that a successor can end it.

    Args:
        pid: Its number.
        program: What it is, as 'pg_restore'.
    """
    fence = _fence.get()
    if fence is not None:
        fence.note_child(pid, program)
