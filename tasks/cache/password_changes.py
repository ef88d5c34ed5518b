"""Another password for a user of the cache's server, beside the old one and then in its place.

A user may have several passwords: while replicas change over, both are right. Source: Redis
manual, ACL SETUSER.
"""

import json
from typing import ClassVar

from tasks.application.settings_change import kept_as
from tasks.cache.keeping import Place, as_kept, give_back, is_kept, keep
from tasks.cache.old_sessions import await_leave, watch_refusals
from tasks.cache.remaking import remake_where_needed
from tasks.cache.users import Accepted, CacheUser, accept, hash_of, read_user
from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed, RemediationError
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.cache_servers import CacheLogin
from tasks.platforms.protocols import System


class PasswordChange(Change):
    """What both steps have in common.

    Args:
        user: The user of the cache's server.
        secret: Name of the secret with the new password.
        first: Whether anybody was let in before, without a password.
        place: Where the server has its users from when it starts.
        path: The file, '' for none.
    """

    permissions: ClassVar[tuple[str, ...]] = ("cache:acl", "cache:configure", "secrets:write")

    user: str
    secret: str
    first: bool
    place: Place
    path: str = ""

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"user {self.user} of the cache",)

    @property
    def _kept(self) -> str:
        return f"{self.secret}-users"

    def _old(self, system: System) -> Accepted | None:
        """Give what was accepted before, as it is kept among the secrets."""
        kept = system.secrets.read(self._kept)
        if kept is None:
            return None
        return Accepted(hashes=frozenset(json.loads(kept["hashes"])), anybody=self.first)

    def _new(self, system: System) -> Accepted:
        kept = system.secrets.read(self.secret) or {}
        if "password" not in kept:
            raise PreconditionFailed(
                expected="the new password among the target's secrets.",
                found=f"no {self.secret}.",
                todo="Run the remediation again.",
            )
        return Accepted(hashes=frozenset({hash_of(kept["password"])}))

    def _both(self, system: System) -> Accepted:
        old = self._old(system) or Accepted()
        if old.anybody:
            return old  # the new password is right already: any is
        return Accepted(hashes=old.hashes | self._new(system).hashes)

    def _look(self, system: System) -> tuple[CacheUser, Accepted | None]:
        """Look at the user, and at what its file says where that is what is live."""
        with system.cache_server.connect() as client:
            user = read_user(client, self.user)
        server, now = system.cache_server, user.accepted
        return user, now if is_kept(server, self.place, self.path, self.user, now) else None

    def _set(self, system: System, accepted: Accepted) -> None:
        """Let the user in with that, now and when the server starts."""
        with system.cache_server.connect() as client:
            if read_user(client, self.user).accepted != accepted:
                accept(client, self.user, accepted)
            faults.point(f"{self.kind}:live")
            user = read_user(client, self.user)
            keep(system.cache_server, client, self.place, self.path, user, accepted)


