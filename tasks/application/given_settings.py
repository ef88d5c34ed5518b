"""Settings whose values are known from elsewhere: read when they are written, and in no plan."""

from collections.abc import Mapping
from typing import ClassVar

from tasks.application.settings_change import ChangeSettings
from tasks.guardrails.entries import hash_of
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Observed, Standing, Work
from tasks.platforms.protocols import System


def configuration_hash(system: System) -> str:
    """Hash the text in which the application's settings are kept."""
    return hash_of(system.application.configuration())


class GiveSettings(ChangeSettings):
    """Give the application settings that somebody still knows.

    Args:
        passwords: From where each is known, by its name, in words.
        kept_in: Hash of the text in which the settings are kept, as it was looked at.
    """

    kind: ClassVar[str] = "application.give_settings"

    kept_in: str

    def found(self, system: System) -> Mapping[str, str] | None:
        """Read the values where they are known; None where they are no more."""
        raise NotImplementedError

    @property
    def _values(self) -> str:
        return f"{self.keep}-wanted"

    def observe(self, work: Work) -> Observed:
        """Compare the settings, and before the beginning the text in which they are."""
        seen = super().observe(work)
        now = configuration_hash(self.system(work))
        if work.begun_at is None and seen.standing is Standing.BEFORE and now != self.kept_in:
            return Observed(Standing.OTHER, "somebody has edited the settings meanwhile")
        return seen

    def apply(self, work: Work) -> str:
        """Keep the values, as their source may go meanwhile; write them, and make it anew."""
        system = self.system(work)
        wanted = self._wanted(system)
        if wanted is None:
            raise PreconditionFailed(
                expected=f"{', '.join(self.passwords)} where they were known from.",
                found="that is gone, or another has taken its place.",
                todo="Run the remediation again.",
            )
        system.secrets.keep(self._values, wanted)
        return super().apply(work)

    def revert(self, work: Work) -> str:
        """Write the old settings back."""
        done = super().revert(work)
        self.system(work).secrets.forget(self._values)
        return done

    def _wanted(self, system: System) -> dict[str, str] | None:
        if kept := system.secrets.read(self._values):
            return kept
        found = self.found(system)
        if found is None or not set(self.passwords) <= set(found):
            return None
        return {name: found[name] for name in self.passwords}
