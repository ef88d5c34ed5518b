"""Which settings the application needs and lacks, and who still knows their values."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.application.given_settings import configuration_hash
from tasks.application.login import LoginVariables, find_variables
from tasks.containers.last_sound import record_name, settings_in
from tasks.database.logins.tries import works
from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.platforms import targets
from tasks.platforms.cache_servers import DEFAULT_USER, CacheLogin
from tasks.platforms.protocols import System
from tasks.secrets.complained import complained_of
from tasks.secrets.restoring import NEW, RECORD, REPLICA, RestoreSettings, value_of

_KEY = "SECRET_KEY"
_SOURCES = {
    NEW: "nobody: it is made anew",
    REPLICA: "it was started with it",
    RECORD: "recorded while the application was sound",
}


@dataclass(frozen=True)
class Missing:
    """What the application lacks.

    Args:
        findings: Each setting that is needed, and who knows its value.
        change: What gives it back; None where nothing is missing, or nobody knows.
        lost: What a value that is made anew costs.
    """

    findings: tuple[Finding, ...]
    change: RestoreSettings | None = None
    lost: str = "nothing"


@probe
def find_missing(
    target: str, names: Sequence[str], generate: Sequence[str], remediation: str
) -> Missing:
    """Find what the application's settings lack.

    Args:
        target: Name of the target.
        names: Names of settings that it needs besides those that are known to be needed.
        generate: Names of those that may be made anew where nobody knows their values.
        remediation: Id of the remediation.

    Returns:
        What is missing, and what gives it back.

    Raises:
        PreconditionFailed: A password that a server has to know is to be made anew here, or the
            settings cannot be read.
    """
    system = targets.load(target).with_gaps()
    variables = find_variables(system)
    servers = {
        variables.password: "repair-database-credentials",
        system.cache_variables.password: "repair-cache-connection",
    }
    if wrong := [name for name in generate if name in servers]:
        raise PreconditionFailed(
            expected="settings in `generate` that no server has to know.",
            found=f"{wrong[0]} is a password of one.",
            todo=f"remedy run {servers[wrong[0]]} --target {target} --param side=application",
        )
    now, replicas = system.application.settings(), system.application.replicas()
    service = _service(system)
    record = _record(system, service)
    of_cache, unasked = _of_cache(system, now)
    login = (variables.host, variables.port, variables.database, variables.user)
    ran_with = [one for one in login if any(it.settings.get(one) for it in replicas)]
    insisted = system.application.unset()
    surely = [_KEY, variables.password, *of_cache, *ran_with, *names, *generate, *record, *insisted]
    missed = complained_of(system, service) | dict.fromkeys(insisted, "nothing starts without it")
    needed = list(dict.fromkeys([*surely, *missed]))
    missing = [name for name in needed if not now.get(name)]
    known = {
        name: _source(system, variables, service, name, made_anew=name in generate)
        for name in missing
    }
    findings = (_table(needed, known, missed), *unasked)
    unknown = [name for name, source in known.items() if not source]
    findings += tuple(_by_hand(target, one, servers.get(one)) for one in unknown)
    sources = {name: source for name, source in known.items() if source}
    # A log complains of what it can do without, too.
    if set(surely) & set(unknown) or not sources:
        return Missing(findings)
    change = RestoreSettings(
        before={},
        after={},
        passwords={name: f"{source} has it" for name, source in sources.items()},
        keep=f"settings-{remediation}",
        served=any(one.serves for one in replicas),
        kept_in=configuration_hash(system),
        service=service,
        sources=sources,
    )
    anew = [name for name, source in sources.items() if source == NEW]
    lost = f"what was signed by another {' or '.join(anew)}: users log in again" if anew else ""
    return Missing(findings, change, lost or "nothing")


def _service(system: System) -> str:
    try:
        return system.scaling.service
    except PreconditionFailed:
        return ""


def _record(system: System, service: str) -> dict[str, str]:
    """Give the settings that were recorded while the application was sound, those that are set."""
    try:
        record = system.secrets.read(record_name(service)) if service else None
    except PreconditionFailed:
        return {}
    return {name: value for name, value in settings_in(record or {}).items() if value}


def _of_cache(
    system: System, now: Mapping[str, str]
) -> tuple[tuple[str, ...], tuple[Finding, ...]]:
    """Name the setting with the cache's password, where the cache asks for one."""
    name = system.cache_variables.password
    try:
        with system.cache_server.log_in(CacheLogin(DEFAULT_USER, "")):
            return (), ()
    except Transient as error:
        if now.get(name):
            return (name,), ()
        what = f"Not known: whether the cache asks for a password ({name} is not set)."
        return (), (Finding(what=what, how=error.found),)
    except PreconditionFailed:
        return (name,), ()


