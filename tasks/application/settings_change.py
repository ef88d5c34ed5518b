"""Other settings for the application, replica after replica, while it serves."""

from collections.abc import Iterable, Mapping
from typing import ClassVar

from pydantic import Field

from tasks.application.rolling import roll
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.applications import Replica
from tasks.platforms.protocols import System

_TEXT = "(text)"  # no setting has such a name


def runs_with(replica: Replica, settings: Mapping[str, str]) -> bool:
    """Say whether a replica runs, and was started with settings."""
    return replica.runs and settings.items() <= dict(replica.settings).items()


def find_stale(system: System, names: Iterable[str], now: Mapping[str, str]) -> str:
    """Say which replicas were started with other settings than there are now.

    Args:
        system: The target.
        names: Names of the settings that matter.
        now: The application's settings.

    Returns:
        A sentence; '' where there is none, or the target names no replicas.
    """
    wanted = {name: now[name] for name in names if name in now}
    try:
        replicas = system.application.replicas()
    except PreconditionFailed:
        return ""  # they cannot be looked at
    late = [one.name for one in replicas if one.runs and not runs_with(one, wanted)]
    return f"{', '.join(late)} was started with other settings than there are now" if late else ""


def kept_as(secret: str) -> str:
    """Name the secret that holds the settings of before."""
    return f"{secret}-before"


class ChangeSettings(Change):
    """Give the application other settings, one replica after the other.

    Args:
        before: Settings that are no secrets, as they are.
        after: The same, as they shall be.
        passwords: Name of the secret by the setting that shall hold its password.
        also: Settings that stay, and that each replica has to have been started with.
        keep: Under this name, with `-before` behind it, the old settings are kept as a secret.
        served: Whether the application served its users before: only then its replicas have to
            come up and prove themselves in an undo, and one has to serve all the time.
    """

    kind: ClassVar[str] = "application.change_settings"
    permissions: ClassVar[tuple[str, ...]] = (
        "application:configure",
        "application:restart",
        "secrets:write",
    )

    before: dict[str, str]
    after: dict[str, str]
    passwords: dict[str, str] = Field(default_factory=dict)
    also: tuple[str, ...] = ()
    keep: str
    served: bool = True

    @property
    def was_sound(self) -> bool:
        """Whether what an undo comes back to can prove itself."""
        return self.served

    @property
    def title(self) -> str:
        """What the change does."""
        changed = [
            f"{name}={value}" for name, value in self.after.items() if self.before[name] != value
        ]
        what = ", ".join([*changed, *(f"{name} to a new one" for name in self.passwords)])
        return f"set {what} for the application, one replica after the other"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return ("settings of the application",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        before = ", ".join(f"{name}={value}" for name, value in self.before.items())
        after = ", ".join(f"{name}={value}" for name, value in self.after.items())
        new = "".join(f", a new {name}" for name in self.passwords)
        return f"set: {before}", f"every replica runs with {after}{new}"

    def system(self, work: Work) -> System:
        """Give the target, as its settings are read and written."""
        return targets.load(work.target)

    def observe(self, work: Work) -> Observed:
        """Compare the settings with what each replica was started with."""
        system = self.system(work)
        now, wanted = system.application.settings(), self._wanted(system)
        is_new = wanted is not None and wanted.items() <= now.items()
        if not is_new and not self.before.items() <= now.items():
            found = {name: now.get(name, "(not set)") for name in self.before}
            return Observed(Standing.OTHER, f"the settings are {found}")
        replicas, mine = system.application.replicas(), self._of_mine(now)
        late = [one.name for one in replicas if not (one.serves and runs_with(one, mine))]
        seen = f"the settings are {'new' if is_new else 'as before'}; " + (
            f"not serving with them: {', '.join(late)}"
            if late
            else f"{counted(len(replicas), 'replica serves', 'replicas serve')} with them"
        )
        if is_new:
            return Observed(Standing.HALF if late else Standing.AFTER, seen)
        # What is still kept is to be put back, or was just kept: neither is the beginning.
        busy = system.secrets.read(kept_as(self.keep)) is not None or (late and self.served)
        return Observed(Standing.HALF if work.begun_at and busy else Standing.BEFORE, seen)

    def apply(self, work: Work) -> str:
        """Keep the old settings, write the new ones, roll."""
        system = self.system(work)
        wanted = self._wanted(system)
        if wanted is None:
            raise PreconditionFailed(
                expected="the new password among the target's secrets.",
                found=f"no {' or '.join(self.passwords.values())}.",
                todo="Run the remediation again.",
            )
        application = system.application
        if not wanted.items() <= application.settings().items():
            now = application.settings()
            old = {name: now[name] for name in wanted if name in now}
            system.secrets.keep(kept_as(self.keep), {**old, _TEXT: application.configuration()})
            application.configure(wanted)
        mine = self._of_mine(application.settings())
        rolled = roll(work, lambda one: runs_with(one, mine), serving=self.served)
        return f"{counted(rolled, 'replica was', 'replicas were')} restarted"

    def revert(self, work: Work) -> str:
        """Write the old settings back, byte for byte where nobody edited others; roll."""
        system = self.system(work)
        application = system.application
        if old := system.secrets.read(kept_as(self.keep)):
            text = old.pop(_TEXT)
            application.put_back(text, self._wanted(system) or {}, old)
        mine = self._of_mine(application.settings())
        rolled = roll(
            work, lambda one: runs_with(one, mine), prove=self.was_sound, serving=self.served
        )
        system.secrets.forget(kept_as(self.keep))
        return f"{counted(rolled, 'replica was', 'replicas were')} restarted"

    def _of_mine(self, now: Mapping[str, str]) -> dict[str, str]:
        """Give the settings that each replica has to have been started with."""
        names = (*self.before, *self.passwords, *self.also)
        return {name: now[name] for name in names if name in now}

    def _wanted(self, system: System) -> dict[str, str] | None:
        wanted = dict(self.after)
        for name, secret in self.passwords.items():
            kept = system.secrets.read(secret)
            if kept is None:
                return None
            wanted[name] = kept["password"]
        return wanted


class TakeSettingsUp(Change):
    """Restart the replicas that were started with other settings than there are now.

    Args:
        names: The settings that matter.
    """

    kind: ClassVar[str] = "application.take_settings_up"
    permissions: ClassVar[tuple[str, ...]] = ("application:restart",)
    reverts: ClassVar[Reverts] = "pointless"  # with what they ran before nothing was right

    names: tuple[str, ...]

    @property
    def title(self) -> str:
        """What the change does."""
        return "restart the application with its settings, one replica after the other"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return ("replicas of the application",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return "replicas run with older settings", "every replica runs with the settings"

    def observe(self, work: Work) -> Observed:
        """Compare the settings with what each replica was started with."""
        application = targets.load(work.target).application
        mine = self._mine(application.settings())
        replicas = application.replicas()
        late = [one.name for one in replicas if not (one.serves and runs_with(one, mine))]
        if not late:
            return Observed(Standing.AFTER, "every replica serves with the settings")
        standing = Standing.HALF if work.begun_at else Standing.BEFORE
        return Observed(standing, f"not serving with the settings: {', '.join(late)}")

    def apply(self, work: Work) -> str:
        """Roll."""
        mine = self._mine(targets.load(work.target).application.settings())
        rolled = roll(work, lambda one: runs_with(one, mine), serving=False)
        return f"{counted(rolled, 'replica was', 'replicas were')} restarted"

    def _mine(self, now: Mapping[str, str]) -> dict[str, str]:
        return {name: now[name] for name in self.names if name in now}
