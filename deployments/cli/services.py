"""`remedy up`, `down` and `status`."""

from dataclasses import asdict
from typing import Annotated

from cyclopts import Parameter
from rich.text import Text

from deployments.cli.errors import Exit
from deployments.cli.output import AsJson, emit, table, tell
from deployments.services import password
from deployments.services.environment import settings_file
from deployments.services.platform import Platform


def up(
    *,
    sandbox: Annotated[bool, Parameter(help="Start the sandbox as well.")] = True,
    host: Annotated[
        str,
        Parameter(
            help="Address at which Prefect is served from now on; 127.0.0.1 at first. Beyond "
            "loopback it asks for a password."
        ),
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Start Prefect, the worker and the sandbox, and register every remediation.

    Prefect keeps its data in a PostgreSQL server of its own under REMEDY_HOME (SQLite where
    there are no PostgreSQL programs). What runs already is left alone; what was killed is
    started again; remediations that were interrupted are recovered.
    """
    platform = Platform()
    settings = platform.up(tell, with_sandbox=sandbox, host=host)
    secret = password.file_of(platform.home)
    protection = [
        ("Password", f"the line in {secret}; the UI asks for it"),
        ("TLS", "none: put a proxy in front that adds it (docs/operations.md)"),
    ]
    said = {
        "ui": settings.ui_url,
        "api": settings.api_url,
        "password_file": str(secret) if settings.is_exposed else None,
        "database": settings.database,
        "sandbox": platform.sandbox.url if sandbox else None,
        "home": str(platform.home),
    }
    rows = [
        ("Prefect", f"{settings.ui_url} (on {settings.database})"),
        *(protection if settings.is_exposed else []),
        *([("Sandbox", platform.sandbox.url)] if sandbox else []),
        ("Home", platform.home),
        ("Next", "remedy approver add NAME; remedy run restore-from-backup --target sandbox"),
    ]
    emit(said, table(("what", "where"), rows), as_json=as_json)


def down(
    *,
    force: Annotated[
        bool,
        Parameter(negative="", help="Also while a remediation acts; the next `up` recovers it."),
    ] = False,
) -> None:
    """Stop what `up` started; data is kept."""
    Platform().down(tell, force=force)


def status(*, as_json: AsJson = False) -> int:
    """Say what runs, where, and where its log is.

    Exit code 11 where something does not run.
    """
    platform = Platform()
    states = platform.status()
    rows = [
        (
            state.name,
            Text("runs", style="green") if state.running else Text("does not run", style="red"),
            state.pid or "",
            state.where,
            state.log,
        )
        for state in states
    ]
    shown = (
        table(("service", "state", "pid", "where", "log"), rows)
        if rows
        else Text(f"Nothing was started: no {settings_file(platform.home)}. Run `remedy up`.")
    )
    emit([asdict(state) for state in states], shown, as_json=as_json)
    well = bool(states) and all(state.running for state in states)
    return Exit.OK.value if well else Exit.UNPROVED.value
