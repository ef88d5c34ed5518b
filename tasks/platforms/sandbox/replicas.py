"""The processes of a local application: seen by who listens, drained at the proxy, restarted."""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil

from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.systems import insist_on_fence
from tasks.platforms.applications import Completed, Replica

_PATIENCE_SECONDS = 30.0
_ANSWERS_WITHIN_SECONDS = 10.0


class LocalReplicas:
    """Processes behind a proxy that drains.

    Args:
        urls: URL of each process by its name, which is its name at the proxy too.
        control_url: The proxy's control API.
        restart_command: Stops a process and starts it again; `{replica}` stands for its name.
        execute: Runs a command that ends with us.
    """

    def __init__(
        self,
        urls: Mapping[str, str],
        control_url: str,
        restart_command: Sequence[str],
        execute: Callable[[Sequence[str]], Completed],
    ) -> None:
        """Keep where they are; asks nothing."""
        self._urls, self._control = dict(urls), control_url
        self._restart_command, self._execute = tuple(restart_command), execute

    def list(self) -> list[Replica]:
        """Look at each process.

        Returns:
            One for each name, whether it runs or not.

        Raises:
            PreconditionFailed: The target names none, or who listens cannot be seen.
            Transient: The proxy's control API does not answer.
        """
        if not self._urls or not self._restart_command:
            raise PreconditionFailed(
                expected="the application's processes, and a command that restarts one.",
                found="the target names none.",
                todo="Set `replicas` and `restart_command` of the target.",
            )
        drained = self._ask("GET", "/status", {}).get("upstreams", {})
        found = []
        for name, url in self._urls.items():
            process = listener(url)
            found.append(
                Replica(
                    name=name,
                    url=url,
                    runs=process is not None,
                    drained=bool(drained.get(name, {}).get("drained")),
                    settings=_environment(process, name) if process else {},
                )
            )
        return found

    def stand_in(self, name: str) -> bool:  # noqa: ARG002 - as every platform takes it
        """Say that nothing stands in for a process: there is another one."""
        return False

    def drain(self, name: str) -> None:
        """Send a process no new requests, and wait until it has none in flight.

        Args:
            name: Its name.

        Raises:
            Transient: Its requests did not end; it gets new ones again.
        """
        insist_on_fence()
        answer = self._ask("POST", "/drain", {"upstream": name, "patience": _PATIENCE_SECONDS})
        if not answer.get("ok"):
            self.admit(name)
            raise Transient(
                expected=f"the requests in {name} to end within {_PATIENCE_SECONDS:.0f} s.",
                found=f"{answer.get('in_flight', 'some')} did not.",
                state=f"{name} gets requests again.",
                todo="Find what they wait for, then run again.",
            )

    def admit(self, name: str) -> None:
        """Send a process requests again.

        Args:
            name: Its name.
        """
        insist_on_fence()
        self._ask("POST", "/undrain", {"upstream": name})

    def restart(self, name: str) -> None:
        """Stop a process, start it with the settings as they are now, wait until it answers.

        Args:
            name: Its name.

        Raises:
            PreconditionFailed: It does not come up.
        """
        insist_on_fence()
        done = self._execute([part.replace("{replica}", name) for part in self._restart_command])
        if done.status:
            raise PreconditionFailed(
                expected=f"{name} to be restarted.",
                # What it printed may hold a part of a password, and the record is for ever.
                found=f"its command ended with status {done.status}.",
                state=f"{name} gets no requests; the other processes are as they were.",
                todo=f"Read the log of {name}, or run the command by hand.",
            )

    def _ask(self, method: str, path: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        seconds = _PATIENCE_SECONDS + _ANSWERS_WITHIN_SECONDS
        try:
            with httpx.Client(base_url=self._control, trust_env=False, timeout=seconds) as client:
                answer = client.request(method, path, params=dict(parameters))
                said: dict[str, Any] = answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise Transient(
                expected=f"the proxy's control API {self._control} to answer.",
                found=f"{type(error).__name__} {error}".strip(),
                state="Which processes get requests is as it was.",
                todo="Start the proxy, or correct `proxy_control_url` of the target.",
            ) from error
        return said


def listener(url: str) -> psutil.Process | None:
    """Find the process that listens at a URL's port.

    Args:
        url: The URL, on this machine.

    Returns:
        The process, None where nothing listens.

    Raises:
        PreconditionFailed: It is another user's, and we are not root.
    """
    port = urlsplit(url).port or 80
    for one in psutil.net_connections("tcp"):
        if one.status == psutil.CONN_LISTEN and one.laddr and one.laddr.port == port:
            if one.pid is None:
                raise PreconditionFailed(
                    expected=f"to see which process listens on port {port}.",
                    found=f"it is another user's than {os.geteuid()}.",
                    todo="Run the worker as the application's user, or as root.",
                )
            return psutil.Process(one.pid)
    return None


def _environment(process: psutil.Process, name: str) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.NoSuchProcess:
        return {}
    except psutil.AccessDenied as error:
        raise PreconditionFailed(
            expected=f"to see the settings that {name} was started with.",
            found="its environment is closed to us.",
            todo="Run the worker as the application's user, or as root.",
        ) from error
