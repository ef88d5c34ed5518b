"""`remedy sandbox`: a system under care to try things on."""

import os
from typing import Annotated

import psycopg
from cyclopts import App, Parameter
from rich.text import Text

from deployments.cli.numbers import Count, Rate, Seconds
from deployments.cli.output import AsJson, emit, table, tell
from deployments.services.platform import Platform
from infra.sandbox import pristine
from infra.sandbox.damage import Damage
from infra.sandbox.damage import damage as break_it
from infra.sandbox.load import RATE, USER, Load
from infra.sandbox.load_report import LoadReport
from infra.sandbox.seed import seed
from infra.sandbox.settings import ProxyKind
from tasks.guardrails.errors import PreconditionFailed

app = App(name="sandbox", help="A system under care to try things on.", help_format="markdown")


@app.command
def up(
    *,
    rows: Annotated[Count, Parameter(help="Rows to fill an empty database with; 0 for none.")] = 0,
    proxy: Annotated[
        ProxyKind | None,
        Parameter(help="Proxy from now on; only `own` can hold requests back."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Start the sandbox, and save it as target 'sandbox' where Prefect answers."""
    sandbox = Platform().sandbox
    if proxy is not None:
        sandbox.use_proxy(proxy)
    sandbox.up()
    filled = seed(sandbox, rows) if rows else {}
    if filled:
        pristine.keep(sandbox)
    if os.environ.get("PREFECT_API_URL"):
        from deployments.registration import save_sandbox  # noqa: PLC0415 - imports Prefect

        save_sandbox(sandbox)
        tell("saved as target 'sandbox'")
    data = {"url": sandbox.url, "rows": sum(filled.values())}
    emit(data, Text(f"The sandbox is up at {sandbox.url}"), as_json=as_json)


@app.command
def down() -> None:
    """Stop the sandbox; data is kept."""
    Platform().sandbox.down()
    tell("the sandbox is stopped")


@app.command
def reset() -> None:
    """Bring the sandbox back to how it was when it was filled; backups stay."""
    pristine.reset(Platform().sandbox)
    tell("the sandbox is as it was when it was filled")


@app.command
def damage(
    kind: Annotated[Damage, Parameter(help="What to break, as it happens in the field.")],
    /,
    *,
    as_json: AsJson = False,
) -> None:
    """Break the sandbox's database for real."""
    try:
        done = break_it(Platform().sandbox, kind)
    except psycopg.OperationalError as error:
        raise PreconditionFailed(
            expected="the sandbox's server to answer.",
            found=f"{error}.",
            todo="Run `remedy sandbox up`.",
        ) from error
    emit({"kind": done.kind, "detail": done.detail}, Text(done.detail), as_json=as_json)


@app.command
def load(
    *,
    seconds: Annotated[Seconds, Parameter(help="How long; Ctrl-C ends it earlier.")] = 60,
    rate: Annotated[Rate, Parameter(help="Requests in a second, two in five writes.")] = RATE,
    as_json: AsJson = False,
) -> None:
    """Put a steady load on the sandbox, and say what its users saw."""
    sandbox = Platform().sandbox
    running = Load(sandbox.url, sandbox.settings.accounts[USER], rate=rate, seconds=seconds)
    try:
        running.start()
    except OSError as error:
        raise PreconditionFailed(
            expected=f"the sandbox at {sandbox.url} to let the load log in.",
            found=f"{error}.",
            todo="Run `remedy sandbox up --rows 100000`.",
        ) from error
    tell(f"{rate:g} requests a second for {seconds:g} s; Ctrl-C ends it")
    try:
        report = running.wait()
    except KeyboardInterrupt:
        report = running.stop()
    emit(report.model_dump(), table(("what", "seen"), rows_of(report)), as_json=as_json)


def rows_of(report: LoadReport) -> list[tuple[str, str]]:
    """Give what a load saw as lines for people."""
    return [
        ("requests", f"{report.requests} in {report.seconds:.0f} s"),
        ("failed", str(report.failed)),
        ("slower than 1 s", str(report.slow)),
        ("outage", f"{report.outage_seconds:g} s in all"),
        ("longest stall", f"{report.longest_stall_seconds:g} s"),
        ("longest stall of writes", f"{report.longest_write_stall_seconds:g} s"),
        ("slowest, median", f"{report.slowest_seconds:g} s, {report.median_seconds * 1000:.0f} ms"),
        ("acknowledged writes", str(report.acknowledged)),
        ("missing of those", f"{len(report.missing)}, not asked {report.unchecked}"),
        ("answers", ", ".join(f"{k}: {n}" for k, n in report.answers.items())),
    ]
