"""A lease to open sessions under, without a ledger."""

from dataclasses import dataclass

from tasks.guardrails.errors import LeaseLost


@dataclass
class Held:
    """A lease that holds until it is said to be lost."""

    token: int
    lost: bool = False

    def insist_fresh(self) -> None:
        """Refuse once it is lost."""
        if self.lost:
            raise LeaseLost(expected="the lease.", found="it ran out.", todo="Look.")

    def note_child(self, pid: int, program: str) -> None:
        """Forget it: there is no ledger."""
