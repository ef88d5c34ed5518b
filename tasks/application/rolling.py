"""Restart the application's replicas one after the other, with no request failing.

Each is drained, restarted, and proved through the database before it gets requests again:
`/health` answers 200 with a wrong password too.
"""

import time
from collections.abc import Callable

from tasks.application.answers import ask_application
from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.plan import Verdict, Work
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.applications import Application, Replica

_ATTEMPTS, _WAIT_SECONDS = 3, 2.0


def roll(
    work: Work,
    is_current: Callable[[Replica], bool],
    *,
    prove: bool = True,
    serving: bool = True,
) -> int:
    """Restart the replicas that are not as they should be, those without requests first.

    Args:
        work: The target; where progress is reported.
        is_current: Says of a replica whether it runs with what it should.
        prove: Whether each has to come up and serve the probe account before it gets requests;
            not where it is brought back to what did not work before either.
        serving: Whether another has to serve meanwhile; not where users meet an outage already.

    Returns:
        How many were restarted.

    Raises:
        PreconditionFailed: No other replica would serve meanwhile; or one does not come up, or
            does not serve the probe account: it gets no requests then.
        Transient: The requests in one do not end, or the probe account is held off.
    """
    application = targets.load(work.target).application
    replicas = application.replicas()
    for number, replica in enumerate(sorted(replicas, key=lambda one: one.serves)):
        work.progress(number / len(replicas), f"{replica.name}: looking")
        if replica.runs and is_current(replica):
            if not replica.serves:
                _let_in(work, application, replica, prove=prove)
            continue
        if serving and not _has_another(application, replica):
            _insist_on_stand_in(application, replica)
        application.drain(replica.name)
        work.progress(number / len(replicas), f"{replica.name} is drained, and restarted")
        try:
            application.restart(replica.name)
        except PreconditionFailed:
            if prove:
                raise
        _let_in(work, application, replica, prove=prove)
    return sum(not (one.runs and is_current(one)) for one in replicas)


def _has_another(application: Application, replica: Replica) -> bool:
    others = [one for one in application.replicas() if one.name != replica.name]
    return not replica.serves or any(one.serves for one in others)


def _insist_on_stand_in(application: Application, replica: Replica) -> None:
    if not application.stand_in(replica.name):
        raise PreconditionFailed(
            expected=f"another replica that serves while {replica.name} is restarted.",
            found="none: users would meet an outage.",
            state=f"{replica.name} serves with the settings that it was started with.",
            todo="Start a second one, then run again.",
        )


def _let_in(work: Work, application: Application, replica: Replica, *, prove: bool) -> None:
    """Prove a replica that was restarted, past the proxy, then let requests in."""
    if not prove:
        application.admit(replica.name)
        return
    # One that was made anew may be reached elsewhere.
    now = next((one for one in application.replicas() if one.name == replica.name), replica)
    for attempt in range(_ATTEMPTS):
        answer = ask_application(work, now.url)
        unable = answer.verdict is Verdict.NOT_ASKED
        if answer.verdict is Verdict.HELD or (unable and _has_no_account(work)):
            application.admit(replica.name)
            return
        if attempt + 1 < _ATTEMPTS:
            time.sleep(_WAIT_SECONDS)
    kind = Transient if unable else PreconditionFailed
    raise kind(
        expected=f"{replica.name} to serve its probe account before it gets requests.",
        found=f"{counted(_ATTEMPTS, 'time')} in a row: {answer.detail}",
        state=f"{replica.name} gets no requests; the others serve.",
        todo="Look at its log and at the settings that it was started with.",
    )


def _has_no_account(work: Work) -> bool:
    return targets.load(work.target).probe_account is None
