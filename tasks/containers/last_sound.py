"""With what a service is known to have worked: a record of ours, and what its engine still has."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

from tasks.containers.standing import Standing as Stands
from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed, WorldMoved
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.guardrails.words import moment
from tasks.platforms import targets
from tasks.platforms.protocols import System

_SETTING = "setting."
_HEALTHY = "health_status: healthy"


@dataclass(frozen=True)
class Known:
    """Something that a service is known to have worked with.

    Args:
        source: 'record ID' of a remediation, 'container ID', or 'events'.
        image: Id of the image.
        how: Why it is known, as a sentence.
        settings: The settings, values of secrets among them; None where only the image is known.
    """

    source: str
    image: str
    how: str
    settings: Mapping[str, str] | None = field(repr=False)


def record_name(service: str) -> str:
    """Name the secret that holds the record of a service."""
    plain = re.fullmatch(r"[a-z0-9-]{1,60}", service)
    return f"sound-{service if plain else hashlib.sha256(service.encode()).hexdigest()}"


def find_known(system: System, service: str, standing: Stands) -> list[Known]:
    """Find with what a service is known to have worked.

    Args:
        system: The target.
        service: The service.
        standing: How its containers stand.

    Returns:
        What is known, the best first: our record, other containers, the engine's events.
    """
    return list(_known(system, service, standing))


def _known(system: System, service: str, standing: Stands) -> Iterator[Known]:
    try:
        record = system.secrets.read(record_name(service))
    except PreconditionFailed:  # a target without a folder for them is looked at as well
        record = None
    if record:
        how = f"remediation {record['by']} recorded it on {record['at']}: {record['how']}"
        yield Known(f"record {record['by']}", record["image"], how, settings_in(record))
    for one in standing.containers:
        if one.checked_well and one not in standing.broken:
            when = _time(one.checked_well)
            how = f"container {one.name} of the service passed its health check on {when}"
            yield Known(f"container {one.id}", one.image, how, one.environment)
    for event in reversed(standing.events):
        if event.what == _HEALTHY and event.image:
            how = (
                f"by the engine's events a container of it was healthy on {_time(event.at)} "
                "(what its settings were, they do not say)"
            )
            yield Known("events", event.image, how, None)


def settings_of(system: System, service: str, source: str) -> Mapping[str, str] | None:
    """Read the settings of a source again; None where it is no more what it was.

    Args:
        system: The target.
        service: The service.
        source: As `Known` has it.
    """
    kind, _, which = source.partition(" ")
    if kind == "record":
        record = system.secrets.read(record_name(service))
        return settings_in(record) if record and record["by"] == which else None
    found = (one.environment for one in system.containers.of(service) if one.id == which)
    return next(found, None)


def settings_in(record: Mapping[str, str]) -> dict[str, str]:
    """Give the settings that a record holds."""
    return {
        name.removeprefix(_SETTING): value
        for name, value in record.items()
        if name.startswith(_SETTING)
    }


class RecordSound(Change):
    """Keep image and settings of a sound service among the target's secrets.

    Args:
        service: The service.
        image: Id of its image.
        how: Why it is called sound.
        by: The remediation that records it.
        previous: The remediation whose record this one takes the place of, '' for none.
        container: Id of the container that is sound; '' where that is not known.
    """

    kind: ClassVar[str] = "containers.record_sound"
    permissions: ClassVar[tuple[str, ...]] = ("secrets:write",)

    service: str
    image: str
    how: str
    by: str
    previous: str
    container: str = ""

    @property
    def title(self) -> str:
        """What the change does."""
        return f"keep with what {self.service} works, among the target's secrets"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"record of service {self.service}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        before = f"the record of remediation {self.previous}" if self.previous else "no record"
        return before, f"image {self.image[:19]} and its settings are recorded"

    @property
    def _old(self) -> str:
        return f"{record_name(self.service)}-before-{self.by}"

    def observe(self, work: Work) -> Observed:
        """Compare whose record there is, and before the beginning whether it is sound still."""
        system = targets.load(work.target)
        record = system.secrets.read(record_name(self.service)) or {}
        by = record.get("by", "")
        if by == self.by:
            return Observed(Standing.AFTER, "the record is ours")
        if by == self.previous:
            if work.is_to_begin and (unsound := self._unsound(system)):
                return Observed(Standing.OTHER, unsound)
            return Observed(Standing.BEFORE, f"the record is that of {by or 'nobody'}")
        halfway = not by and work.begun_at is not None
        return Observed(Standing.HALF if halfway else Standing.OTHER, f"the record is of {by}")

    def _unsound(self, system: System) -> str:
        """Say how the container is not sound any more; '' where it is."""
        if not self.container:
            return ""
        there = system.containers.of(self.service)
        found = next((one for one in there if one.id == self.container), None)
        if found is None:
            return f"the container of {self.service} that was sound is gone"
        if found.runs and found.health in {"", "healthy"}:
            return ""
        stands = ", ".join(filter(None, (found.status, found.health)))
        return f"container {found.name} was sound, and is {stands} by now"

    def apply(self, work: Work) -> str:
        """Keep the old record aside, then put the new one in its place."""
        system = targets.load(work.target)
        found = [
            one
            for one in system.containers.of(self.service)
            if one.image == self.image and self.container in {"", one.id}
        ]
        if not found:
            raise WorldMoved(
                expected=f"a container of {self.service} with image {self.image[:19]}.",
                found="none that this was planned from: it was made anew.",
                todo="Run the remediation again.",
            )
        name, environment = record_name(self.service), found[0].environment
        now = system.application.settings()
        settings = {key: value for key, value in now.items() if environment.get(key) == value}
        if old := system.secrets.read(name):
            system.secrets.keep(self._old, old)
            system.secrets.forget(name)
            faults.point(f"{self.kind}:old-aside")
        new = {"by": self.by, "at": moment(datetime.now(UTC)), "image": self.image, "how": self.how}
        system.secrets.keep(name, new | {f"{_SETTING}{key}": it for key, it in settings.items()})
        return f"{len(settings)} settings are recorded"

    def revert(self, work: Work) -> str:
        """Put the old record back."""
        secrets = targets.load(work.target).secrets
        name = record_name(self.service)
        secrets.forget(name)
        if old := secrets.read(self._old):
            secrets.keep(name, old)
            secrets.forget(self._old)
        return "the record is as before"


def _time(when: float) -> str:
    return moment(datetime.fromtimestamp(when, UTC))
