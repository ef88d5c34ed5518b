"""Settings of the application back to those that it is known to have worked with."""

from typing import ClassVar

from tasks.application.settings_change import ChangeSettings
from tasks.containers.file_edits import hash_of
from tasks.containers.last_sound import settings_of
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import System


class SettingsBack(ChangeSettings):
    """Give the application settings that it has worked with; their values are in no plan.

    Args:
        service: Its service.
        source: Where the values are known from, as `Known` has it.
        kept_in: Hash of the text in which the settings are kept, as it was looked at.
    """

    kind: ClassVar[str] = "containers.settings_back"

    service: str
    source: str
    kept_in: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"set {', '.join(self.passwords)} of {self.service} to what it has worked with"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        names = ", ".join(self.passwords)
        return f"{names} as they are", f"{names} as in {self.source[:60]}"

    @property
    def _values(self) -> str:
        return f"{self.keep}-wanted"

    def observe(self, work: Work) -> Observed:
        """Compare the settings, and before the beginning the text in which they are."""
        seen = super().observe(work)
        now = hash_of(targets.load(work.target).application.configuration())
        if work.begun_at is None and seen.standing is Standing.BEFORE and now != self.kept_in:
            return Observed(Standing.OTHER, "somebody has edited the settings meanwhile")
        return seen

    def apply(self, work: Work) -> str:
        """Keep the values, as their source may go meanwhile; write them, and make it anew."""
        system = targets.load(work.target)
        wanted = self._wanted(system)
        if wanted is None:
            raise PreconditionFailed(
                expected=f"the settings of {self.source[:60]}.",
                found="it is gone, or another has taken its place.",
                todo="Run the remediation again.",
            )
        system.secrets.keep(self._values, wanted)
        return super().apply(work)

    def revert(self, work: Work) -> str:
        """Write the old settings back."""
        done = super().revert(work)
        targets.load(work.target).secrets.forget(self._values)
        return done

    def _wanted(self, system: System) -> dict[str, str] | None:
        if kept := system.secrets.read(self._values):
            return kept
        found = settings_of(system, self.service, self.source)
        if found is None or not set(self.passwords) <= set(found):
            return None
        return {name: found[name] for name in self.passwords}
