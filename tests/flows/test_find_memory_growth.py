"""find_memory_growth: a process that grows is found, and answers that nobody cuts into pages."""

import base64
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import httpx
import psutil
import pytest
from docker.models.containers import Container

from flows.performance.find_memory_growth import find_memory_growth
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from infra.testbed.compose.system import ComposeSystem
from tasks.guardrails.case import Case
from tasks.guardrails.plan import Finding
from tasks.guardrails.render import plan as shown
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tasks.platforms.processes import Process, Start
from tasks.platforms.sandbox.processes import LocalProcesses
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import carry_out
from tests.prefect_fixtures import Runs
from tests.users import log_in, under_load
from tests.waiting import until

# Seconds, and between two looks; an engine measures a container once in a second.
BRIEF = {"sandbox": (15, 0.2), "compose": (30, 0.5)}
LOOKS = 30  # a course is told from sixteen on
# Five MiB more in each second by the clock, however late it is called, for four minutes at most.
LEAK = """
import time
held, began = [], time.monotonic()
while (passed := time.monotonic() - began) < 600:
    while len(held) < min(passed, 240) * 5:
        held.append(bytearray(b'x' * (1 << 20)))
    time.sleep(0.1)
"""


def brief(planner: Planner, looks: int = LOOKS, least: float = 0) -> dict[str, float]:
    """Watch for a short time that is long enough for so many looks of this machine of now."""
    seconds, interval = BRIEF[planner.settings.name]
    processes, began = targets.load(planner.settings.name).processes, time.monotonic()
    processes.used()
    for one in processes.here():
        processes.share(one)
    needed = looks * max(interval, time.monotonic() - began)
    watched = round(min(max(needed, seconds, least), 200))
    return {"watch_minutes": watched / 60, "interval_seconds": interval}


def warm_up(planner: Planner) -> None:
    """Serve users for a while: what has just begun grows with its first requests."""
    with under_load(planner):
        time.sleep(12)


def lasting(given: dict[str, float]) -> str:
    """Say for how long is watched, as the report does."""
    return f"{given['watch_minutes'] * 60:.0f} s"


def leaks(container: Container) -> list[int]:
    """Give the numbers, on the engine's machine, of the processes that forget nothing."""
    shown = container.top(ps_args="-ww -eo pid,args")["Processes"]  # else cut off at 80 characters
    return [int(pid) for pid, command in shown if "held.append" in command]


def end_leaks(container: Container) -> None:
    """End what forgets nothing; the image has no pkill."""
    for pid in leaks(container):
        with suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()


@contextmanager
def leaking(planner: ComposeSystem) -> Iterator[None]:
    """Have a process in the application's container that forgets nothing, while the block runs."""
    container = planner.project.container("app")
    container.exec_run(["python", "-c", LEAK], detach=True)
    try:
        until(lambda: leaks(container))
        yield
    finally:
        end_leaks(container)


def findings(case: Case) -> tuple[Finding, ...]:
    """Give what was found."""
    return case.stages[0].stage.findings


def test_what_does_not_grow_is_no_finding(runs: Runs, planner: Planner) -> None:
    """The processes of a sound application are looked at, on each platform, with a picture."""
    warm_up(planner)
    case, state = carry_out(runs, planner, find_memory_growth, **brief(planner))
    assert state.name == "Unchanged", state.message
    table = findings(case)[0]
    assert "nothing grows" in table.what
    assert re.search(r"less than [\d.,]+ MiB an hour might not have been seen", table.what)
    courses = {row[0]: row[3] for row in table.rows}
    assert len(courses) >= 3, courses  # a replica or container, and processes in it
    assert set(courses.values()) <= {"steady", "warms up"}, courses
    assert not [one for one in findings(case) if "goes on" in one.what]


def test_what_grows_is_found_with_its_limit(
    runs: Runs, fresh_compose: ComposeSystem, home: Path
) -> None:
    """Of container and process, how fast, and when the limit is reached."""
    assert home
    targets.give(ComposeTarget(**fresh_compose.target_settings()))
    with leaking(fresh_compose):
        case, state = carry_out(runs, fresh_compose, find_memory_growth, **brief(fresh_compose))
    assert state.name == "Advised", findings(case)
    container = str(fresh_compose.project.container("app").name)
    courses = {row[0]: row for row in findings(case)[0].rows}
    assert courses[container][3] == "grows", courses
    grown = [one for one in findings(case) if " and goes on: " in one.what]
    assert [one for one in grown if f"{container}: python" in one.what], grown
    (whole,) = [one for one in grown if one.what.startswith(f"{container} grew")]
    assert "Its limit of 2,048 MiB is reached in" in whole.what
    assert "tracemalloc" in whole.patch
    an_hour = float(courses[container][4].replace(",", ""))
    assert 10_000 < an_hour < 40_000  # five MiB a second, by the clock
    picture = re.search(r"data:image/svg\+xml;base64,([\w+/=]+)", shown(case, case.stages[0]))
    assert picture
    drawn = ET.fromstring(base64.b64decode(picture[1]))  # noqa: S314 - our own
    assert len(drawn.findall("{http://www.w3.org/2000/svg}polyline")) == len(courses)


