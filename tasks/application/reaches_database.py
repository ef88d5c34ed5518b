"""The application reaches its database, whoever may log in."""

from typing import ClassVar

from tasks.application.requests import NotAnswered, ProbeClient, TooManyRequests
from tasks.guardrails.plan import Answer, Check, Verdict, Work
from tasks.platforms import targets

# What a working application answers an account that it does not know.
_KNOWN_NOT = {401, 403}


class ApplicationReachesDatabase(Check):
    """The application speaks to the database by its own settings, and answers a log-in.

    For a database without users, where nobody can log in yet.
    """

    kind: ClassVar[str] = "application.reaches_database"

    @property
    def title(self) -> str:
        """The claim."""
        return "the application reaches its database and answers a log-in"

    def ask(self, work: Work) -> Answer:
        """Ask its settings where they lead, then try to log in as the probe account."""
        system = targets.load(work.target)
        command = system.migrations.show_database if system.migrations else []
        account = system.probe_account
        if not command or account is None:
            return Answer(
                Verdict.NOT_ASKED, "the target has no `migrations.show_database` or probe account"
            )
        shown = system.application.run(command, {})
        leads_to = shown.output.strip()
        if shown.status or leads_to != system.database.name:
            told = f"status {shown.status}" if shown.status else f"database {leads_to}"
            return Answer(Verdict.NOT_HELD, f"its settings lead to: {told}")
        known = {"username": account.username, "password": system.probe_password, "unique": ""}
        with ProbeClient(system.application.url, known) as client:
            try:
                client.send(account.login)
            except TooManyRequests as error:
                return Answer(Verdict.NOT_ASKED, f"{error}: too many requests, try again later")
            except NotAnswered as error:
                if error.status not in _KNOWN_NOT:
                    return Answer(Verdict.NOT_HELD, str(error))
                told = f"it answers an account that it does not know with {error.status}"
                return Answer(Verdict.HELD, f"its settings lead to {leads_to}, and {told}")
        return Answer(Verdict.HELD, f"its settings lead to {leads_to}, and the account logs in")
