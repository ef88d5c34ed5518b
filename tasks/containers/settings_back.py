"""Settings of the application back to those that it is known to have worked with."""

from collections.abc import Mapping
from typing import ClassVar

from tasks.application.given_settings import GiveSettings
from tasks.containers.last_sound import settings_of
from tasks.platforms.protocols import System


class SettingsBack(GiveSettings):
    """Give the application settings that it has worked with; their values are in no plan.

    Args:
        service: Its service.
        source: Where the values are known from, as `Known` has it.
    """

    kind: ClassVar[str] = "containers.settings_back"

    service: str
    source: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"set {', '.join(self.passwords)} of {self.service} to what it has worked with"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        names = ", ".join(self.passwords)
        return f"{names} as they are", f"{names} as in {self.source[:60]}"

    def found(self, system: System) -> Mapping[str, str] | None:
        """Read them in the record, or in the container that worked."""
        return settings_of(system, self.service, self.source)
