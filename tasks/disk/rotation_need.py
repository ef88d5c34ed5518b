"""Whether anything rotates the application's logs, and what makes the engine do it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tasks.containers.file_edits import edited_files
from tasks.containers.sole_edit import insist_on_sole_edit
from tasks.disk.logs import find_logs
from tasks.disk.rotation import RotateLogs, with_rotation
from tasks.disk.sizes import megabytes
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.platforms import targets
from tasks.platforms.definitions import Reading
from tasks.platforms.disks import LogFile
from tasks.platforms.protocols import System


@dataclass(frozen=True)
class Rotation:
    """What rotates the application's logs.

    Args:
        findings: The logs of all containers, and what bounds each.
        change: What has the application's rotated, None where something does already.
        lost: What goes with its old containers.
        notes: What the approver should know.
    """

    findings: tuple[Finding, ...]
    change: RotateLogs | None = None
    lost: str = "nothing"
    notes: tuple[str, ...] = ()


@probe
def find_rotation(target: str, max_size: str, max_files: int, keep: str) -> Rotation:
    """Look at the logs, and find what has the application's rotated.

    Args:
        target: Name of the target.
        max_size: From which size on a log is rotated, as '10m'.
        max_files: How many files are kept.
        keep: Name of the secret under which an edit keeps the files' texts.

    Returns:
        What was seen, and the change.

    Raises:
        PreconditionFailed: The target has no engine, or its files cannot be edited for that alone.
    """
    system = targets.load(target)
    definition, store = system.definition, system.engine_store
    service, findings = system.scaling.service, find_logs(target)[0]
    logs = [one for one in store.logs() if (one.project, one.service) == (store.project, service)]
    if not logs:
        raise PreconditionFailed(
            expected=f"a container of {service}.",
            found="none.",
            todo=f"Start it with `compose up -d {service}`, then run again.",
        )
    unbounded = [one for one in logs if not one.most]
    if not unbounded:
        return Rotation(findings)
    reading, texts = definition.read(), definition.texts()
    new = with_rotation(texts, service, max_size, max_files)
    insist_on_sole_edit(reading, definition.read(new), service, "logging", ("logging",))
    change = RotateLogs(
        files=edited_files(texts, new),
        keep=keep,
        service=service,
        words=reading.fingerprints.get(service, ""),
        served=all(one.replaceable for one in system.application.replicas()),
        max_size=max_size,
        max_files=max_files,
    )
    return Rotation(findings, change, _lost(logs), tuple(_notes(system, reading, service)))


def _lost(logs: Sequence[LogFile]) -> str:
    names = ", ".join(
        one.container if one.size is None else f"{one.container} ({megabytes(one.size)} MB)"
        for one in logs
    )
    return f"the log so far of {names}: it goes with the container"


def _notes(system: System, reading: Reading, service: str) -> Iterator[str]:
    yield (
        f"who needs the log so far saves it first: `docker logs {system.scaling.seen()[0].name}`"
    )
    made = system.definition.made_from().get(service)
    if made and made != reading.fingerprints.get(service):
        yield (
            f"{service} was made from other words than the files have now: all that they say of "
            "it comes into force"
        )
