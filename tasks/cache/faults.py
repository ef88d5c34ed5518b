"""Why the application does not get on with its cache: found by trying, as it does itself."""

from pydantic import BaseModel, ConfigDict

from tasks.cache.keeping import Place, find_place
from tasks.cache.tries import (
    Wrong,
    find_grants,
    of_address,
    of_replicas,
    of_server,
    of_user,
    try_login,
)
from tasks.cache.users import DEFAULT, read_user
from tasks.guardrails.errors import PreconditionFailed, RemediationError
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.platforms import targets
from tasks.platforms.cache_servers import CacheLogin, CacheVariables
from tasks.platforms.protocols import System

# Which of it is mended on which side.
ON_SERVER = {Wrong.DOWN, Wrong.CLOSED, Wrong.PASSWORD, Wrong.RIGHTS, Wrong.STALE}
ON_APPLICATION = {Wrong.ADDRESS, Wrong.NUMBER, Wrong.PASSWORD, Wrong.STALE}
# Of these nothing more is learnt before they are over.
_FIRST = {Wrong.DOWN, Wrong.HINDERED, Wrong.SILENT, Wrong.LOADING, Wrong.CLIENTS, Wrong.PROTECTED}
# What a person does about what neither side mends.
_BY_HAND = {
    Wrong.HINDERED: "Remove what is in the way, as named above; then run this again.",
    Wrong.SILENT: "Look at its process and its log: it listens and does not answer (stopped by a "
    "signal, a long script, swapping).",
    Wrong.LOADING: "Wait: nothing is wrong. Its log says how far it is.",
    Wrong.CLIENTS: "Find who opens sessions and keeps them (CLIENT LIST, by addr and name), and "
    "close them in the application's pool; or: CONFIG SET maxclients N",
    Wrong.PROTECTED: "Give the cache a password (rotate_cache_password first=true), or have it "
    "listen where only the application reaches it (bind); never just `protected-mode no`.",
    Wrong.MISSING: "Make it, with no more than it needs: ACL SETUSER NAME on >PASSWORD "
    "~planner:* +@read +@write +ping; or correct the user in the application's settings.",
    Wrong.READ_ONLY: "Point the application at the primary; or, where that is gone for good, make "
    "this one the primary: REPLICAOF NO ONE",
    Wrong.FULL: "Choose: more memory (CONFIG SET maxmemory BYTES), or what may go (CONFIG SET "
    "maxmemory-policy volatile-lru: keys without an expiry stay, as queues have none; "
    "allkeys-lru evicts waiting jobs too). Write it into its configuration as well.",
    Wrong.NOT_SAVED: "Read why in its log (mostly a full disk, or no right to write there), mend "
    "that, then: BGSAVE. An append-only file it tries again by itself, each second.",
    Wrong.REFUSED: "Mend what it says, in its configuration or in the application's settings.",
}


class CacheFaults(BaseModel):
    """How the application goes to its cache, and what is wrong with that.

    Args:
        variables: Names of its settings.
        user: The user of the cache that it is.
        shown: Its settings that are no secrets, as far as they are set.
        right: The same as they should be.
        wrong: What is wrong, with a sentence each.
        grants: The rights that the user lacks.
        place: Where the server has its users from when it starts; None where that is not seen.
        path: The file, '' for none.
        why_no_place: Why nothing of the user can be changed so that it lasts; '' where it can.
        remade: Whether the server's container gets the application's password when made anew.
        findings: What was tried and found, for the plan.
    """

    model_config = ConfigDict(frozen=True)

    variables: CacheVariables
    user: str
    shown: dict[str, str]
    right: dict[str, str]
    wrong: dict[Wrong, str]
    grants: tuple[str, ...] = ()
    place: Place | None = None
    path: str = ""
    why_no_place: str = ""
    remade: bool = False
    findings: tuple[Finding, ...] = ()


@probe
def find_cache_faults(target: str) -> CacheFaults:
    """Go to the cache as the application does, and where that fails find out why.

    Args:
        target: Name of the target.

    Returns:
        What is wrong; nothing where it gets on with its cache.

    Raises:
        PreconditionFailed: The settings of the application cannot be read.
    """
    system = targets.load(target)
    variables, now = system.cache_variables, system.application.settings()
    names = (variables.host, variables.port, variables.number, variables.user)
    shown = {name: now[name] for name in names if now.get(name)}
    login = CacheLogin(now.get(variables.user) or DEFAULT, now.get(variables.password, ""))
    found = CacheFaults(
        variables=variables,
        user=login.user,
        shown=shown,
        right=shown,
        wrong=_of_going(system, variables, shown, login),
    )
    found = found.model_copy(update={"right": _right(system, found)})
    if not set(found.wrong) & _FIRST:
        found = _look_inside(system, found, login)
    wrong = {**found.wrong, **of_replicas(system, variables, now)}
    return found.model_copy(update={"wrong": wrong, "findings": _describe(shown, wrong)})


