"""Why a health check fails though the application is well, or that it is not well at all."""

import math
import time

from tasks.containers.health_look import Look, look_at
from tasks.containers.health_plan import HealthNeed, advised, reported, rewritten
from tasks.containers.health_seen import (
    LONGEST_START_SECONDS,
    Asked,
)
from tasks.containers.health_text import Wording
from tasks.containers.health_ways import (
    Endpoint,
    another_check,
    can_fail,
    listening_in,
    urls_to_try,
)
from tasks.containers.health_words import program_in
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.platforms import targets
from tasks.platforms.containers import ServiceContainer
from tasks.platforms.protocols import System

_ORDER = ("unhealthy", "starting", "healthy", "")
_FEW_SECONDS = 5.0
_MORE = 2.0  # a timeout is so much longer than what was measured,
_LATER, _STEP_SECONDS = 2.0, 5  # and a start period so much, in whole steps


@probe
def find_health_need(
    target: str,
    service: str,
    path: str,
    watch_seconds: float,
    slow_seconds: float,
    remediation: str,
) -> HealthNeed:
    """Find why a service's health check fails, and what of it is to be said otherwise.

    Args:
        target: Name of the target.
        service: The service.
        path: Path at which it answers while it is well; '' for what the target says.
        watch_seconds: How long one that is on its way up is waited for.
        slow_seconds: What takes longer to answer is not well.
        remediation: Id of the remediation.

    Returns:
        What was found, and what is planned.

    Raises:
        PreconditionFailed: The files cannot be read, or no container of it runs.
    """
    system = targets.load(target)
    reading = system.definition.read()
    reading.service(service)
    one = _worst(system, service, target)
    if one.check is None:
        what = f"{one.name} has no health check: nobody notices where it hangs."
        todo = f"add a `healthcheck` to {service} in the compose file, then `compose up -d`"
        return advised(service, Finding(what=what, how="the engine's `inspect`", patch=todo))
    if one.made_from != reading.fingerprints.get(service, one.made_from):
        what = f"{one.name} was made from other words than the compose files say now."
        todo = f"`compose up -d {service}`, so that its check is the one of the files; run again"
        return advised(service, Finding(what=what, how="`config --hash`", patch=todo))
    look = look_at(system, service, one, one.check, path, watch_seconds)
    if reason := _unwell(look, slow_seconds):
        todo = (
            f"its check is right to fail, and is not loosened: docker logs --tail 100 {one.name}; "
            f"remedy run repair-crash-loop --target {target} --param service={service}"
        )
        return advised(service, look.seen, Finding(what=reason, how="as above", patch=todo))
    wording, was, tries = _otherwise(look)
    if wording is None:
        return _nothing(look, was, tries)
    return rewritten(system, service, (look.seen, *tries), wording, was, remediation)


def _worst(system: System, service: str, target: str) -> ServiceContainer:
    found = system.containers.of(service)
    running = sorted((it for it in found if it.runs), key=lambda it: _ORDER.index(it.health))
    if not running:
        raise PreconditionFailed(
            expected=f"a container of {service} that runs.",
            found=", ".join(f"{it.name} is {it.status}" for it in found) or "none.",
            todo=f"remedy run repair-crash-loop --target {target} --param service={service}",
        )
    return running[0]


def _unwell(look: Look, slow_seconds: float) -> str:
    """Say why the application is not well; '' where it is, or nobody can tell from outside."""
    own, at, name = look.own, look.at, look.one.name
    if failing := next((it for it in (own, at) if it and it.is_failure), None):
        return f"{name} says itself that it is not well: {failing.url} answers {failing.said}."
    if slow := next((it for it in (at, own) if it and it.seconds > slow_seconds), None):
        return f"{name} is too slow to be called well: {slow.url}, {slow.said}."
    if look.tried.passed or any(it and (it.is_well or it.status is None) for it in (own, at)):
        return ""
    if look.tried.lacks_program and own is None:
        return ""
    if mistaken := next((it for it in (at, own) if it and it.is_mistaken), None):
        return (
            f"{name} answers, and {mistaken.url} has {mistaken.said}: where it says that it is "
            "well is not known. Say it with `path`, or `health_path` of the target."
        )
    where = ", ".join(dict.fromkeys(f"{it.url} ({it.said})" for it in (own, at) if it))
    return f"{name} does not answer: {where or f'its check ends with {look.tried}'}."


