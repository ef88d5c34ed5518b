"""The application as a user sees it: log in, read, write, read back, delete."""

import secrets
from contextlib import suppress
from typing import ClassVar

from tasks.application.requests import NotAnswered, ProbeClient, TooManyRequests
from tasks.guardrails.plan import Answer, Check, Verdict, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.protocols import ProbeAccount

_OUTSIDE = "stays unproved: what a user of the application sees"


def find_unproved(target: str) -> tuple[str, ...]:
    """Say what a target's probe account cannot prove, for a plan's notes.

    Args:
        target: Name of the target.

    Returns:
        Sentences; none where it can log in, read, write and delete.
    """
    account = targets.load(target).probe_account
    if account is None:
        return (f"{_OUTSIDE} (the target has no probe account)",)
    missing = [
        name
        for name, request in (
            ("write", account.write),
            ("read back", account.read_back),
            ("delete", account.delete),
        )
        if request is None
    ]
    if missing:
        return (f"{_OUTSIDE} when it does {', '.join(missing)} (no request for it)",)
    return ()


class ApplicationAnswers(Check):
    """The application serves its probe account: log in, read, write, read back, delete.

    Args:
        writes: Whether to write; not while the database is read-only on purpose.
    """

    kind: ClassVar[str] = "application.answers"

    writes: bool = True

    @property
    def title(self) -> str:
        """The claim."""
        what = "logs in, reads and writes" if self.writes else "logs in and reads"
        return f"the application {what} for its probe account"

    def ask(self, work: Work) -> Answer:
        """Send the probe account's requests; what it wrote is deleted again."""
        return ask_application(work, writes=self.writes)


def ask_application(work: Work, url: str = "", *, writes: bool = True) -> Answer:
    """Log in, read and write as the target's probe account; what it wrote is deleted again.

    Args:
        work: The target and the remediation.
        url: Where: that of one of its replicas; where users reach it by default.
        writes: Whether to write.

    Returns:
        Whether all of it was answered as a working system answers.
    """
    system = targets.load(work.target)
    account = system.probe_account
    if account is None:
        return Answer(Verdict.NOT_ASKED, "the target has no probe account")
    known = {
        "username": account.username,
        "password": system.probe_password,
        # Rows that carry it are known as the probe's own when others' writes are counted.
        "unique": f"remedy-{work.remediation}-{secrets.token_hex(4)}",
    }
    with ProbeClient(url or system.application.url, known) as client:
        try:
            client.send(account.login)
            for request in account.read:
                client.send(request)
            done = f"logged in as {account.username}, {counted(len(account.read), 'read')}"
            if writes and account.write:
                _write(client, account)
                done += ", a row written, read back and deleted"
        except TooManyRequests as error:
            return Answer(Verdict.NOT_ASKED, f"{error}: too many requests, try again later")
        except NotAnswered as error:
            return Answer(Verdict.NOT_HELD, str(error))
    return Answer(Verdict.HELD, done)


def _write(client: ProbeClient, account: ProbeAccount) -> None:
    assert account.write is not None  # noqa: S101 - asked by the caller
    client.send(account.write)
    try:
        if account.read_back:
            client.send(account.read_back)
    except (NotAnswered, TooManyRequests):
        if account.delete:
            with suppress(NotAnswered, TooManyRequests):
                client.send(account.delete)
        raise
    if account.delete:
        client.send(account.delete)
