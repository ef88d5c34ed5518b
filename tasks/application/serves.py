"""What a user who reads all the time notices while something is repaired."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ClassVar

from tasks.application.requests import NotAnswered, ProbeClient, TooManyRequests
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Watch, Work
from tasks.platforms import targets


class ApplicationServes(Watch):
    """The application serves its probe account's reads, once logged in."""

    kind: ClassVar[str] = "application.serves"

    @property
    def title(self) -> str:
        """Whom it asks."""
        return "the application, by reads of its probe account"

    @contextmanager
    def opened(self, work: Work) -> Iterator[Callable[[], str]]:
        """Give a question that logs in when it is not logged in, and reads.

        Raises:
            PreconditionFailed: The target has no probe account that reads.
        """
        system = targets.load(work.target)
        account = system.probe_account
        if account is None or not account.read:
            raise PreconditionFailed(
                expected="a probe account with a request that reads.",
                found="the target has none",
                todo="Give it one in the target's block.",
            )
        login, reads = account.login, account.read
        known = {"username": account.username, "password": system.probe_password, "unique": ""}
        with ProbeClient(system.application.url, known) as client:
            logged_in = False

            def ask() -> str:
                nonlocal logged_in
                try:
                    if not logged_in:
                        client.send(login)
                        logged_in = True
                    client.send(reads[0])
                except NotAnswered as error:
                    logged_in = False  # its session may be what is gone
                    return str(error)
                except TooManyRequests as error:  # says nothing of whether it works
                    raise PreconditionFailed(
                        expected="answers to a read each quarter of a second.",
                        found=f"{error}: too many requests",
                        todo="Let the probe account through the limit.",
                    ) from error
                return ""

            yield ask