class AddPassword(PasswordChange):
    """Let a user in with a new password as well."""

    kind: ClassVar[str] = "cache.add_password"

    needs: tuple[str, ...] = ("secrets.generate_password",)

    @property
    def title(self) -> str:
        """What the change does."""
        if self.first:
            return "note that the cache lets anybody in, with any password or none"
        return f"let user {self.user} of the cache in with a new password as well"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        if self.first:
            return "anybody is let in", "anybody is let in; kept for an undo"
        return "the old password is right", f"the old one and that of secret {self.secret} are"

    def observe(self, work: Work) -> Observed:
        """Compare what is accepted with what was, and with what shall be."""
        system = targets.load(work.target)
        user, kept = self._look(system)
        old = self._old(system)
        if old is None:
            fits = user.accepted.anybody == self.first and kept is not None
            return Observed(
                Standing.BEFORE if fits else Standing.OTHER,
                "anybody is let in" if user.accepted.anybody else "its old password is right",
            )
        both, new = self._both(system), self._new(system)
        if kept in (both, new):
            return Observed(Standing.AFTER, "the new password is right")
        if user.accepted.hashes - both.hashes:
            return Observed(Standing.OTHER, f"{self.user} has got another password since")
        standing = Standing.HALF if work.begun_at else Standing.BEFORE
        return Observed(standing, "the old password is kept")

    def apply(self, work: Work) -> None:
        """Keep what is accepted, add the new one, and log in with it."""
        system = targets.load(work.target)
        self._new(system)  # nothing is begun without it
        if self._old(system) is None:
            with system.cache_server.connect() as client:
                kept = {
                    "hashes": json.dumps(sorted(read_user(client, self.user).accepted.hashes)),
                    "began": str(client.time()[0]),
                    **as_kept(system.cache_server, client, self.path),
                }
            system.secrets.keep(self._kept, kept)
            faults.point(f"{self.kind}:kept")
        if not self.first:
            self._set(system, self._both(system))
        self._prove(system, (system.secrets.read(self.secret) or {})["password"])

    def _prove(self, system: System, password: str) -> None:
        try:
            with system.cache_server.log_in(CacheLogin(self.user, password)):
                pass
        except PreconditionFailed as error:
            raise PreconditionFailed(
                expected=f"user {self.user} to log in to the cache with the new password.",
                found=error.found,
                state="The old one is right as before.",
                todo="Look whether the user is switched on: ACL GETUSER.",
            ) from error

    def revert(self, work: Work) -> None:
        """Let it in with what it was let in with before, now and when the server starts."""
        system = targets.load(work.target)
        kept, old = system.secrets.read(self._kept), self._old(system)
        if kept is None or old is None:
            return
        server = system.cache_server
        with server.connect() as client:
            accept(client, self.user, old)
            faults.point(f"{self.kind}:reverted")
            now = read_user(client, self.user)
            give_back(server, client, self.place, self.path, now, kept)
        if self.place is Place.COMMAND:
            remake_where_needed(system)
        system.secrets.forget(self._kept)


class EndPasswords(PasswordChange):
    """Let a user in with nothing but the new password, once nobody uses another one.

    Args:
        variable: Name of the application's setting with the password.
    """

    kind: ClassVar[str] = "cache.end_passwords"

    needs: tuple[str, ...] = ("application.change_settings",)
    variable: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"let user {self.user} of the cache in with nothing but the new password"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        before = "anybody is let in" if self.first else "the old password is right as well"
        return before, "the new password alone is right"

    def observe(self, work: Work) -> Observed:
        """Compare what is accepted with both."""
        system = targets.load(work.target)
        user, kept = self._look(system)
        both, new = self._both(system), self._new(system)
        if kept == new:
            return Observed(Standing.AFTER, "the new password alone is right")
        if kept == both:
            return Observed(Standing.BEFORE, self.before_and_after[0])
        if user.accepted in (both, new):
            standing = Standing.HALF if work.begun_at else Standing.BEFORE
            return Observed(standing, f"the {self.place} is not in step with what is live")
        return Observed(Standing.OTHER, f"{self.user} has got another password since")

    def apply(self, work: Work) -> str:
        """Wait until nobody uses another one, take them away, and see whom that shuts out."""
        system = targets.load(work.target)
        kept = system.secrets.read(self._kept) or {}
        await_leave(system.cache_server, self.user, int(kept.get("began", "0")))
        with watch_refusals(system.cache_server, self.user, first=self.first) as refused:
            self._set(system, self._new(system))
            shut_out = refused()
        if shut_out:
            self._set(system, self._both(system))
            raise PreconditionFailed(
                expected="nobody to log in to the cache with the old password any more.",
                found=f"refused within seconds: {shut_out}.",
                state="What was right before is right again.",
                todo="Give these clients the new password, or a user of their own; then run again.",
            )
        return "nobody was refused meanwhile"

    def revert(self, work: Work) -> None:
        """Let it in with the old one as well, and see that it is: the application goes back."""
        system = targets.load(work.target)
        if self._old(system) is None:
            return
        self._set(system, self._both(system))
        before = system.secrets.read(kept_as(self.secret)) or {}
        password = before.get(self.variable, "")
        try:
            with system.cache_server.log_in(CacheLogin(self.user, password)):
                pass
        except RemediationError as error:
            raise PreconditionFailed(
                expected="the cache to let the application in with the password that it had.",
                found=error.found,
                state="The application serves with its new password.",
                todo=f"Set the old one for user {self.user} again, or leave it as it is.",
            ) from error
