"""What came free by a clean-up, as the ledger has it of each removal."""

from tasks.disk.sizes import add_up, describe_freed
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.platforms import targets


@probe
def find_freed(target: str, remediation: str) -> tuple[Finding, ...]:
    """Add up what the file system said around each removal.

    Args:
        target: Name of the target.
        remediation: Id of the remediation.

    Returns:
        A finding with the bytes, and those that are free now.
    """
    done = Case.read(Ledger(), remediation).of_kind("done")
    freed = add_up(str(entry.facts.get("note") or "") for entry in done)
    return (describe_freed(freed, len(done), targets.load(target).engine_store.root()),)
