"""`remedy lease`: who works on a target right now."""

import getpass
import socket
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

from cyclopts import App, Parameter
from rich.text import Text

from deployments.cli.output import AsJson, console, emit, table
from tasks.guardrails.holders import Holder, force_release, holders
from tasks.guardrails.ledger import Ledger

app = App(name="lease", help="Who works on a target right now.", help_format="markdown")


@app.command
def show(
    *,
    everything: Annotated[
        bool, Parameter(name="--all", negative="", help="Also those that were given up.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show the leases that are held or marked."""
    found = [one for one in holders(Ledger()) if everything or one.is_live or one.stuck]
    rows = [
        (one.resource, _standing(one), one.remediation, one.token, f"{one.pid} on {one.host}")
        for one in found
    ]
    columns = ("resource", "stands", "remediation", "token", "process")
    data = [{**asdict(one), "live": one.is_live and not one.is_dead} for one in found]
    emit(data, table(columns, rows) if rows else Text("No lease is held."), as_json=as_json)


def _standing(one: Holder) -> str:
    if one.stuck:
        return f"marked: {one.stuck}"
    if not one.is_live:
        return "free"
    if one.is_dead:
        return "abandoned: its process is gone"
    return f"held until {datetime.fromtimestamp(one.expires, UTC):%H:%M:%S} UTC unless renewed"


@app.command
def release(
    resource: Annotated[
        str, Parameter(help="As `remedy lease show` names it, or the name of a target.")
    ],
    /,
    *,
    reason: Annotated[str, Parameter(help="What was put right; goes into the ledger.")],
) -> None:
    """Release a lease that is marked or abandoned, after what it says was put right."""
    resource = resource if ":" in resource else f"target:{resource}"
    actor = f"{getpass.getuser()}@{socket.gethostname()}"
    force_release(Ledger(), resource, reason, actor)
    console().print(Text(f"{resource} is free."))
