"""Have the project managed by another compose program, known by its checksum."""

from typing import Annotated

from pydantic import Field

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.serves import ApplicationServes
from tasks.containers.compose_update import ComposeIs, find_update
from tasks.containers.file_edits import DefinitionIsRead
from tasks.guardrails.errors import BadInput
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation
from tasks.platforms.compose_programs import RELEASE, SHA256
from tasks.platforms.targets import TargetName


@remediation(guide="Docker Issues / Docker Compose Version Issues / Update Docker Compose")
def update_docker_compose(
    target: TargetName,
    source: Annotated[str, Field(max_length=1000, pattern=RELEASE)] = "",
    sha256: Annotated[str, Field(pattern=SHA256)] = "",
) -> Plan:
    """Have the project managed by another compose program, known by its checksum.

    The guide fetches one over the present one, and runs whatever came. Here the programs that there
    are come first, in the order in which docker and the shell find them, with the packages that
    they belong to. Another one is insisted on by its SHA-256, and has to read the project's files
    before it gets a place; which containers its next `up` would make anew is said. It takes the
    place by a rename: who runs compose at that moment is not disturbed. A package's own file is
    never overwritten: the new one goes where it is found before that. No container is touched.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        source: Path on the worker's machine, or URL, of another program; empty for that which the
            target names (`compose_release`), or to report only.
        sha256: Its SHA-256, as compose's release page has it; needed with `source`.

    Changes:
        The compose program of the worker's machine; the old one is kept beside it.

    Undo:
        The old program is put back, the very file with owner, rights and times; where there was
        none, ours is removed.
    """
    if bool(source) != bool(sha256):
        raise BadInput(
            expected="`source` and `sha256`, or neither.",
            found=f"{'source' if source else 'sha256'} alone.",
            todo="Give the other one: the release page of compose has a checksum for each program.",
        )
    found = find_update(target, source, sha256)
    if found.change is None:
        return Plan(
            name="update",
            title="Report which compose programs there are",
            risk=Risk.HARMLESS,
            findings=found.findings,
        )
    version = found.change.version
    return Plan(
        name="update",
        title=f"Have {target} managed by compose {version}",
        risk=Risk.DISRUPTIVE,
        findings=found.findings,
        changes=(found.change,),
        checks=(
            ComposeIs(version=version),
            DefinitionIsRead(services=found.services),
            ApplicationAnswers(),
        ),
        watches=(ApplicationServes(),),
        effects=Effects(outage="none: no container is touched"),
        notes=(*found.notes, *find_unproved(target)),
    )
