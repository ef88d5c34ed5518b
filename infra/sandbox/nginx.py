"""nginx before the application's processes, for whoever prefers it to our own proxy.

Sources: nginx.org/en/docs, control.html (changing configuration), ngx_http_upstream_module.html
(down, fail_timeout) and ngx_http_core_module.html (keepalive_timeout).
"""

import contextlib
import os
import shutil
import signal
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.sandbox.processes import KILLED_AFTER_SECONDS, Service, gone
from infra.sandbox.service_user import hand_over, run, service_user
from infra.sandbox.settings import HOST, SandboxSettings
from tasks.guardrails.errors import PreconditionFailed

ELSEWHERE = ("/usr/local/sbin", "/usr/sbin")  # not on everybody's PATH
# Without keep-alive: a reload closes idle connections, and with them requests that are just being
# sent. In 200 reloads under 20 requests a second 9 were lost with it, none without.
CONFIGURATION = """
daemon off;
worker_processes 1;
worker_shutdown_timeout 60s;
pid "{folder}/nginx.pid";
error_log stderr warn;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    client_body_temp_path "{folder}/client_body";
    proxy_temp_path "{folder}/proxy";
    fastcgi_temp_path "{folder}/fastcgi";
    uwsgi_temp_path "{folder}/uwsgi";
    scgi_temp_path "{folder}/scgi";
    client_max_body_size 16m;
    keepalive_timeout 0;
    upstream application {{
{servers}
    }}
    server {{
        listen {host}:{port};
        location / {{
            proxy_pass http://application;
            proxy_connect_timeout 2s;
            proxy_read_timeout 60s;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
        }}
    }}
}}
"""


def find_nginx() -> Path | None:
    """Find nginx's program."""
    places = [os.environ.get("PATH", os.defpath), *ELSEWHERE]
    found = shutil.which("nginx", path=os.pathsep.join(places))
    return Path(found) if found else None


@dataclass(frozen=True)
class NginxService(Service):
    """nginx's master process; its workers go on when it is killed, and are ended by the next."""

    def start(self) -> bool:
        """Start the master, unless it runs."""
        if self.process() is None:
            self._end_workers()
        return super().start()

    def stop(self, *, kill: bool = False) -> bool:
        """End the master, and with it its workers; `kill` leaves them, as `kill -9` does."""
        ended = super().stop(kill=kill)
        if not kill:
            self._end_workers()
        return ended

    def _end_workers(self) -> None:
        left = [each for each in psutil.process_iter(["name"]) if self._is_ours(each)]
        for worker in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
            gone(worker, KILLED_AFTER_SECONDS)

    def _is_ours(self, process: psutil.Process) -> bool:
        """Say whether a process holds the lock that the master took (see launch.py)."""
        with contextlib.suppress(psutil.Error):
            if process.info["name"] == "nginx":
                return any(file.path == str(self.record) for file in process.open_files())
        return False


class Nginx:
    """nginx in a folder of the sandbox's home: it writes nothing elsewhere.

    Args:
        home: The sandbox's home.
        settings: The sandbox's settings.
        run: Folder of the records of processes.
        logs: Folder of the logs.
    """

    def __init__(self, home: Path, settings: SandboxSettings, run: Path, logs: Path) -> None:
        """Keep where it is; starts nothing."""
        self.upstreams = settings.upstreams
        self._port, self._program = settings.ports["proxy"], find_nginx()
        self._folder = home / "nginx"
        self._file = self._folder / "nginx.conf"
        self.service = NginxService(
            name="proxy",
            command=[self._program or "nginx", "-p", self._folder, "-c", self._file],
            run=run,
            logs=logs,
            directory=Path("/"),
            user=service_user(),
        )

    @property
    def drained(self) -> set[str]:
        """Names of the upstreams that get no requests, as its configuration says."""
        text = self._file.read_text()
        return {name for name in self.upstreams if self._server(name, drained=True) in text}

    def insist_on_program(self) -> Path:
        """Give its program.

        Raises:
            PreconditionFailed: There is none.
        """
        if self._program is None:
            raise PreconditionFailed(
                expected="nginx, the proxy that was chosen for the sandbox.",
                found=f"none on PATH or in {', '.join(ELSEWHERE)}.",
                todo="Run `apt install nginx`, or take the sandbox's own proxy: "
                "`remedy sandbox up --proxy own`.",
            )
        return self._program

    def configure(self) -> None:
        """Write the configuration that it starts with, unless it runs: no upstream is drained.

        Raises:
            PreconditionFailed: nginx is not there, or refuses the configuration.
        """
        if self.service.process() is None:
            self._write(set())

    def reload(self, drained: set[str]) -> list[psutil.Process]:
        """Have it send no requests to some upstreams, and requests to all others.

        Args:
            drained: Names of those that get none.

        Returns:
            Its workers so far, who follow the configuration before until they leave.

        Raises:
            PreconditionFailed: It does not run, or refuses the configuration; goes on as before.
        """
        master = self.service.process()
        if master is None:
            raise PreconditionFailed(
                expected="the sandbox's nginx to run.",
                found="it does not.",
                todo="Start the sandbox again.",
            )
        workers = master.children()
        self._write(drained)
        master.send_signal(signal.SIGHUP)
        return workers

    def workers(self) -> list[psutil.Process]:
        """Give all its workers, those that are leaving too."""
        master = self.service.process()
        return [] if master is None else master.children()

    def _server(self, name: str, *, drained: bool) -> str:
        down = " down" if drained else ""
        return f"        server {HOST}:{self.upstreams[name]} fail_timeout=1s{down};"

    def _write(self, drained: set[str]) -> None:
        """Write a configuration that nginx has tested, or leave the one before."""
        program = self.insist_on_program()
        self._folder.mkdir(exist_ok=True, mode=0o700)
        draft = self._folder / "nginx.conf.new"
        servers = [self._server(name, drained=name in drained) for name in self.upstreams]
        draft.write_text(
            CONFIGURATION.format(
                folder=self._folder, host=HOST, port=self._port, servers="\n".join(servers)
            )
        )
        hand_over(self._folder, draft)
        tested = run([program, "-t", "-q", "-p", self._folder, "-c", draft])
        if tested.returncode:
            raise PreconditionFailed(
                expected=f"nginx to accept {draft}.",
                found=tested.stderr[-1000:],
                state="It goes on with the configuration before, if it runs.",
                todo="Correct what nginx names, then run the same command again.",
            )
        draft.replace(self._file)
