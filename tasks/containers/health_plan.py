"""What is planned for a health check, or left to people."""

from dataclasses import dataclass

from tasks.containers.file_edits import edited_files
from tasks.containers.health_change import RewriteHealthCheck
from tasks.containers.health_text import Wording, with_wording
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.platforms.protocols import System


@dataclass(frozen=True)
class HealthNeed:
    """What was found of a health check.

    Args:
        title: What is done.
        findings: What was seen.
        change: What is planned; None for nothing.
    """

    title: str
    findings: tuple[Finding, ...]
    change: RewriteHealthCheck | None = None


def reported(service: str, *findings: Finding) -> HealthNeed:
    """Report a check that is sound."""
    return HealthNeed(f"Report the health check of {service}", findings)


def advised(service: str, *findings: Finding) -> HealthNeed:
    """Leave it to people, with what to run."""
    return HealthNeed(f"Report why {service} is not called healthy", findings)


def rewritten(
    system: System,
    service: str,
    findings: tuple[Finding, ...],
    wording: Wording,
    was: str,
    remediation: str,
) -> HealthNeed:
    """Plan another wording of a check, where that can be done without a gap.

    Args:
        system: The target.
        service: The service.
        findings: What was seen.
        wording: What is said otherwise.
        was: What is wrong with it now.
        remediation: Id of the remediation, for names of what is kept.

    Returns:
        The plan; advice where it is not the application's, or the files are not ours to edit.
    """
    if system.network.role(service) != "application":
        return advised(service, *findings, _by_hand(service, wording, was, "It is not the app"))
    texts = system.definition.texts()
    try:
        new = with_wording(texts, service, wording)
    except PreconditionFailed as error:
        return advised(service, *findings, _by_hand(service, wording, was, error.found))
    before, after = system.definition.read(), system.definition.read(new)
    others = {
        name
        for name, words in before.fingerprints.items()
        if name != service and after.fingerprints.get(name) != words
    }
    if after.services is None or others:
        why = f"it would change {', '.join(sorted(others))}, too" if others else "compose refuses"
        return advised(service, *findings, _by_hand(service, wording, was, why))
    change = RewriteHealthCheck(
        files=edited_files(texts, new),
        keep=f"compose-{remediation}",
        service=service,
        served=True,
        words=before.fingerprints.get(service, ""),
        wording=wording,
        was=was,
    )
    return HealthNeed(f"Correct the health check of {service}", findings, change)


def _by_hand(service: str, wording: Wording, was: str, why: str) -> Finding:
    return Finding(
        what=f"Its check: {was}. It is not edited by itself: {why.rstrip('.')}.",
        how="the compose files",
        patch=f"say the `healthcheck` of {service} so that it {wording}; then "
        f"`compose up -d {service}`",
    )
