"""Settings of the application that are missing: given back from who still has them."""

import secrets
from collections.abc import Mapping
from typing import ClassVar

from tasks.application.given_settings import GiveSettings
from tasks.containers.last_sound import settings_of
from tasks.guardrails.entries import hash_of
from tasks.guardrails.plan import Answer, Check, Verdict, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.protocols import System

NEW = "new"
REPLICA, RECORD = "replica ", "record "
_BYTES = 48  # more than the 32 that HS256 asks for (RFC 7518, 3.2)


class RestoreSettings(GiveSettings):
    """Give the application settings that it lacks, and restart its replicas one by one.

    Args:
        service: The application's service where there are records of it; '' for none.
        sources: Where each value is known from: a replica, a record, or made anew.
    """

    kind: ClassVar[str] = "secrets.restore_settings"

    service: str
    sources: dict[str, str]

    @property
    def was_sound(self) -> bool:
        """Without them it cannot prove itself each time."""
        return False

    def system(self, work: Work) -> System:
        """Give the target, its settings as they are with what is missing."""
        return targets.load(work.target).with_gaps()

    @property
    def title(self) -> str:
        """What the change does."""
        return f"set {', '.join(self.passwords)} for the application, one replica after the other"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        said = ", ".join(f"{name} ({source})" for name, source in self.sources.items())
        return f"not set: {', '.join(self.sources)}", f"every replica runs with {said}"

    def _of_mine(self, now: Mapping[str, str]) -> dict[str, str]:
        """What is missing restarts nobody: a replica that has the values keeps them in an undo."""
        return {name: value for name, value in super()._of_mine(now).items() if value}

    def found(self, system: System) -> Mapping[str, str] | None:
        """Read each where it is known; what is to be made anew is made."""
        values = {}
        for name, source in self.sources.items():
            value = value_of(system, self.service, name, source)
            if not value:
                return None
            values[name] = value
        return values


def value_of(system: System, service: str, name: str, source: str) -> str:
    """Read a setting where it is known.

    Args:
        system: The target.
        service: The application's service, '' where there are no records of it.
        name: Name of the setting.
        source: Where it is known from.

    Returns:
        Its value; '' where it is known there no more.
    """
    if source == NEW:
        return secrets.token_urlsafe(_BYTES)
    if source.startswith(RECORD):
        return (settings_of(system, service, source) or {}).get(name, "")
    known = source.removeprefix(REPLICA)
    for one in system.application.replicas():
        if one.name == known:
            return one.settings.get(name, "")
    return ""


class SettingsAreThere(Check):
    """Each replica was started with settings that are needed, and all with the same.

    Args:
        names: Names of the settings.
    """

    kind: ClassVar[str] = "secrets.settings_are_there"

    names: tuple[str, ...]

    @property
    def title(self) -> str:
        """The claim."""
        return f"each replica runs with {', '.join(self.names)}, and all with the same"

    def ask(self, work: Work) -> Answer:
        """Look at what each was started with."""
        replicas = targets.load(work.target).application.replicas()
        said = []
        for name in self.names:
            lacking = [one.name for one in replicas if not one.settings.get(name)]
            differ = len({hash_of(one.settings.get(name, "")) for one in replicas}) > 1
            if lacking:
                said.append(f"{name} is missing in {', '.join(lacking)}")
            elif differ:
                said.append(f"{name} is not the same in all")
        if said or not replicas:
            return Answer(Verdict.NOT_HELD, "; ".join(said) or "no replica")
        return Answer(Verdict.HELD, f"the same in {counted(len(replicas), 'replica')}")
