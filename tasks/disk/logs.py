"""The logs of containers: how large they are, and whether anything bounds them.

Source: docker's manual, "JSON File logging driver".
"""

from collections.abc import Iterable

from tasks.disk.sizes import megabytes
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.disks import LogFile

_SHOWN = 30
_ROTATED = """\
    logging:
      driver: json-file
      options:
        max-size: "10m"
        max-file: "3"
"""


@probe
def find_logs(target: str) -> tuple[tuple[Finding, ...], int]:
    """Look at the containers' logs, and whether they are rotated.

    Args:
        target: Name of the target.

    Returns:
        Findings, with what to write into the compose file, and the bytes of the logs; nothing
        where there is no engine.
    """
    try:
        store = targets.load(target).engine_store
    except PreconditionFailed:
        return (), 0
    logs = store.logs()
    size = sum(one.size or 0 for one in logs)
    unknown = any(one.size is None for one in logs)
    unbounded = [one for one in logs if not one.most]
    services = sorted({one.service for one in unbounded if one.project == store.project})
    return (
        Finding(
            what=f"The logs of {counted(len(logs), 'container')} take {megabytes(size)} MB"
            f"{', as far as they can be seen from here' if unknown else ''}; "
            f"{len(unbounded) or 'none'} of them may grow without bound.",
            how="each container's log file and its driver's options max-size, max-file",
            columns=("container", "MB", "bound by") if logs else (),
            rows=tuple(_row(one) for one in logs[:_SHOWN]),
        ),
        *(_rotation(services) if services else ()),
    ), size


def _row(log: LogFile) -> tuple[str, str, str]:
    size = "unknown" if log.size is None else megabytes(log.size)
    return log.container, size, log.most or "nothing"


def _rotation(services: Iterable[str]) -> Iterable[Finding]:
    names = list(services)
    yield Finding(
        what=f"Nothing rotates the logs of {', '.join(names)}. With this in the compose file they "
        "take 30 MB each at the most, once their containers are made anew by `compose up -d`: "
        "the old logs go with the old containers.",
        how="the options of each container's logging driver, as the engine has them",
        patch="services:\n" + "".join(f"  {name}:\n{_ROTATED}" for name in names),
    )