def _source(
    system: System, variables: LoginVariables, service: str, name: str, *, made_anew: bool
) -> str:
    """Say where the value of a setting is known from, and that it fits; '' for nowhere."""
    sources = [f"{REPLICA}{one.name}" for one in system.application.replicas()]
    record = (system.secrets.read(record_name(service)) if service else None) or {}
    sources += [f"{RECORD}{record['by']}"] if record else []
    known = {one: value for one in sources if (value := value_of(system, service, name, one))}
    of_replicas = {value for one, value in known.items() if one.startswith(REPLICA)}
    if len(of_replicas) > 1 and not _server_of(system, variables, name):
        known = {}  # which of them is right, nobody can try
    for source, value in known.items():
        if _fits(system, variables, service, source, name, value):
            return source
    return NEW if made_anew else ""


def _server_of(system: System, variables: LoginVariables, name: str) -> str:
    """Say whose password a setting is, '' for nobody's."""
    of_servers = {variables.password: "database", system.cache_variables.password: "cache"}
    return of_servers.get(name, "")


def _fits(
    system: System, variables: LoginVariables, service: str, source: str, name: str, value: str
) -> bool:
    """Try a password on its server, with what else is known there; no other value can be tried.

    Raises:
        Transient: The server does not answer: whether it fits is not known.
    """
    now = system.application.settings()

    def known(one: str) -> str:
        return now.get(one) or value_of(system, service, one, source)

    kind = _server_of(system, variables, name)
    if kind == "database":
        with system.database.connect(system.database.maintenance_database):
            pass
        asked = (variables.host, variables.port, variables.database, variables.user)
        shown = {one: found for one in asked if one and (found := known(one))}
        return variables.user in shown and works(system.database, variables, shown, value)
    if kind == "cache":
        user = known(system.cache_variables.user) or DEFAULT_USER
        try:
            with system.cache_server.log_in(CacheLogin(user, value)):
                return True
        except PreconditionFailed:
            return False
    return True


def _table(needed: Sequence[str], known: Mapping[str, str], missed: Mapping[str, str]) -> Finding:
    missing = ", ".join(known) or "none"
    rows = []
    for name in needed:
        source = known.get(name)
        if source is None:
            rows.append((name, "set", ""))
            continue
        how = next((words for kind, words in _SOURCES.items() if source.startswith(kind)), "")
        state = f"missing: {missed[name]}" if name in missed else "missing"
        rows.append((name, state, f"{source}: {how}" if source else "nobody"))
    return Finding(
        what=f"Of {len(needed)} settings that the application needs, missing: {missing}.",
        how="the text of its settings, each replica's environment, the record of when it was "
        "sound, the logs of what does not serve; passwords are tried on their servers, and none "
        "is shown",
        columns=("setting", "in the settings", "who knows its value"),
        rows=tuple(rows),
    )


def _by_hand(target: str, name: str, other: str | None) -> Finding:
    if other:
        todo = f"remedy run {other} --target {target} --param side=application"
        what = f"Nobody knows a {name} that its server takes: both sides get a new one by another."
    else:
        todo = f"""remedy run restore-secrets --target {target} --param 'generate=["{name}"]'"""
        what = (
            f"Nobody knows the value of {name}. Where it only signs, a new one ends what the old "
            "one has signed, as sessions; where somebody else knows it, ask them."
        )
    return Finding(what=what, how="the table above", patch=todo)
