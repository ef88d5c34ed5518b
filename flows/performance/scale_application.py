"""Have more or fewer containers serve the application, with no request failing."""

from typing import Annotated, Literal

from pydantic import Field

from tasks.application.answers import ApplicationAnswers, find_unproved
from tasks.application.scale_checks import LoadIsShared, ReplicasAreAlike
from tasks.application.scale_need import find_scale
from tasks.application.serves import ApplicationServes
from tasks.guardrails.plan import Effects, Plan, Risk
from tasks.guardrails.remediation import remediation, remediation_id
from tasks.platforms.targets import TargetName

_Setting = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")]


@remediation(guide="Performance Issues / High CPU Usage / Scale Application")
def scale_application(
    target: TargetName,
    replicas: Annotated[int, Field(ge=1, le=50)],
    resolve: Literal["", "nginx"] = "",
    shared_settings: list[_Setting] = ["SECRET_KEY"],  # noqa: B006 - pydantic copies it
    pool: Annotated[int, Field(ge=1, le=1000)] = 15,
) -> Plan:
    """Have more or fewer containers serve the application, and keep it so.

    The guide's `up -d --scale app=3` fails where the service has a container_name and a fixed port
    of the host; where it does not, nginx goes on sending all requests to the first container, and
    the next `up` removes the others. Here the conflicts are found before anything is touched, and
    taken out of the files when that is asked for; those that there are serve on, new ones are
    proved past nginx before they get requests, and those that go are led past first. What all
    share is looked at before: the machine's processors and memory, the database's connections, the
    settings of which each process would make its own.

    Args:
        target: Name of the target, as `remedy target list` shows it.
        replicas: How many containers there shall be.
        resolve: What becomes of a container_name and of fixed ports of the host: `nginx` to take
            them out of the compose files, as users come in through nginx; empty to be told.
        shared_settings: Names of settings that all containers have to share.
        pool: Connections to the database that one worker process opens at most; SQLAlchemy's 15
            by default.

    Changes:
        The number in the compose files; the containers beside the first; nginx is reloaded.

    Undo:
        As many containers as before, and the files byte for byte.
    """
    keep = f"compose-{remediation_id()}"
    found = find_scale(
        target, replicas, freed=bool(resolve), shared=shared_settings, pool=pool, keep=keep
    )
    if not found.changes:
        return Plan(
            name="scale",
            title=f"Report how many containers serve {found.service}",
            risk=Risk.HARMLESS,
            findings=found.findings,
        )
    return Plan(
        name="scale",
        title=f"Have {replicas} containers of {found.service} of {target} serve, not "
        f"{found.before}",
        risk=Risk.DISRUPTIVE,
        findings=found.findings,
        changes=found.changes,
        checks=(ReplicasAreAlike(count=replicas), LoadIsShared(), ApplicationAnswers()),
        limits=found.limits,
        watches=(ApplicationServes(),),
        effects=Effects(outage="none: those that serve are not touched, those that go are drained"),
        notes=(*found.notes, *find_unproved(target)),
    )
