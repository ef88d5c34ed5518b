"""The worker beside Prefect's process worker: time to the first probe, and from approval on."""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.context import SyncClientContext
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.workers.process import ProcessWorker

from deployments.services.platform import Platform
from deployments.services.settings import PlatformSettings
from deployments.services.worker_process import worker_service
from deployments.worker import pool
from deployments.worker.installed import entrypoint_of
from tasks.guardrails import surface
from tasks.guardrails.case import Case, id_of_run
from tasks.guardrails.ledger import Ledger
from tests.approving import Approvers
from tests.bench.section import new_home, quantiles, write
from tests.integration.test_worker_flows import timed_change

ROOT = Path(__file__).resolve().parents[2]
OURS, THEIRS = "remedy", "process"
_PATIENCE_SECONDS = 120
_PROCESS_ENDS_SECONDS = 4


@dataclass
class Latency:
    """What one worker took, in seconds, a figure for each run.

    Args:
        to_probe: From before the request that creates the run to the first probe.
        to_change: From the last approver's decision to the next change.
    """

    to_probe: list[float] = field(default_factory=list)
    to_change: list[float] = field(default_factory=list)


def measure(home: Path, runs: int = 50) -> dict[str, Latency]:
    """Measure both workers on one server, run by run in turn.

    Args:
        home: An empty folder that PostgreSQL's user reaches.
        runs: How many with each worker.

    Returns:
        The latencies by the worker's type.
    """
    folder = home / "toy"
    folder.mkdir()
    os.environ |= {"REMEDY_HOME": str(home), "WORKER_TEST_FOLDER": str(folder)}
    with platform_of(home), workers(home):
        return _measure(folder, runs)


@contextmanager
def platform_of(home: Path) -> Iterator[PlatformSettings]:
    """Bring the platform of REMEDY_HOME up, without a sandbox; it is taken down afterwards."""
    # By a process of its own: Prefect, imported here, has no API yet.
    command: list[str | Path] = [Path(sys.executable).with_name("remedy"), "up", "--no-sandbox"]
    subprocess.run(command, check=True, stdout=sys.stderr)  # ours is the section
    platform = Platform(home)
    settings = platform.settings
    if settings is None:
        raise SystemExit("the platform did not come up")
    try:
        # It would hear every event as well as the one that is measured.
        worker_service(home, {"REMEDY_CODE": str(ROOT)}).stop()
        with temporary_settings({PREFECT_API_URL: settings.api_url}):
            yield settings
    finally:
        platform.down(force=True)


def _measure(folder: Path, runs: int) -> dict[str, Latency]:
    found = {OURS: Latency(), THEIRS: Latency()}
    with SyncClientContext() as opened:  # as `remedy approve` has it
        client = opened.client
        deployments = {kind: deploy(client, kind) for kind in found}
        for number in range(-1, runs):  # the first only warms up
            for kind, latency in found.items():
                word = f"{kind}-{number}"
                to_probe, to_change = _one(client, deployments[kind], folder, word)
                if number >= 0:
                    latency.to_probe.append(to_probe)
                    latency.to_change.append(to_change)
    return found


def _one(
    client: SyncPrefectClient, deployment: UUID, folder: Path, word: str
) -> tuple[float, float]:
    ledger = Ledger()
    created = time.time()
    run = client.create_flow_run_from_deployment(
        deployment, parameters={"target": "toy", "word": word}
    )
    probed = _time_in(folder / f"time-probe-{word}")
    remediation = id_of_run(str(run.id))
    until(lambda: (state := client.read_flow_run(run.id).state) and state.is_paused())
    time.sleep(_PROCESS_ENDS_SECONDS)  # nobody decides before that
    Approvers(ledger).approve_gate(Case.read(ledger, remediation))
    decided = Case.read(ledger, remediation).of_kind("decided")[-1].when.timestamp()
    if refusal := surface.wake(str(run.id)):
        raise SystemExit(f"run {word} was not resumed: {refusal}")
    changed = _time_in(folder / f"time-change-{word}")
    until(lambda: Case.read(ledger, remediation).outcome)
    return probed - created, changed - decided


