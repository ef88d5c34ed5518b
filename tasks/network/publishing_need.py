"""What publishes a service's port, found by walking outward until the way stops."""

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.containers.file_edits import EditedFile, edited_files
from tasks.containers.sole_edit import insist_on_sole_edit
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding, Risk
from tasks.guardrails.probe import probe
from tasks.network.port_texts import read_ports, with_port
from tasks.network.publishing import PublishAsWritten, Published, PublishPort
from tasks.network.way_out import Walk, holds_data, walk
from tasks.platforms import targets
from tasks.platforms.definitions import Reading
from tasks.platforms.networks import EVERYWHERE, Binding, Network, Way, is_loopback, normalised
from tasks.platforms.protocols import System


@dataclass(frozen=True)
class Need:
    """What a port needs to be reached.

    Args:
        findings: What was seen on the way.
        change: What publishes it, None where that is not what is missing.
        risk: Its risk.
        outage: What users notice of it.
        notes: What the approver should know.
    """

    findings: tuple[Finding, ...]
    change: PublishPort | None = None
    risk: Risk = Risk.DISRUPTIVE
    outage: str = "none"
    notes: tuple[str, ...] = ()


@probe
def find_unpublished(
    target: str, service: str, port: int, host_port: int, address: str, keep: str
) -> Need:
    """Walk from a service's process outward, and find what publishes its port.

    Args:
        target: Name of the target.
        service: The service.
        port: The port inside; 0 for the one that it is expected at.
        host_port: The machine's port; 0 for the one that is published, else the same number.
        address: The machine's address; '' for what becomes the service.
        keep: Name of the secret under which an edit keeps the files' texts.

    Returns:
        What was seen, and the change.

    Raises:
        BadInput: There is no such address.
        PreconditionFailed: The port is taken, would open data to everybody, or cannot be written.
    """
    address = normalised(address)
    system = targets.load(target)
    network, reading = system.network, system.definition.read()
    said = _said(reading, service)
    way = _only(network.ways(service), service)
    asked = "" if address in EVERYWHERE else address
    found = walk(network, service, way, port, asked, host_port)
    findings = (found.finding(service),)
    stop = found.stops_at
    if stop is None or stop.patch or stop.what != "is the port published":
        return Need(findings)
    wanted = _wanted(system, service, (way, said), found, Binding(port, address, host_port))
    if wanted is None:
        return Need((_closed_on_purpose(found, service, target),))
    if taken := network.taken_by(service, wanted):
        raise PreconditionFailed(
            expected=f"port {wanted.outside} of the machine to be free for {service}.",
            found=f"{taken} has it.",
            todo="Choose another `host_port`, or stop what has it.",
        )
    change = _change(system, reading, said, wanted, (service, keep, way))
    outage = "none: another container serves meanwhile"
    if not change.served:
        outage = f"seconds: {service} is made anew, and nothing stands in for it"
    risk = Risk.DISRUPTIVE
    if holds_data(network, service, wanted.port) and not is_loopback(wanted.address):
        risk = Risk.DESTRUCTIVE
    notes = tuple(_notes(system, reading, service, wanted))
    return Need(findings, change, risk, outage, notes)


def _said(reading: Reading, service: str) -> tuple[Binding, ...]:
    return read_ports(reading.service(service))


def _only(ways: list[Way], service: str) -> Way:
    if len(ways) != 1:
        raise PreconditionFailed(
            expected=f"one container of service {service}: a port of the machine leads to one.",
            found=f"{', '.join(one.container for one in ways) or 'none'}.",
            todo=f"Start it with `compose up -d {service}`; of several, publish nginx instead.",
        )
    return ways[0]


