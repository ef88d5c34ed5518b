"""The errors an on-call person reads: what was expected, found, how things stand, what to do."""

from typing import ClassVar


class RemediationError(Exception):
    """A failure told in four sentences, so that nobody needs a stack trace at 3 a.m.

    Args:
        expected: What should have been so.
        found: What was so instead.
        state: What state things are in now; by default that nothing was touched.
        todo: What to do next.
    """

    kind: ClassVar[str] = "remediation_failed"

    def __init__(
        self,
        *,
        expected: str,
        found: str,
        todo: str,
        state: str = "Nothing was changed.",
    ) -> None:
        """Keep the four parts, and make the message of them."""
        super().__init__()
        self.expected, self.found, self.state, self.todo = expected, found, state, todo

    def __str__(self) -> str:
        """Tell all four parts."""
        return (
            f"Expected: {self.expected} Found: {self.found} State: {self.state} "
            f"Do next: {self.todo}"
        )

    def facts(self) -> dict[str, str]:
        """Give the parts as they go into the ledger.

        Returns:
            The kind and the four sentences.
        """
        return {
            "error": self.kind,
            "expected": self.expected,
            "found": self.found,
            "state": self.state,
            "todo": self.todo,
        }


class PreconditionFailed(RemediationError):
    """The remediation cannot be planned or begun as things stand."""

    kind = "precondition_failed"


class ApprovalRefused(RemediationError):
    """An approver said no, or a decision did not count."""

    kind = "approval_refused"


class ApprovalExpired(RemediationError):
    """Nobody decided within the gate's expiry."""

    kind = "approval_expired"


class TargetBusy(RemediationError):
    """Another remediation holds the target's lease."""

    kind = "target_busy"


class LeaseLost(TargetBusy):
    """Our own lease was taken over: another remediation acts on the target now."""

    kind = "lease_lost"


class WorldMoved(RemediationError):
    """What is there now is not what the plan was made from."""

    kind = "world_moved"


class Transient(RemediationError):
    """A failure that may pass by itself: the only kind that is retried."""

    kind = "transient"


class CheckFailed(RemediationError):
    """The proof from outside did not hold."""

    kind = "check_failed"


class UndoFailed(RemediationError):
    """A change could not be taken back; a person has to."""

    kind = "undo_failed"


class LedgerBroken(RemediationError):
    """The ledger's chain or a signature does not hold, or it cannot be written."""

    kind = "ledger_broken"


class BadInput(RemediationError):
    """A parameter, a command's argument or a configuration is not usable."""

    kind = "bad_input"


def error_from(facts: dict[str, str]) -> RemediationError:
    """Make the error again that `facts` were recorded of.

    Args:
        facts: What `RemediationError.facts` gave.

    Returns:
        An error of the same kind with the same sentences.
    """
    known = {cls.kind: cls for cls in _all_kinds(RemediationError)}
    cls = known.get(facts["error"], RemediationError)
    return cls(
        expected=facts["expected"],
        found=facts["found"],
        state=facts["state"],
        todo=facts["todo"],
    )


def _all_kinds(cls: type[RemediationError]) -> list[type[RemediationError]]:
    return [cls, *(kind for sub in cls.__subclasses__() for kind in _all_kinds(sub))]
