"""Claims about the cache, asked from outside: who it lets in, and that the application uses it."""

from collections.abc import Mapping
from typing import Any, ClassVar

from tasks.application.answers import ask_application
from tasks.application.settings_change import kept_as
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Answer, Check, Verdict, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.cache_servers import CacheLogin
from tasks.platforms.redis_server import is_refused_login

# What no application asks for its own sake.
_ABOUT = {"ping", "hello", "auth", "info", "acl", "client", "config", "command", "select", "time"}


class OldCachePasswordIsRefused(Check):
    """The cache refuses the password that the application had before.

    Args:
        user: The user.
        secret: Name of the secret with the new password.
        variable: Name of the application's setting with it.
    """

    kind: ClassVar[str] = "cache.old_password_is_refused"

    user: str
    secret: str
    variable: str

    @property
    def title(self) -> str:
        """The claim."""
        return f"the cache refuses user {self.user} with the old password"

    def ask(self, work: Work) -> Answer:
        """Try to log in with it."""
        system = targets.load(work.target)
        before = system.secrets.read(kept_as(self.secret))
        if before is None:
            return Answer(Verdict.NOT_ASKED, "the old password is not known any more")
        login = CacheLogin(self.user, before.get(self.variable, ""))
        try:
            with system.cache_server.log_in(login):
                return Answer(Verdict.NOT_HELD, "the old password is right")
        except PreconditionFailed as error:
            if not is_refused_login(error):
                raise
            return Answer(Verdict.HELD, error.found)


class ApplicationUsesCache(Check):
    """The application serves its probe account, and speaks to its cache meanwhile."""

    kind: ClassVar[str] = "application.uses_cache"

    @property
    def title(self) -> str:
        """The claim."""
        return "the application speaks to its cache while it serves its probe account"

    def ask(self, work: Work) -> Answer:
        """Log in to the cache as each replica does, read, and count what the cache was asked."""
        system = targets.load(work.target)
        variables = system.cache_variables
        for replica in system.application.replicas():
            had = replica.settings
            password = had.get(variables.password, "")
            login = CacheLogin(had.get(variables.user) or CacheLogin().user, password)
            try:
                with system.cache_server.log_in(
                    login,
                    had.get(variables.host),
                    had.get(variables.port),
                    int(had.get(variables.number) or 0),
                ):
                    pass
            except PreconditionFailed as error:
                return Answer(Verdict.NOT_HELD, f"as {replica.name} does it: {error.found}")
        with system.cache_server.connect() as client:
            before = _asked(client.info("commandstats"))
            served = ask_application(work)
            if served.verdict is not Verdict.HELD:
                return served
            many = _asked(client.info("commandstats")) - before
        if not many:
            return Answer(
                Verdict.NOT_HELD, f"{served.detail}; the cache was asked nothing meanwhile"
            )
        return Answer(
            Verdict.HELD, f"{served.detail}; the cache was asked {counted(many, 'time')} meanwhile"
        )


def _asked(statistics: Mapping[str, Any]) -> int:
    """Count the commands that were carried out and are about data."""
    return sum(
        int(one["calls"])
        for name, one in statistics.items()
        if name.removeprefix("cmdstat_").partition("|")[0] not in _ABOUT
    )
