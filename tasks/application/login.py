"""What the application logs in to its database with."""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from tasks.application.settings_change import runs_with
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.applications import Replica
from tasks.platforms.protocols import System

_FEWEST = 2


class LoginVariables(BaseModel):
    """Names of the application's settings that say how it logs in to its database.

    Args:
        user: Name of the setting with the role.
        password: Name of the setting with its password.
        host: Name of the setting with the server's address; '' where there is none.
        port: Name of the setting with its port; '' where there is none.
        database: Name of the setting with the database's name; '' where there is none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    user: str
    password: str
    host: str = ""
    port: str = ""
    database: str = ""


def find_variables(system: System) -> LoginVariables:
    """Find the settings that say how the application logs in to its database.

    Args:
        system: The target.

    Returns:
        Their names.

    Raises:
        PreconditionFailed: The target does not say, or the application takes a whole URL.
    """
    named = system.migrations.environment if system.migrations else {}
    found = {value: name for name, value in named.items()}
    if "{user}" not in found or "{password}" not in found:
        raise PreconditionFailed(
            expected="settings of the application that hold the database's user and password.",
            found="the target names none that is just {user}, or {password}.",
            todo="Name them in `migrations.environment` of the target.",
        )
    fields = LoginVariables.model_fields
    return LoginVariables(**{name: found.get("{" + name + "}", "") for name in fields})


class Login(BaseModel):
    """How the application logs in to its database.

    Args:
        user: Role that it logs in with.
        variables: Names of its settings.
        replicas: Names of its replicas.
        findings: What was found, for the plan.
    """

    model_config = ConfigDict(frozen=True)

    user: str
    variables: LoginVariables
    replicas: tuple[str, ...]
    findings: tuple[Finding, ...]


@probe
def inspect_login(target: str) -> Login:
    """Look at how the application logs in, and whether it can change over without an outage.

    Args:
        target: Name of the target.

    Returns:
        The role, and its replicas.

    Raises:
        PreconditionFailed: The settings name no user; fewer than two replicas serve; or one runs
            with other settings than the next one would.
    """
    system = targets.load(target)
    variables = find_variables(system)
    now = system.application.settings()
    if not now.get(variables.user):
        raise PreconditionFailed(
            expected=f"{variables.user} in the application's settings.",
            found="it is not set.",
            todo="Set it, or correct the target.",
        )
    wanted = {name: now.get(name, "") for name in (variables.user, variables.password)}
    replicas = find_ready_replicas(system, wanted)
    return Login(
        user=now[variables.user],
        variables=variables,
        replicas=tuple(one.name for one in replicas),
        findings=(describe_replicas(replicas),),
    )


def find_ready_replicas(system: System, wanted: Mapping[str, str]) -> list[Replica]:
    """Look at the replicas, and whether one can be restarted after the other without an outage.

    Args:
        system: The target.
        wanted: What each has to have been started with.

    Returns:
        All of them.

    Raises:
        PreconditionFailed: Fewer than two serve, or one runs with other settings than the next
            one would.
    """
    replicas = system.application.replicas()
    away = [one.name for one in replicas if not one.serves]
    stale = [one.name for one in replicas if one.serves and not runs_with(one, wanted)]
    alone = len(replicas) < _FEWEST and not any(one.replaceable for one in replicas)
    if away or stale or alone:
        raise PreconditionFailed(
            expected=f"at least {_FEWEST} replicas that serve, or one that something can stand in "
            "for, each with the settings as they are.",
            found=f"{counted(len(replicas), 'replica')}; not serving: {', '.join(away) or 'none'}; "
            f"started with other settings: {', '.join(stale) or 'none'}.",
            todo="Start what does not run, and restart what has old settings; then run again.",
        )
    return replicas


def describe_replicas(replicas: Sequence[Replica]) -> Finding:
    """List replicas that serve, for a plan."""
    return Finding(
        what=f"{counted(len(replicas), 'replica serves', 'replicas serve')}, each started "
        "with the settings as they are now.",
        how="who listens on their ports, and the environment that it was started with",
        columns=("replica", "reached at"),
        rows=tuple((one.name, one.url) for one in replicas),
    )
