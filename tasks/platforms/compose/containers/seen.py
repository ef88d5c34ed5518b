"""A container as its engine inspects it, and an event as its engine tells it.

Source: Docker Engine API 1.41 (inspect: State, Config.Healthcheck; events).
"""

from datetime import datetime
from typing import Any

from tasks.platforms.containers import ContainerEvent, HealthCheck, ServiceContainer

_MADE_FROM, _IMAGE = "com.docker.compose.config-hash", "com.docker.compose.image"
# What the engine takes where a check does not say.
_INTERVAL, _TIMEOUT, _RETRIES = 30.0, 30.0, 3
_NANO = 1e9


def container_of(seen: dict[str, Any]) -> ServiceContainer:
    """Read a container.

    Args:
        seen: What the engine inspects.
    """
    state, configured, host = seen["State"], seen["Config"], seen["HostConfig"]
    health = state.get("Health") or {}
    passed = [one["End"] for one in health.get("Log") or [] if one["ExitCode"] == 0]
    published = host.get("PortBindings") or {}
    return ServiceContainer(
        id=seen["Id"],
        name=seen["Name"].removeprefix("/"),
        image=seen["Image"],
        image_name=configured["Image"],
        made_from=(configured.get("Labels") or {}).get(_MADE_FROM, ""),
        status=state["Status"],
        exit_code=state["ExitCode"],
        error=state.get("Error") or "",
        out_of_memory=bool(state["OOMKilled"]),
        restarts=seen["RestartCount"],
        restarts_itself=(host.get("RestartPolicy") or {}).get("Name") not in ("", "no", None),
        started=seconds(state["StartedAt"]),
        finished=seconds(state["FinishedAt"]),
        health=health.get("Status", "").replace("none", ""),
        checked_well=max((seconds(one) for one in passed), default=0.0),
        check=_check(configured.get("Healthcheck") or {}),
        command=(*(configured.get("Entrypoint") or ()), *(configured.get("Cmd") or ())),
        ports=tuple(
            int(one["HostPort"])
            for places in published.values()
            for one in places or ()
            if (one.get("HostPort") or "").isdigit()
        ),
        environment=dict(one.partition("=")[::2] for one in configured.get("Env") or []),
    )


def _check(said: dict[str, Any]) -> HealthCheck | None:
    test = tuple(said.get("Test") or ())
    if not test or test[0] == "NONE":
        return None
    return HealthCheck(
        test=test,
        interval=said.get("Interval", 0) / _NANO or _INTERVAL,
        timeout=said.get("Timeout", 0) / _NANO or _TIMEOUT,
        start_period=said.get("StartPeriod", 0) / _NANO,
        retries=said.get("Retries", 0) or _RETRIES,
    )


def event_of(said: dict[str, Any]) -> ContainerEvent:
    """Read an event.

    Args:
        said: What the engine tells.
    """
    about = said["Actor"].get("Attributes") or {}
    return ContainerEvent(
        at=said["timeNano"] / _NANO,
        what=said["Action"],
        container=said["Actor"]["ID"],
        image=about.get(_IMAGE, ""),
        signal=about.get("signal", "") if said["Action"] == "kill" else "",
    )


def seconds(time: str) -> float:
    """Read a time of the engine as Unix time, 0 where it means never."""
    if not time or time.startswith("0001-"):
        return 0.0
    return datetime.fromisoformat(time).timestamp()
