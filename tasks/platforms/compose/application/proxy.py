"""nginx before the application: which container it sends requests to, changed without a gap.

Sources: nginx.org/en/docs, control.html (changing configuration). The file is written in place:
Docker mounts it by its inode, and a file that is renamed over it would not be seen inside.
"""

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

from docker.models.containers import Container

from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.systems import fencing_token
from tasks.platforms.compose.containers.files import read_in_container
from tasks.platforms.compose.project import Project

_PATIENCE_SECONDS = 30.0
_COMMENT = re.compile(r"#.*")
_MARK = " # led by remedy, token "  # to the line's end: what stood behind goes on the next one


class ComposeProxy:
    """nginx in a container, with its configuration in a file of the project.

    Args:
        project: The compose project.
        service: Its service.
        file: Its configuration.
        upstream: The application as it stands there: service and port, as app:8000.
    """

    def __init__(self, project: Project, service: str, file: Path, upstream: str) -> None:
        """Keep where it is; reads nothing."""
        self._project, self._service = project, service
        self._file, self._upstream = file, upstream

    def can_switch(self) -> bool:
        """Say whether requests can be led to another container, which is proved from here first.

        It has to run, and its configuration to be the file here and to name the application.
        """
        runs = any(one.runs for one in self._project.containers(self._service))
        can = runs and self._project.engine.reaches_containers
        return can and self.sends_to(self._upstream) and self._is_the_one_inside()

    def sends_to(self, upstream: str) -> bool:
        """Say whether its configuration names a container, as `switch` writes it."""
        return self._file.is_file() and bool(_whole(upstream).search(self._file.read_text()))

    def switch(self, old: str, new: str, patience: float = _PATIENCE_SECONDS) -> None:
        """Send all requests to another container; returns when those on the way have ended.

        Args:
            old: Where they go, as it stands in the configuration.
            new: Where they shall go.
            patience: Seconds for the requests on the way.

        Raises:
            PreconditionFailed: nginx refuses the configuration: it goes on as before.
            Transient: Requests on the way do not end: new ones go to the new place.
        """
        before = self._file.read_text()
        after = _whole(old).sub(lambda _found: new, before)
        self._replace(before, after, f"{new} in the place of {old}", new, patience)

    def _replace(self, before: str, after: str, what: str, to: str, patience: float) -> None:
        # Where the file says so already, nginx may not have been told: a kill can come in between.
        if after != before:
            self._write(after)
            if not self._is_the_one_inside():
                self._write(before)
                raise PreconditionFailed(
                    expected=f"nginx to have {self._file} as it stands here.",
                    found="it has another file: that of the engine's machine.",
                    state="It goes on as before, and the file is as it was.",
                    todo="Run a worker on the engine's machine, or share the project's folder.",
                )
        elif not any(one.runs for one in self._project.containers(self._service)):
            return
        with self._project.engine.client() as client:
            container = client.containers.get(self._project.container(self._service).id)
            status, said = container.exec_run(["nginx", "-t", "-q"])
            if status:
                self._write(before)
                raise PreconditionFailed(
                    expected=f"nginx to accept {what}.",
                    found=bytes(said if isinstance(said, bytes) else b"").decode()[-500:],
                    state="It goes on as before, and the file is as it was.",
                    todo="Correct what nginx names.",
                )
            faults.point("before-reload:compose.proxy")
            workers = _workers(container)
            container.exec_run(["nginx", "-s", "reload"])
            deadline = time.monotonic() + patience
            while left := workers & _workers(container):
                if time.monotonic() > deadline:
                    raise Transient(
                        expected=f"requests on their way elsewhere to end within {patience:.0f} s.",
                        found=f"{len(left)} worker of nginx still has some.",
                        state=f"New requests go to {to}.",
                        todo="Find what they wait for, then run again.",
                    )
                time.sleep(0.05)

    def _is_the_one_inside(self) -> bool:
        """Say whether nginx sees the file as it is here: another machine may have a copy."""
        if self._project.engine.is_local:
            return True
        text = self._file.read_bytes()
        for one in self._project.containers(self._service):
            for mount in one.mounts:
                if not mount.volume and self._file.is_relative_to(mount.source):
                    inside = Path(mount.inside) / self._file.relative_to(mount.source)
                    return read_in_container(self._project.engine, one, str(inside)) == text
        return False

    def led(self) -> frozenset[str]:
        """Name the application's containers that it leads to by name; none where to all."""
        if not self._file.is_file():
            return frozenset()
        names = frozenset(
            name
            for found in self._members().finditer(self._file.read_text())
            for name in re.findall(r"server\s+([\w.-]+):", found[0])
        )
        return names - {self._upstream.rpartition(":")[0]}

    def led_by(self) -> int | None:
        """Give the fencing token under which its file is being changed; None where it is not."""
        found = self._members().search(self._file.read_text()) if self._file.is_file() else None
        return int(found["token"]) if found else None

    def lead(self, names: Sequence[str] = ()) -> None:
        """Lead requests to some of the application's containers; returns as `switch` does.

        Args:
            names: Those that get some; where none is named, all that have the service's name now.

        Raises:
            PreconditionFailed: Its configuration has no place for names, or it refuses them.
            Transient: Requests on the way do not end: new ones are led as is said.
        """
        if names and (found := self.obstacles()):
            raise PreconditionFailed(
                expected=f"to lead requests past a container of {self._upstream} by nginx.",
                found=f"{'; '.join(found)}.",
                state="Requests go where they went.",
                todo=f"Have `server {self._upstream};` in an `upstream` block, and `proxy_pass` "
                "name that block.",
            )
        before = self._file.read_text()
        service, _, port = self._upstream.rpartition(":")
        plain = self._members().sub(rf"\g<lead>{self._upstream}\g<more>;", before)
        after = plain
        if names or plain != before:  # the mark stands until nginx leads to all again
            marked = names or [service]
            after = self._servers().sub(lambda found: _named(found, marked, port), plain)
        to = ", ".join(names) or f"all of {self._upstream}"
        self._replace(before, after, to, to, _PATIENCE_SECONDS)
        faults.point("after-reload:compose.proxy")
        if not names and plain != before:
            self._write(plain)

    def obstacles(self) -> list[str]:
        """Say what keeps it from leading requests to some containers; none where nothing does."""
        if not any(one.runs for one in self._project.containers(self._service)):
            return [f"no container of {self._service} runs"]
        if not self._file.is_file():
            return [f"there is no {self._file}"]
        whole = self._file.read_text()
        text = _COMMENT.sub("", self._members().sub(f"server {self._upstream};", whole))
        if not self._servers().search(text):
            return [f"{self._file.name} has no `server {self._upstream}` in an upstream block"]
        if _whole(self._upstream).search(self._servers().sub("", text)):
            return [f"{self._file.name} names {self._upstream} beside the upstream block as well"]
        return []

    def addresses(self) -> list[str]:
        """Give its addresses, as the application's containers see them."""
        found = self._project.containers(self._service)
        return [address for one in found for address in one.addresses.values() if address]

    def _servers(self) -> re.Pattern[str]:
        """Give a pattern for the application as a server of an upstream block."""
        return re.compile(rf"(?P<lead>\bserver\s+){re.escape(self._upstream)}(?P<more>(\s[^;]*)?);")

    def _members(self) -> re.Pattern[str]:
        """Give a pattern for what `lead` has written: by its mark, an operator's own is none."""
        port = self._upstream.rpartition(":")[2]
        return re.compile(
            rf"(?P<lead>\bserver\s+)[\w.-]+:{port}(?P<more>(\s[^;]*)?);"
            rf"(?: server [\w.-]+:{port}(?P=more);)*{_MARK}(?P<token>\d+)\n"
        )

    def reload(self) -> None:
        """Have it look its upstreams up: a new container may have another address."""
        for one in self._project.containers(self._service):
            if one.runs:
                with self._project.engine.client() as client:
                    client.containers.get(one.id).exec_run(["nginx", "-s", "reload"])

    def _write(self, text: str) -> None:
        try:
            with self._file.open("r+b") as file:
                file.write(text.encode())
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise PreconditionFailed(
                expected=f"to write nginx's configuration {self._file}.",
                found=f"{error.strerror or error}.",
                todo="Correct `proxy_configuration` of the target, or the file's rights.",
            ) from error


def _named(found: re.Match[str], names: Sequence[str], port: str) -> str:
    """Write names in the place of a server, unless that stands in a comment."""
    if "#" in found.string[found.string.rfind("\n", 0, found.start()) + 1 : found.start()]:
        return found[0]
    servers = [f"server {name}:{port}{found['more']};" for name in names]
    servers[0] = servers[0].replace("server ", found["lead"], 1)
    return f"{' '.join(servers)}{_MARK}{fencing_token()}\n"


def _whole(upstream: str) -> re.Pattern[str]:
    """Give a pattern for service and port that fits no longer name, as other-app:8000."""
    return re.compile(rf"(?<![\w.-]){re.escape(upstream)}(?!\w)")


def _workers(container: Container) -> set[str]:
    """Give the numbers of nginx's workers, those that are leaving too."""
    shown = container.top(ps_args="-eo pid,args")
    return {row[0] for row in shown["Processes"] or [] if "nginx: worker" in row[-1]}
