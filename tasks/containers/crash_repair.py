"""What can be put right of a service that does not stay up, and what is left for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tasks.application.given_settings import configuration_hash
from tasks.application.settings_change import TakeSettingsUp
from tasks.containers.crash_causes import OF_IMAGE_ALONE, OF_SETTINGS, UNSURE, Cause
from tasks.containers.crash_ways import Ways, find_ways
from tasks.containers.file_edits import edited_files
from tasks.containers.image_back import NameImage, PinImage, image_in, with_image
from tasks.containers.last_sound import Known
from tasks.containers.settings_back import SettingsBack
from tasks.containers.standing import Standing
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.words import counted
from tasks.platforms.containers import Image
from tasks.platforms.protocols import System

_ELSEWHERE = frozenset(
    {"memory", "disk", "port", "health", "stopped", "migration", "credentials", "needed"}
)


@dataclass(frozen=True)
class Repair:
    """What can be done.

    Args:
        changes: What puts it right; none where people have to.
        findings: What is known of when it worked, and why nothing is done.
        notes: What the approver should know.
    """

    changes: tuple[NameImage | PinImage | SettingsBack | TakeSettingsUp, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()


def find_repair(
    system: System,
    service: str,
    standing: Standing,
    causes: tuple[Cause, ...],
    project: Mapping[str, Any],
    remediation: str,
) -> Repair:
    """Find what can be put right.

    Args:
        system: The target.
        service: The service.
        standing: How its containers stand.
        causes: Why they do.
        project: What compose makes of its files.
        remediation: Id of the remediation, for names of what is made.

    Returns:
        The changes, or why there are none.
    """
    ways = find_ways(system, service, standing)
    if {one.kind for one in causes} & _ELSEWHERE:
        return Repair(findings=ways.findings)
    if not {one.name for one in standing.broken} <= _replicas(system):
        return Repair(findings=(*ways.findings, _not_ours(service)))
    if len(standing.containers) > 1:
        return Repair(findings=(*ways.findings, _several(standing)))
    return _put_back(system, service, standing, causes, project, remediation, ways)


def _put_back(
    system: System,
    service: str,
    standing: Standing,
    causes: tuple[Cause, ...],
    project: Mapping[str, Any],
    remediation: str,
    ways: Ways,
) -> Repair:
    kinds = {one.kind for one in causes}
    named = {name for one in causes if one.kind == "environment" for name in one.names}
    settings, image = ways.settings, ways.image
    if settings and named:
        known, differing = settings
        mine = tuple(name for name in differing if name in named)
        settings = (known, mine) if mine else None
    may_be_settings, may_be_image = (
        kinds & (OF_SETTINGS | UNSURE),
        kinds & (OF_IMAGE_ALONE | UNSURE),
    )
    if ways.stale and may_be_settings and (not settings or named & set(ways.stale)):
        change = TakeSettingsUp(names=ways.stale)
        return Repair((change,), (*ways.findings, _stale(service, ways.stale)))
    if settings and image and not kinds & (OF_IMAGE_ALONE | {"environment"}):
        return Repair(findings=(*ways.findings, _both()))
    if settings and may_be_settings and not kinds & OF_IMAGE_ALONE:
        back = _settings_back(system, service, settings, remediation)
        return Repair((back,), ways.findings)
    if image and may_be_image:
        return _image_back(system, service, image, project, remediation, ways, standing)
    return Repair(findings=ways.findings)


def _replicas(system: System) -> set[str]:
    return {one.name for one in system.application.replicas()}


def _settings_back(
    system: System, service: str, way: tuple[Known, tuple[str, ...]], remediation: str
) -> SettingsBack:
    known, names = way
    return SettingsBack(
        before={},
        after={},
        passwords=dict.fromkeys(names, known.source),
        keep=f"settings-{remediation}",
        served=False,
        service=service,
        source=known.source,
        kept_in=configuration_hash(system),
    )


def _image_back(
    system: System,
    service: str,
    way: tuple[Known, Image],
    project: Mapping[str, Any],
    remediation: str,
    ways: Ways,
    standing: Standing,
) -> Repair:
    _, image = way
    texts, said = system.definition.texts(), project["services"][service]
    if str(said.get("pull_policy", "")) in {"always", "build"}:
        advice = _advice(f"pull_policy is {said['pull_policy']}: it would not be taken.", image)
        return Repair(findings=(*ways.findings, advice))
    _, before = image_in(texts, service)
    changes: list[NameImage | PinImage] = []
    name = image.names[0] if image.names else ""
    if not name:
        repository = (before or f"{project.get('name', 'remedy')}-{service}").partition("@")[0]
        repository, colon, tag = repository.rpartition(":")
        repository = repository if colon and "/" not in tag else f"{repository}{colon}{tag}"
        name = f"{repository}:worked-{remediation}"
        otherwise = standing.containers[0].image  # what has it is in use: no name goes last
        changes.append(NameImage(image=image.id, name=name, otherwise=otherwise))
    try:
        new = with_image(texts, service, name)
    except PreconditionFailed as error:
        return Repair(findings=(*ways.findings, _advice(f"{error.found} {error.todo}", image)))
    changes.append(
        PinImage(
            files=edited_files(texts, new),
            keep=f"compose-{remediation}",
            service=service,
            served=False,
            words=system.definition.read().fingerprints.get(service, ""),
            before=before,
            after=name,
            image=image.id if image.names else "",
        )
    )
    note = "the image that does not work stays; build a sound one, and say its name in the file"
    return Repair(tuple(changes), ways.findings, (note,))


def _advice(why: str, image: Image) -> Finding:
    return Finding(
        what=f"The image that worked is not put back by itself: {why}",
        how="the compose files",
        patch=f"docker tag {image.id[:19]} NAME, say it as the image, `compose up -d`",
    )


def _several(standing: Standing) -> Finding:
    names = [one.name for one in standing.containers]
    return Finding(
        what=f"It has {counted(len(names), 'container')} ({', '.join(names)}): an undo would make "
        "sound ones anew from what does not work.",
        how="the engine's containers",
        patch="put settings or image back by hand, or remove what is not needed (`docker rm`), "
        "then run again",
    )


def _not_ours(service: str) -> Finding:
    return Finding(
        what=f"{service} is not the application: its settings and image are put back by hand.",
        how="the target's `application_service`",
        patch=f"edit `.env` or the image of {service}, then `compose up -d {service}`",
    )


def _stale(service: str, names: tuple[str, ...]) -> Finding:
    return Finding(
        what=f"{service} was made with other values of {', '.join(names)} than its files say now: "
        "they were edited since, and not taken up.",
        how="`config`, and the engine's `inspect`",
    )


def _both() -> Finding:
    return Finding(
        what="Both settings and image differ from when it worked, and the log does not say which "
        "of them it is: neither is put back by a guess.",
        how="as above",
        patch="put one of both back by hand, then run again",
    )


def told(causes: tuple[Cause, ...], *, repaired: bool) -> tuple[Finding, ...]:
    """Show causes, with what to run where they are not repaired here."""
    return tuple(
        Finding(what=one.what, how=one.how, patch="" if repaired else one.todo) for one in causes
    )