def _otherwise(look: Look) -> tuple[Wording | None, str, tuple[Finding, ...]]:
    """Find what of the check is to be said otherwise, and what is wrong with it."""
    one, check, tried, own = look.one, look.check, look.tried, look.own
    listening = listening_in(look.system, look.service, one.name)
    was = ""
    if not tried.passed:
        was = _why(look)
    elif own and own.is_mistaken:
        was = f"it passes though {own.url} has {own.said}"
    elif not can_fail(look.system, one, check.test, check.timeout, listening):
        was = "it passes where nothing listens, too"
    if not was:
        return _times(look)
    if not look.url:
        return None, was, ()
    known = look.known if look.known.port or look.known.path else Endpoint(0, "")
    urls = urls_to_try(look.url, own or Asked(look.url, None, 0.0, ""), known, listening)
    wording, tries = another_check(look.system, one, check, urls, listening)
    found = Finding(what=f"{look.service}'s check: {was}.", how="run inside", rows=tries)
    return wording, was, (found.model_copy(update={"columns": ("what was tried", "result")}),)


def _why(look: Look) -> str:
    program, own, at = program_in(look.check.test), look.own, look.at
    if (
        program
        and look.system.trials.inside(
            look.one.id, (program, "--version"), _FEW_SECONDS
        ).lacks_program
    ):
        return f"its image has no {program}"
    if own and own.is_mistaken:
        return f"{own.url} has {own.said}"
    if own and at and own.url != at.url and at.is_well:
        return f"{own.url} ({own.said}) is not where it answers"
    return f"run by hand: {look.tried}"


def _times(look: Look) -> tuple[Wording | None, str, tuple[Finding, ...]]:
    tried, start, check = look.tried, look.start, look.check
    timeout = period = 0
    was = []
    if tried.seconds > check.timeout:
        timeout = math.ceil(tried.seconds * _MORE)
        was.append(f"it takes {tried.seconds:.1f} s, and may take {check.timeout:.1f} s")
    late = start.called_unwell or start.seconds > check.patience
    if late and check.start_period < start.seconds <= LONGEST_START_SECONDS:
        period = math.ceil(start.seconds * _LATER / _STEP_SECONDS) * _STEP_SECONDS
        was.append(
            f"a start takes {start.seconds:.1f} s, and it is called unhealthy "
            f"{check.patience:.1f} s after it"
        )
    if not was:
        return None, "", ()
    return Wording(timeout=timeout, start_period=period), "; ".join(was), ()


def _nothing(look: Look, was: str, tries: tuple[Finding, ...]) -> HealthNeed:
    if was:
        what = f"The application is well, and no other check was found in place of: {was}."
        todo = f"write a `test` that passes by hand (docker exec {look.one.name}) and fails when "
        todo += "it is not well"
        return advised(
            look.service, look.seen, *tries, Finding(what=what, how="as above", patch=todo)
        )
    deadline = time.monotonic() + look.check.interval + look.check.timeout + _FEW_SECONDS
    while True:
        found = [it for it in look.system.containers.of(look.service) if it.id == look.one.id]
        if found and found[0].health == "healthy":
            return reported(look.service, look.seen)
        if time.monotonic() > deadline:
            break
        time.sleep(1)
    what = "By hand it passes each time, and the engine's own runs do not: it fails now and then."
    todo = f"docker inspect {look.one.name}: State.Health.Log has what the last five printed"
    return advised(look.service, look.seen, Finding(what=what, how="as above", patch=todo))
