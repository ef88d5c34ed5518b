"""The way from a process in a container to its users, walked outward until it stops."""

from collections.abc import Iterator
from dataclasses import dataclass

from tasks.guardrails.plan import Finding
from tasks.network.reached import why_not_reached
from tasks.platforms.networks import Binding, Network, Way, is_loopback

DATA_PORTS = frozenset({1433, 1521, 3306, 5432, 5672, 6379, 9200, 11211, 27017})


@dataclass(frozen=True)
class Step:
    """A step of the way.

    Args:
        what: What is asked.
        seen: What was seen.
        goes_on: Whether the way goes on there; None where it cannot be said.
        patch: What to run or change where that is for a person.
    """

    what: str
    seen: str
    goes_on: bool | None
    patch: str = ""


@dataclass(frozen=True)
class Walk:
    """What was seen on the way.

    Args:
        steps: The steps.
        port: The port inside; 0 where it is not known.
        bound: What is published of it as it was asked for, if anything.
    """

    steps: tuple[Step, ...]
    port: int
    bound: Binding | None

    @property
    def stops_at(self) -> Step | None:
        """The first step at which it does not go on."""
        return next((one for one in self.steps if one.goes_on is False), None)

    def finding(self, service: str) -> Finding:
        """Show it."""
        stop = self.stops_at
        words = f"The way to {service} stops: {stop.seen}." if stop else ""
        unknown = [one.what for one in self.steps if one.goes_on is None]
        if not stop and unknown:
            words = f"Nothing stops the way to {service}; not looked at: {', '.join(unknown)}."
        elif not stop:
            words = f"Nothing stops the way to {service}."
        answers = {True: "goes on", False: "stops", None: "cannot be said"}
        return Finding(
            what=words,
            how="the engine's `inspect`, /proc/net/tcp in the container, iptables-save, a request",
            columns=("step", "seen", ""),
            rows=tuple((one.what, one.seen, answers[one.goes_on]) for one in self.steps),
            patch=stop.patch if stop else "",
        )


def holds_data(network: Network, service: str, port: int) -> bool:
    """Say whether behind a port are data that no network should reach without need."""
    return network.role(service) in ("database", "cache") or port in DATA_PORTS


def walk(network: Network, service: str, way: Way, port: int, address: str, outside: int) -> Walk:
    """Walk outward.

    Args:
        network: The ports.
        service: The service.
        way: Its container.
        port: The port inside, 0 for the one that it is expected at, or its only one.
        address: At which address of the machine it is wanted, '' for any that others reach.
        outside: At which port of the machine, 0 for any.

    Returns:
        What was seen.
    """
    known = {one.port for one in way.listeners or ()}
    port = port or network.port_of(service) or (known.pop() if len(known) == 1 else 0)
    bound = next(
        (
            one
            for one in way.asked
            if one.port == port and one.covers(address) and outside in (0, one.outside)
        ),
        None,
    )
    inside = tuple(_inside(service, way, port))
    if any(one.goes_on is False for one in inside):
        return Walk(inside, port, bound)
    steps = (*inside, _published(way, port, bound, address))
    if bound is not None:
        steps = (*steps, *_outside(network, service, way, bound, address))
    return Walk(steps, port, bound)


def _on(what: str, seen: str) -> Step:
    return Step(what, seen, goes_on=True)


def _stop(what: str, seen: str, patch: str = "") -> Step:
    return Step(what, seen, goes_on=False, patch=patch)


def _inside(service: str, way: Way, port: int) -> Iterator[Step]:
    runs = f"{way.container} {'runs' if way.runs else 'does not run'}"
    start = f"docker logs {way.container}\ndocker compose up -d {service}\n"
    yield Step("does the container run", runs, way.runs, "" if way.runs else start)
    if not way.runs:
        return
    what = f"does a process listen at {port or 'a port'}"
    if way.listeners is None:
        yield Step(what, "the container has no `cat` to be asked by", None)
    else:
        yield _listens(service, way, port, what)
    if way.mode == "host":
        seen = f"{way.container} shares the machine's network: it publishes nothing"
        yield _stop("is it in a network of its own", seen, _own_network(service))
    elif way.mode == "none" or way.mode.startswith("container:"):
        seen = f"{way.container} has network {way.mode}: nothing is published of it"
        yield _stop("is it in a network of its own", seen, _own_network(service))
    elif way.internal:
        seen = f"{way.container} is on internal networks alone: the engine lets nothing in"
        yield _stop("is it in a network that lets in", seen, _own_network(service))