class Disturbed:
    """The processes of a target, to which something happens before a look."""

    def __init__(
        self, system: SandboxTarget | ComposeTarget, look: int, what: Callable[[], object]
    ) -> None:
        """Take the place of the target's own."""
        self._real, self._left, self._what = system.processes, look, what
        system.__dict__["processes"] = self

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the real ones have
        """Give what is not disturbed."""
        return getattr(self._real, name)

    def used(self) -> dict[Start, int]:
        """Have it happen in its time, then measure."""
        self._left -= 1
        if self._left == 0:
            self._what()
        return self._real.used()


def test_each_start_is_followed_by_itself(
    runs: Runs, fresh_compose: ComposeSystem, home: Path
) -> None:
    """What grows in a container that was restarted meanwhile, and in a process begun then."""
    assert home
    target = ComposeTarget(**fresh_compose.target_settings())
    targets.give(target)
    container = fresh_compose.project.container("app")

    def restart() -> None:
        container.restart(timeout=1)
        container.exec_run(["python", "-c", LEAK], detach=True)

    given = brief(fresh_compose, looks=60, least=36)
    Disturbed(target, 4, restart)
    try:
        case, state = carry_out(runs, fresh_compose, find_memory_growth, **given)
    finally:
        end_leaks(container)
    assert state.name == "Advised", findings(case)
    courses = {row[0]: row for row in findings(case)[0].rows}
    assert courses[f"{container.name}, start 1 of 2"][3] == "too short", courses
    assert courses[f"{container.name}, start 2 of 2"][3] == "grows", courses
    grown = [one.what for one in findings(case) if " and goes on: " in one.what]
    assert [one for one in grown if one.startswith(f"{container.name}: python")], grown
    (told,) = [one.what for one in findings(case) if "restarted" in one.what]
    assert told.startswith(
        f"{container.name}: it was restarted 1 time within these {lasting(given)}"
    )
    (moved,) = [one for one in findings(case) if "came and went" in one.what]
    assert any(int(row[1]) for row in moved.rows), moved.rows  # those of the first start ended
    assert any(int(row[2]) for row in moved.rows), moved.rows


def test_processes_that_are_made_anew_are_told(runs: Runs, sandbox: Sandbox) -> None:
    """Of the sandbox's two, one is restarted: it is said of which, and how often."""
    warm_up(sandbox)
    target = SandboxTarget(**sandbox.target_settings())
    targets.give(target)
    one, other = sandbox.upstreams
    given = brief(sandbox)
    Disturbed(target, 3, lambda: sandbox.restart(one))
    case, state = carry_out(runs, sandbox, find_memory_growth, **given)
    assert state.name == "Unchanged", state.message
    (told,) = [one.what for one in findings(case) if "restarted" in one.what]
    assert told.startswith(f"{one}: it was restarted 1 time within these {lasting(given)}")
    assert {f"{one}, start 1 of 2", other} <= {row[0] for row in findings(case)[0].rows}


def test_a_number_that_another_process_has_now_is_not_the_same_process() -> None:
    """The kernel gives numbers anew; who started at another time is another one."""
    here = psutil.Process()
    processes = LocalProcesses({})
    known = Process("app-1", here.pid, here.create_time(), "python")
    assert (processes.share(known) or 0) > 2**20
    assert processes.share(replace(known, started_at=here.create_time() - 1)) is None


def workers_of(nginx: Container) -> set[str]:
    """Give the numbers of nginx's workers, of those too that are about to end."""
    shown = nginx.top(ps_args="-ww -eo pid,args")["Processes"]
    return {pid for pid, command in shown if "worker process" in command}


@pytest.fixture
def logging_nginx(fresh_compose: ComposeSystem, home: Path) -> Iterator[ComposeSystem]:
    """A project whose nginx writes down each request, as nginx does unless told otherwise."""
    assert home
    targets.give(ComposeTarget(**fresh_compose.target_settings()))
    file, nginx = fresh_compose.folder / "nginx" / "nginx.conf", fresh_compose.project
    before = file.read_text()
    file.write_text(before.replace("access_log off;", "access_log /dev/stdout combined;"))
    container = nginx.container("nginx")
    old = workers_of(container)
    container.exec_run(["nginx", "-s", "reload"])
    until(lambda: (now := workers_of(container)) and not now & old)
    yield fresh_compose
    file.write_text(before)
    nginx.container("nginx").exec_run(["nginx", "-s", "reload"])


def test_large_answers_are_found_in_the_access_log(
    runs: Runs, logging_nginx: ComposeSystem
) -> None:
    """A list that is asked for as a whole; one that is cut into pages is none."""
    nginx, ours = logging_nginx.project.container("nginx"), b"GET /api/v1/pro"
    before = nginx.logs().count(ours)
    token = log_in(logging_nginx).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=logging_nginx.url, headers=headers, trust_env=False) as client:
        sizes = [len(client.get("/api/v1/projects").raise_for_status().content) for _ in range(3)]
        client.get("/api/v1/programs", params={"limit": 500}).raise_for_status()
    # Written once it is answered, and by the engine a moment after that.
    until(lambda: nginx.logs().count(ours) - before >= len(sizes) + 1)
    given = {"watch_minutes": 0.01, "large_kilobytes": 5}
    case, state = carry_out(runs, logging_nginx, find_memory_growth, **given)
    assert state.name == "Advised", state.message
    (told,) = [one for one in findings(case) if "gave answers of" in one.what]
    assert [row[:2] for row in told.rows] == [("GET /api/v1/projects", "3")]
    assert float(told.rows[0][3]) == pytest.approx(max(sizes) / 1000, abs=0.1)
    assert "limit" in told.patch
