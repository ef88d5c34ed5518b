"""repair_health_check on checks, images and an application that are broken for real."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docker.models.containers import Container

from flows.docker.repair_health_check import repair_health_check
from flows.help.undo_remediation import undo_remediation
from infra.testbed.compose.system import ComposeSystem
from tasks.containers.health_words import argv
from tasks.guardrails import faults
from tasks.guardrails.case import Case
from tasks.platforms import targets
from tests.approving import carry_out
from tests.crashing import Crashing, crashing
from tests.prefect_fixtures import Runs
from tests.users import log_in

FILE = "docker-compose.health.yml"
HEALTH = "http://localhost:8000/health"
GOOD = f'["CMD", "curl", "-f", "{HEALTH}"]'


@pytest.fixture
def project(fresh_compose: ComposeSystem, home: Path) -> Iterator[Crashing]:
    """A fresh project, known as a target."""
    assert home
    with crashing(fresh_compose) as found:
        yield found


def checked_by(
    project: Crashing, test: str, *, more: str = "", timeout: int = 5, state: str = "unhealthy"
) -> None:
    """Have the application checked otherwise, at once, in a file of its own."""
    text = (
        f"services:\n  app:\n{more}    healthcheck: # ours\n      test: {test}\n"
        f"      start_period: 0s # at once\n      timeout: {timeout}s\n      retries: 1\n"
    )
    if FILE in project.more:
        (project.system.folder / FILE).write_text(text)
    else:
        project.add(FILE, text)
    project.up("app")
    if state:
        project.until(lambda one: one.health == state and answers(one))


def answers(container: Container) -> bool:
    """Say whether the application is up inside, whatever its check makes of it."""
    ask = f"from urllib.request import urlopen as ask; ask('{HEALTH}')"
    return container.exec_run(["python", "-c", ask]).exit_code == 0


def said(case: Case) -> str:
    """Give all that a case's first stage says, as one text."""
    return json.dumps([stage.stage.model_dump(mode="json") for stage in case.stages])


def check_of(project: Crashing) -> dict[str, Any]:
    """Give the health check that the engine runs."""
    found: dict[str, Any] = project.container().attrs["Config"]["Healthcheck"]
    return found