def _own_network(service: str) -> str:
    return f"services:\n  {service}:\n    networks: [...]   # one that is not `internal: true`\n"


def _listens(service: str, way: Way, port: int, what: str) -> Step:
    listeners = way.listeners or ()
    at = [one.address for one in listeners if one.port == port]
    if not at:
        others = ", ".join(str(one) for one in sorted({one.port for one in listeners}))
        seen = f"nothing listens at {port or 'one port alone'} in {way.container}; " + (
            f"processes listen at {others}" if others else "no process listens at all"
        )
        return _stop(what, seen, f"docker logs {way.container}\n")
    if all(is_loopback(one) for one in at):
        seen = (
            f"the process in {way.container} listens at {', '.join(at)} alone: "
            f"a published port {port} would lead nowhere"
        )
        patch = (
            f"services:\n  {service}:\n    command: ...   # as it is, with --host 0.0.0.0 "
            f"(uvicorn) or --bind 0.0.0.0:{port} (gunicorn)\n"
        )
        return _stop(what, seen, patch)
    return _on(what, f"a process listens at {', '.join(at)} port {port}")


def _published(way: Way, port: int, bound: Binding | None, address: str) -> Step:
    what = "is the port published"
    if bound is not None:
        return _on(what, f"{way.container} publishes {bound}")
    of_port = [one for one in way.asked if one.port == port]
    if of_port and all(is_loopback(one.address) for one in of_port) and not address:
        seen = (
            f"{way.container} publishes {', '.join(map(str, of_port))}: "
            "only who is on the machine reaches it"
        )
        return _stop(what, seen)
    published = ", ".join(map(str, way.asked)) or "no port"
    wanted = f"port {port}" + (f" at {address}" if address else "")
    return _stop(what, f"{way.container} publishes {published}, not {wanted}")


def _outside(
    network: Network, service: str, way: Way, bound: Binding, address: str
) -> Iterator[Step]:
    what = "does the engine have it in force"
    in_force = next((one for one in way.bound if _is_of(one, bound)), None)
    if in_force is None:
        taken = network.taken_by(service, bound) if bound.outside else ""
        seen = f"{way.container} was made with {bound}, and the engine has not bound it"
        seen += f": {taken} has the port" if taken else ""
        again = f"docker compose up -d --force-recreate --no-deps {service}\n"
        yield _stop(what, seen, again)
        return
    yield _on(what, f"the engine has {in_force} bound")
    rules = network.rules(way, in_force)
    load = (
        "# the engine writes its rules when it starts; with `live-restore` containers go on:\n"
        "systemctl restart docker\n"
    )
    yield Step("does the packet filter lead there", rules.said, rules.lead_there, load)
    yield _answers(network, service, in_force, address)
    if network.role(service) == "application":
        by_proxy = network.sent_on_by_proxy(service, bound.port)
        seen = {
            True: f"nginx sends requests to {service}:{bound.port}",
            False: f"nginx does not name {service}:{bound.port}",
            None: "no nginx stands before it",
        }[by_proxy]
        yield Step("does the proxy send to it", seen, by_proxy)


def _is_of(one: Binding, bound: Binding) -> bool:
    return (
        one.port == bound.port
        and bound.outside in (0, one.outside)
        and (one.address == bound.address or not bound.address)
    )


def _answers(network: Network, service: str, bound: Binding, address: str) -> Step:
    what = "does it answer at an address of the machine"
    place = bound.address or address or network.address()
    if not place:
        return Step(what, "the machine has no address but loopback", None)
    if not network.reaches(place):
        return Step(what, f"{place} is another machine's than the worker's", None)
    why = why_not_reached(place, bound.outside, network.health_path(service))
    if why:
        seen = f"{place}:{bound.outside} does not answer from here: {why}"
        return _stop(what, seen, f"curl -v http://{place}:{bound.outside}/\n")
    return _on(what, f"{place}:{bound.outside} answers, asked from the worker's machine")
