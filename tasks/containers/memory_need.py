"""How much memory a service needs: from its use, its ends for want of it, and its machine."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tasks.containers.file_edits import edited_files
from tasks.containers.meaning import bytes_of, meaning
from tasks.containers.memory_changes import HostHasMemory, SetMemoryInFiles, SetMemoryLimit
from tasks.containers.memory_findings import as_seen, machine, mib, not_in_force
from tasks.containers.memory_texts import is_flat, with_limit, written
from tasks.containers.sole_edit import insist_on_sole_edit
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.platforms import targets
from tasks.platforms.definitions import Reading
from tasks.platforms.memory import UNLIMITED, HostMemory, MemoryUse
from tasks.platforms.protocols import System

_STEP = 64 * 2**20
# From here on the limit has cut the peak: what would have been used is not known.
_CUT = 0.98


@dataclass(frozen=True)
class Need:
    """What a service needs.

    Args:
        findings: What was seen.
        changes: What raises its limit; none where nothing is to do.
        limit: The limit that shall be, in bytes.
        room: What has to be free for it on the machine.
        notes: What the approver should know.
    """

    findings: tuple[Finding, ...]
    changes: tuple[SetMemoryInFiles | SetMemoryLimit, ...] = ()
    limit: int = 0
    room: tuple[HostHasMemory, ...] = ()
    notes: tuple[str, ...] = ()


@probe
def find_memory_need(
    target: str, service: str, memory: str, margin_percent: int, keep: str
) -> Need:
    """Find what memory a service needs, and where its limit is said.

    Args:
        target: Name of the target.
        service: The service.
        memory: The limit that is asked for, as '3G'; '' to propose one.
        margin_percent: What a proposal adds to the peak.
        keep: Name of the secret under which an edit keeps the files' texts.

    Returns:
        What was seen, and the changes.

    Raises:
        PreconditionFailed: The machine has not so much, the limit would be lowered, or the files
            cannot be kept in step.
    """
    system = targets.load(target)
    reading, found = system.definition.read(), system.memory.use(service)
    said = _said(reading, service)
    if not found:
        raise PreconditionFailed(
            expected=f"a container of service {service}.",
            found="none.",
            todo=f"Start it with `compose up -d {service}`, then run again.",
        )
    events, host = system.memory.events(service), system.memory.host()
    findings = (as_seen(service, found, events, said), machine(host))
    in_force = found[0].limit
    if not in_force or any(one.limit != in_force for one in found):
        return Need((*findings, not_in_force(service, system.memory, said)))
    asked = _bytes_asked(memory) if memory else _proposed(found, events, margin_percent)
    if not asked:
        return Need(findings)
    if asked < in_force or (asked == in_force and said == asked):
        raise PreconditionFailed(
            expected=f"more than the {written(in_force)} that {service} may use now.",
            found=f"{written(asked)}.",
            todo="Lower a limit by hand, once you have seen what the service uses.",
        )
    used = [one.working_set or 0 for one in found]
    _insist_on_room(service, asked * len(found), sum(used), host)
    swap = _swap(found[0], asked)
    changes: list[SetMemoryInFiles | SetMemoryLimit] = []
    if said != asked:
        changes.append(_in_files(system, reading, service, asked, swap, keep))
    if in_force != asked:
        changes.append(
            SetMemoryLimit(
                service=service,
                before=in_force,
                swap_before=found[0].swap,
                after=asked,
                swap_after=swap,
            )
        )
    room = HostHasMemory(service=service, at_least=asked * len(found), unit="bytes")
    return Need(findings, tuple(changes), asked, (room,), tuple(_notes(system, service, memory)))


def _said(reading: Reading, service: str) -> int:
    """Give the limit that the files say of a service, 0 for none."""
    one = meaning([{"services": {service: reading.service(service)}}])["services"][service]
    known = one["limits"].get("limits.memory", [0])[0]
    return known if isinstance(known, int) else 0


def _bytes_asked(memory: str) -> int:
    amount = bytes_of(memory)
    if not isinstance(amount, int) or amount < 6 * 2**20:  # the engine's least
        raise PreconditionFailed(
            expected="an amount of memory of 6 MB or more, as 768M or 3G.",
            found=f"{memory!r}.",
            todo="Give it with its unit.",
        )
    return amount


def _proposed(found: list[MemoryUse], events: int, margin_percent: int) -> int:
    """Propose a limit; 0 where the present one is enough."""
    limit = found[0].limit
    in_use = max(one.working_set or 0 for one in found)
    if events or any(one.out_of_memory or one.kills for one in found):
        base = limit
    elif in_use * (100 + margin_percent) > limit * 100:
        base = max(in_use, *(one.peak for one in found if one.peak and one.peak < _CUT * limit), 0)
    else:  # a peak alone says little: the page cache fills up whatever there is
        return 0
    return -(-base * (100 + margin_percent) // 100 // _STEP) * _STEP


def _insist_on_room(service: str, asked: int, used: int, host: HostMemory) -> None:
    free = host.total if host.available is None else host.available + used
    if asked > min(host.total, free):
        raise PreconditionFailed(
            expected=f"{mib(asked)} of memory on the machine for {service}.",
            found=f"{mib(host.total)} in all, {mib(host.available)} available beside the "
            f"{mib(used)} that it uses.",
            todo="Ask for less, free memory, or add swap or a bigger machine.",
        )


def _swap(one: MemoryUse, asked: int) -> int:
    """Give the limit of memory and swap together that fits a new one of memory."""
    if one.swap == UNLIMITED or not one.swap:
        return one.swap
    return asked * 2 if one.swap == one.limit * 2 else asked + (one.swap - one.limit)


def _in_files(
    system: System, reading: Reading, service: str, asked: int, swap: int, keep: str
) -> SetMemoryInFiles:
    definition = system.definition
    texts, deploy = definition.texts(), system.memory.honours_deploy
    new = with_limit(texts, service, asked, swap, deploy=deploy)
    keys = ("limits.limits.memory", "memswap_limit")
    insist_on_sole_edit(reading, definition.read(new), service, "memory", keys)
    return SetMemoryInFiles(
        files=edited_files(texts, new),
        keep=keep,
        service=service,
        before=_said(reading, service),
        after=asked,
        swap=swap,
        deploy=deploy,
    )


def _notes(system: System, service: str, memory: str) -> Iterator[str]:
    yield "nothing is restarted; the next `up -d` makes the containers anew from the new words"
    if not memory:
        yield "the limit is a proposal: what would have been used beyond the old one, nobody saw"
    texts: Mapping[str, str] = system.definition.texts()
    if not system.memory.honours_deploy and not is_flat(texts, service):
        yield (
            "docker-compose before 1.27 heeds limits under `deploy` only with `--compatibility`: "
            "the next `up` would make the container without any"
        )