def test_a_wrong_path_is_corrected(runs: Runs, project: Crashing) -> None:
    """In the file that says it last, comments kept; the undo is byte for byte."""
    checked_by(project, f'["CMD", "curl", "-f", "{HEALTH}z"] # mine')
    broken = project.texts()
    case, state = carry_out(runs, project.system, repair_health_check)
    assert state.name == "Remediated", state.message
    assert f"{HEALTH}z has status 404" in said(case)
    assert check_of(project)["Test"] == json.loads(GOOD)
    project.until(lambda one: one.health == "healthy")
    assert log_in(project.system).is_success
    changed = {name: data for name, data in project.texts().items() if data != broken[name]}
    new = broken[FILE].replace(b"/healthz", b"/health")
    assert changed == {FILE: new.replace(b" # mine", b"  # mine")}  # it stays in its column
    _, undone = carry_out(runs, project.system, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert project.texts() == broken
    project.until(lambda one: one.health == "unhealthy")


def test_a_repair_that_fails_is_taken_back(
    runs: Runs, project: Crashing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is as it was, byte for byte, and the container made from it."""
    checked_by(project, f'["CMD", "curl", "-f", "{HEALTH}z"]')
    broken = project.texts()
    monkeypatch.setenv(faults.VARIABLE, "FAIL=after-apply:containers.rewrite_health_check")
    _, state = carry_out(runs, project.system, repair_health_check)
    assert state.name == "Undone", state.message
    assert project.texts() == broken
    assert check_of(project)["Test"][-1] == f"{HEALTH}z"
    assert log_in(project.system).is_success


def test_an_image_without_curl_is_asked_by_what_it_has(runs: Runs, project: Crashing) -> None:
    """The new check fails where nothing runs, and when the application has gone."""
    name = f"{project.system.project.name}-image:1"
    project.build(name, "RUN rm -f /usr/bin/curl /usr/bin/wget")
    checked_by(project, f'["CMD-SHELL", "curl -f {HEALTH} || exit 1"]', more=f"    image: {name}\n")
    case, state = carry_out(runs, project.system, repair_health_check)
    assert state.name == "Remediated", state.message
    assert "its image has no curl" in said(case)
    test = check_of(project)["Test"]
    assert test[:3] == ["CMD", "python3", "-c"]
    project.until(lambda one: one.health == "healthy")
    trials = targets.load(project.system.settings.name).trials
    container = str(project.container().id)
    assert trials.inside(container, argv(test), 60).passed
    assert not trials.apart(container, argv(test), 60).passed
    assert not trials.inside(container, ["sleep", "321"], 0.2).ended
    project.until(lambda one: "sleep 321" not in str(one.top()))
    text = project.texts()[FILE].decode()
    project.add("docker-compose.gone.yml", 'services:\n  app:\n    command: ["sleep", "600"]\n')
    project.up("app")
    project.until(lambda one: one.health == "unhealthy")
    case, state = carry_out(runs, project.system, repair_health_check, watch_seconds=1)
    assert state.name == "Advised", state.message
    assert "does not answer" in said(case)
    assert "is not loosened" in said(case)
    assert project.texts()[FILE].decode() == text


SLOW = """\
    command:
      - sh
      - -c
      - sleep 3; exec uvicorn app.main:app --host 0.0.0.0 --port 8000
"""


def test_times_are_measured(runs: Runs, project: Crashing) -> None:
    """A start of some seconds and a check of more than one, both longer than they may take."""
    begun = time.monotonic()
    checked_by(
        project,
        f'["CMD-SHELL", "sleep 1.3; curl -f {HEALTH}"]',
        more=SLOW,
        timeout=1,
        state="",
    )
    case, state = carry_out(runs, project.system, repair_health_check)
    assert state.name == "Remediated", state.message
    (change,) = case.stages[0].stage.changes
    wording = change.model_dump(mode="json")["wording"]
    longest = time.monotonic() - begun  # each is planned for twice of what it took
    assert 3 <= wording["timeout"] <= 2 * longest + 1
    assert 10 <= wording["start_period"] <= 2 * longest + 5
    lines = project.texts()[FILE].decode().splitlines()
    assert f"      start_period: {wording['start_period']}s # at once" in lines
    assert check_of(project)["Timeout"] == wording["timeout"] * 10**9
    project.until(lambda one: one.health == "healthy")


OTHERS = {
    f'["CMD-SHELL", "curl -f {HEALTH.replace("8000", "8001")} || exit 1"]': (
        "unhealthy",
        f'"new_url": "{HEALTH}"',
    ),
    f'["CMD", "curl", "-f", "{HEALTH.replace("http:", "https:")}"]': (
        "unhealthy",
        f'"new_url": "{HEALTH}"',
    ),
    f'["CMD-SHELL", "curl {HEALTH} || true"]': (
        "healthy",
        "it passes where nothing listens, too",
    ),
    f'["CMD", "curl", "-s", "{HEALTH}z"]': ("healthy", '"-fsS"'),
    f'["CMD", "curl", "-f", "-H", "X-Key: secret-word", "{HEALTH}z"]': (
        "unhealthy",
        f'"new_url": "{HEALTH}"',
    ),
    '["CMD", "no-such-program", "--now"]': ("unhealthy", "its image has no no-such-program"),
}


def test_what_is_wrong_is_told_apart(runs: Runs, project: Crashing) -> None:
    """A port, a scheme, checks that cannot fail; nothing is touched, and no word of them shown."""
    for test, (state, words) in OTHERS.items():
        checked_by(project, test, state=state)
        before = project.texts()
        case, ended = carry_out(
            runs, project.system, repair_health_check, dry_run=True, watch_seconds=5
        )
        assert ended.name in {"Planned", "Advised"}, (test, ended.message)
        assert words in said(case), test
        assert "secret-word" not in said(case)
        assert project.texts() == before


def test_what_is_sound_is_left_alone(runs: Runs, project: Crashing) -> None:
    """One without a check is said; one that is not there is refused."""
    sound = ("app", "Unchanged"), ("db", "Unchanged")
    for service, name in (*sound, ("nginx", "Advised"), ("none", "Refused")):
        _, state = carry_out(runs, project.system, repair_health_check, service=service)
        assert state.name == name, (service, state.message)