def _wanted(
    system: System,
    service: str,
    known: tuple[Way, tuple[Binding, ...]],
    found: Walk,
    asked: Binding,
) -> Binding | None:
    """Give what is to be published; None where it is kept to the machine on purpose."""
    network, port, (way, said) = system.network, found.port, known
    made, in_files = ([one for one in many if one.port == port] for many in (way.asked, said))
    if not asked.address and not asked.outside:
        if made:
            return None  # to the machine alone: nobody has asked for more
        if in_files:
            return _insist_on_closed(network, service, in_files[0])
    of_port = [*made, *in_files]
    outside = asked.outside or next((one.outside for one in of_port if one.outside), port)
    address = asked.address
    if not address:
        open_to_all = network.role(service) in ("application", "proxy")
        open_to_all = open_to_all and not holds_data(network, service, port)
        return Binding(port, "" if open_to_all else "127.0.0.1", outside)
    wanted = Binding(port, "" if address in EVERYWHERE else address, outside)
    return _insist_on_closed(network, service, wanted)


def _insist_on_closed(network: Network, service: str, wanted: Binding) -> Binding:
    """Refuse to open data to everybody, whoever says so."""
    if wanted.address in EVERYWHERE and holds_data(network, service, wanted.port):
        raise PreconditionFailed(
            expected=f"an address for port {wanted.port} of {service} that not everybody reaches.",
            found=f"{wanted}: every address of the machine, past its firewall.",
            todo="Ask for 127.0.0.1 (then `ssh -L`), or for the address of a private network.",
        )
    return wanted


def _closed_on_purpose(found: Walk, service: str, target: str) -> Finding:
    seen = found.finding(service)
    patch = (
        f"remedy run publish-port --target {target} --param service={service} "
        "--param address=0.0.0.0\n"
    )
    return seen.model_copy(update={"patch": patch})


def _change(
    system: System,
    reading: Reading,
    said: tuple[Binding, ...],
    wanted: Binding,
    of: tuple[str, str, Way],
) -> PublishPort:
    (service, keep, way), definition = of, system.definition
    files: tuple[EditedFile, ...] = ()
    after, replaces = said, None
    if wanted not in said:
        if set(said) != set(way.asked):
            raise PreconditionFailed(
                expected=f"{service} to run with the ports that its files say: an undo has to come "
                "back to that.",
                found=f"it publishes {', '.join(map(str, way.asked)) or 'none'}, and the files say "
                f"{', '.join(map(str, said)) or 'none'}.",
                todo=f"Bring it up with them (`compose up -d {service}`), then run again.",
            )
        texts = definition.texts()
        replaces = next(
            (
                one
                for one in said
                if one.outside == wanted.outside and wanted.address in ("", one.address)
            ),
            None,
        )
        new = with_port(texts, service, wanted, replaces)
        changed = definition.read(new)
        insist_on_sole_edit(reading, changed, service, "ports", ("ports",))
        after = _said(changed, service)
        if wanted not in after or len(after) != len(said) + (replaces is None):
            raise PreconditionFailed(
                expected=f"{service} to publish {wanted} beside what it publishes now.",
                found=f"with the edit it would publish {', '.join(map(str, after))}.",
                todo="Another file lays `ports` over it: correct that by hand.",
            )
        files = edited_files(texts, new)
    rolls = system.network.role(service) == "application"
    kind = PublishPort if files else PublishAsWritten
    return kind(
        files=files,
        keep=keep,
        service=service,
        wanted=Published.of(wanted),
        replaces=Published.of(replaces) if replaces else None,
        before=tuple(Published.of(one) for one in way.asked),
        after=tuple(Published.of(one) for one in after),
        rolls=rolls,
        served=rolls and all(one.replaceable for one in system.application.replicas()),
    )


def _notes(system: System, reading: Reading, service: str, wanted: Binding) -> Iterator[str]:
    made = system.definition.made_from().get(service)
    if made and made != reading.fingerprints.get(service):
        yield (
            f"the container of {service} was made from other words than the files have now, or by "
            "another compose: all that they say of it comes into force with the port"
        )
    if not is_loopback(wanted.address):
        yield (
            "a port that the engine publishes is not held back by ufw or by rules of chain INPUT: "
            "rules for it go into chain DOCKER-USER"
        )
        yield "it is asked from the worker's machine; a firewall before the machine stays unproved"
        if system.network.sent_on_by_proxy(service, wanted.port):
            yield f"users then reach {service} past nginx too: without its TLS and its limits"