def _of_going(
    system: System, variables: CacheVariables, shown: dict[str, str], login: CacheLogin
) -> dict[Wrong, str]:
    """Try with all that the application has; then with the right address and number."""
    state = system.cache_server.state()
    wrong = of_address(system, variables, shown)
    if not state.runs:
        kind = Wrong.HINDERED if state.hindrance else Wrong.DOWN
        return {**wrong, kind: ": ".join(filter(None, (state.told, state.hindrance)))}
    number = _number(shown.get(variables.number, "0"))
    if number is None:
        wrong[Wrong.NUMBER] = f"{variables.number}={shown[variables.number]} is no number"
    here, run_id = try_login(system, login, None, None, number or 0)
    host, port = shown.get(variables.host), shown.get(variables.port)
    there, other = ({}, "") if number is None else try_login(system, login, host, port, number)
    if not there and not here and run_id == other and run_id:
        wrong.pop(Wrong.ADDRESS, None)  # another name of the same server
    return wrong | here


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _look_inside(system: System, found: CacheFaults, login: CacheLogin) -> CacheFaults:
    """Ask the server itself, as remediations log in to it."""
    server, wrong = system.cache_server, dict(found.wrong)
    remade = Wrong.PASSWORD in wrong and server.takes(found.variables.password)
    if remade and not server.is_in_step():
        # Its container has the password of before: compose files and `.env` have another.
        return found.model_copy(update={"remade": True})
    grants: tuple[str, ...] = ()
    place, path, why = None, "", ""
    number = _number(found.shown.get(found.variables.number, "0")) or 0
    try:
        with server.connect() as client:
            wrong |= of_server(client)
            users = [str(line).split()[1] for line in client.acl_list()]
            if login.user not in users:
                wrong.pop(Wrong.PASSWORD, None)
                wrong[Wrong.MISSING] = f"the cache has no user {login.user}"
                return found.model_copy(update={"wrong": wrong})
            user = read_user(client, login.user)
            wrong.pop(Wrong.PASSWORD, None)  # who is switched off is refused like that, too
            wrong |= of_user(user, login.password)
            if grants := find_grants(client, user, system.cache, number):
                wrong[Wrong.RIGHTS] = f"{user.name} lacks {' '.join(grants)}"
            if set(wrong) & {Wrong.CLOSED, Wrong.PASSWORD, Wrong.RIGHTS}:
                try:
                    place, path = find_place(server, client, user, "", "")
                except PreconditionFailed as error:
                    why = f"{error.found} {error.todo}"
    except RemediationError as error:
        why = f"remediations cannot look into the cache: {error.found} {error.todo}"
    return found.model_copy(
        update={
            "wrong": wrong,
            "grants": grants,
            "place": place,
            "path": path,
            "why_no_place": why,
        }
    )


def _right(system: System, found: CacheFaults) -> dict[str, str]:
    """Give the settings as they should be; another name of the same machine stays."""
    (host, port), variables = system.cache_server.address, found.variables
    right = dict(found.shown)
    if Wrong.ADDRESS in found.wrong:
        if variables.host in right and not system.cache_server.is_called(right[variables.host]):
            right[variables.host] = host
        if variables.port in right:
            right[variables.port] = port
    if Wrong.NUMBER in found.wrong and variables.number in right:
        right[variables.number] = str(system.cache.number)
    return right


def _describe(shown: dict[str, str], wrong: dict[Wrong, str]) -> tuple[Finding, ...]:
    tried = ", ".join(f"{name}={value}" for name, value in shown.items())
    what = f"The application goes to its cache with {tried}. "
    what += "That does not go well:" if wrong else "That goes well, and each replica has it so."
    first = Finding(
        what=what,
        how="tried with its own settings; INFO, ACL LIST, ACL DRYRUN, CONFIG GET of the cache; the "
        "environment of each replica",
        columns=("what is wrong", "mended by side=") if wrong else (),
        rows=tuple((sentence, _sides(kind)) for kind, sentence in wrong.items()),
    )
    others = tuple(
        Finding(what=f"For a person: {sentence}.", how="the table above", patch=_BY_HAND[kind])
        for kind, sentence in wrong.items()
        if kind in _BY_HAND
    )
    return (first, *others)


def _sides(kind: Wrong) -> str:
    sides = [
        name
        for name, mended in (("server", ON_SERVER), ("application", ON_APPLICATION))
        if kind in mended
    ]
    return " or ".join(sides) or "neither: by hand"