def _time_in(path: Path) -> float:
    return float(until(lambda: path.exists() and path.read_text()))


def until(what: Callable[[], Any], patience: float = _PATIENCE_SECONDS) -> Any:  # noqa: ANN401 - whatever it gives
    """Ask again until there is an answer, and give it.

    Args:
        what: What is asked.
        patience: Seconds after which it is given up.
    """
    give_up = time.monotonic() + patience
    while not (found := what()):
        if time.monotonic() > give_up:
            raise SystemExit(f"what was waited for took longer than {patience:g} s")
        time.sleep(0.05)
    return found


def deploy(client: SyncPrefectClient, kind: str) -> UUID:
    """Register the flow for a worker; Prefect's is told where the code lies."""
    steps = [{"prefect.deployments.steps.set_working_directory": {"directory": str(ROOT)}}]
    name = timed_change.name
    return client.create_deployment(
        flow_id=client.create_flow(timed_change),
        name=name if kind == OURS else f"{name}-{kind}",
        work_pool_name=f"bench-{kind}",
        entrypoint=entrypoint_of(timed_change),
        pull_steps=steps if kind == THEIRS else [],
    )


@contextmanager
def workers(home: Path, kinds: Sequence[str] = (OURS, THEIRS)) -> Iterator[list[int]]:
    """Start workers, each on a pool of its own; gives their pids."""
    with get_client(sync_client=True) as client:
        pool.prepare(client, f"bench-{OURS}")
        client.create_work_pool(
            WorkPoolCreate(
                name=f"bench-{THEIRS}", type=ProcessWorker.type, base_job_template=_template()
            )
        )
    ours = [sys.executable, "-m", "tests.integration.test_worker_process", f"bench-{OURS}"]
    prefect = [sys.executable, "-m", "prefect", "worker", "start", "--prefetch-seconds", "2"]
    theirs = [*prefect, "--pool", f"bench-{THEIRS}", "--type", ProcessWorker.type]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "REMEDY_WORKER_NAME": "bench",
        "PREFECT_API_URL": PREFECT_API_URL.value() or "",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    started = []
    try:
        for name, command in ((OURS, ours), (THEIRS, theirs)):
            if name not in kinds:
                continue
            with (home / f"bench-{name}.log").open("wb") as log:
                process = subprocess.Popen(
                    command, cwd=ROOT, env=environment, stdout=log, stderr=log
                )
            started.append(process)
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            try:
                process.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:  # Prefect's sometimes does not end on SIGTERM
                process.kill()
                process.wait()


def _template() -> dict[str, Any]:
    """Give the process worker's template at its fastest: it does not import Prefect twice."""
    template = ProcessWorker.get_default_base_job_template()
    properties = template["variables"]["properties"]
    properties["stream_output"]["default"] = False
    properties["command"]["default"] = f"{sys.executable} -m prefect.engine"
    return template


def table(measured: dict[str, Latency]) -> list[str]:
    """Write both workers side by side.

    Args:
        measured: What `measure` gave.

    Returns:
        Lines of markdown.
    """
    ours, theirs = measured[OURS], measured[THEIRS]
    rows = (
        ("POST create_flow_run → first probe", ours.to_probe, theirs.to_probe),
        ("last approval → next change", ours.to_change, theirs.to_change),
    )
    return [
        "## Start of runs",
        "",
        "The worker `remedy` beside Prefect's process worker, in turn on one server (PostgreSQL);",
        f"{len(ours.to_probe)} runs each, p50 / p95.",
        "",
        "| | remedy | process worker |",
        "| --- | --- | --- |",
        *(f"| {what} | {quantiles(mine)} | {quantiles(other)} |" for what, mine, other in rows),
    ]


def main() -> None:
    """Measure, and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=50, help="how many with each worker")
    with new_home() as home:
        write(table(measure(home, parser.parse_args().runs)))


if __name__ == "__main__":
    main()
