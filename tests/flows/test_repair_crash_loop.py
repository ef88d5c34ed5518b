"""repair_crash_loop on an application and services that are broken for real."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.models.containers import Container

from flows.docker.repair_crash_loop import repair_crash_loop
from flows.help.undo_remediation import undo_remediation
from infra.testbed.compose.system import ComposeSystem
from tasks.guardrails import faults
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.platforms import targets
from tests.approving import Approvers, carry_out
from tests.crashing import Crashing, crashing, ends_again
from tests.prefect_fixtures import Runs
from tests.users import log_in

HEALTHY = "health_status: healthy"
BAD_PORT = "POSTGRES_PORT", "no-port-at-all"


# With several workers uvicorn itself stays up whatever becomes of them.
ONE_PROCESS = """\
services:
  app:
    command: ["uvicorn", "app.main:app", "--host", "0.0.0.0", "--port", "8000"]
"""


@pytest.fixture
def project(fresh_compose: ComposeSystem, home: Path) -> Iterator[Crashing]:
    """A fresh project, known as a target."""
    assert home
    with crashing(fresh_compose) as found:
        yield found


@pytest.fixture
def single(project: Crashing) -> Crashing:
    """The project with an application that ends as its only process does."""
    project.add("docker-compose.single.yml", ONE_PROCESS)
    project.up("app")
    project.until(lambda one: one.health == "healthy")
    return project


def said(case: Case) -> str:
    """Give all that a case's first stage says, as one text."""
    return json.dumps([stage.stage.model_dump(mode="json") for stage in case.stages])


def break_settings(project: Crashing) -> None:
    """Have the application made with a setting that it refuses."""
    project.set(*BAD_PORT)
    project.up("app")
    project.until(ends_again if project.more else workers_end)


def workers_end(container: Container) -> bool:
    """Say whether workers of the application have ended, in a container that stays up."""
    return b"validation error" in container.logs()


def test_settings_that_worked_come_back(runs: Runs, single: Crashing) -> None:
    """They are remembered while it is sound; the undo is byte for byte; no value is shown."""
    project = single
    sound = project.texts()
    _, state = carry_out(runs, project.system, repair_crash_loop, watch_seconds=1, remember=True)
    assert state.name == "Remediated", state.message
    assert project.texts() == sound
    break_settings(project)
    broken = project.texts()
    case, state = carry_out(runs, project.system, repair_crash_loop)
    assert state.name == "Remediated", state.message
    assert project.texts() == sound
    assert log_in(project.system).is_success
    project.until(lambda one: one.health == "healthy")
    assert "Its settings are refused: POSTGRES_PORT (int_parsing)." in said(case)
    for secret in (BAD_PORT[1], project.system.settings.application_password):
        assert secret not in said(case)
    _, undone = carry_out(runs, project.system, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert project.texts() == broken
    project.until(ends_again)
    assert sorted(one.name for one in project.system.secrets.iterdir()) == ["sound-app.json"]


def test_a_repair_that_fails_is_taken_back(
    runs: Runs, single: Crashing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broken settings are back, as nothing else is known to be wanted."""
    project = single
    carry_out(runs, project.system, repair_crash_loop, watch_seconds=1, remember=True)
    break_settings(project)
    broken = project.texts()
    monkeypatch.setenv(faults.VARIABLE, "FAIL=after-apply:containers.settings_back")
    _, state = carry_out(runs, project.system, repair_crash_loop)
    assert state.name == "Undone", state.message
    assert project.texts() == broken


def test_what_somebody_mended_meanwhile_stays(runs: Runs, single: Crashing) -> None:
    """Between plan and approval the file was edited: nothing is written over it."""
    project = single
    carry_out(runs, project.system, repair_crash_loop, watch_seconds=1, remember=True)
    break_settings(project)
    run, state = runs.start(repair_crash_loop, target=project.system.settings.name)
    assert state is None
    project.set("POSTGRES_PORT", "05432")
    mended = project.texts()
    state = Approvers(Ledger()).approve_until_it_ends(runs, run)
    assert state.name == "Refused", state.message
    assert "edited the settings meanwhile" in str(state.message)
    assert project.texts() == mended


def test_without_a_record_it_is_explained(runs: Runs, project: Crashing) -> None:
    """The variable is named with what to run; nothing is touched."""
    break_settings(project)
    broken, made = project.texts(), project.container().id
    case, state = carry_out(runs, project.system, repair_crash_loop)
    assert state.name == "Advised", state.message
    assert "POSTGRES_PORT" in said(case)
    assert "Set it in `.env`" in said(case)
    assert (project.texts(), project.container().id) == (broken, made)
    project.set("POSTGRES_PORT", "5432")  # mended in the file, and not taken up
    _, state = carry_out(runs, project.system, repair_crash_loop)
    assert state.name == "Remediated", state.message
    assert log_in(project.system).is_success


def test_the_image_that_was_healthy_comes_back(runs: Runs, single: Crashing) -> None:
    """It lost its name to one that lacks a module; it was remembered while it worked."""
    project = single
    name = f"{project.system.project.name}-image:1"
    good = project.build(name, "RUN touch /sound")
    project.edit("docker-compose.prod.yml", "planner-app:production", f"{name}  # ours")
    project.up("app")
    # The engine forgets soon, as others are at work on it.
    containers = targets.load(project.system.settings.name).containers
    project.until(
        lambda _: (HEALTHY, good) in {(one.what, one.image) for one in containers.events("app")}
    )
    carry_out(runs, project.system, repair_crash_loop, watch_seconds=1, remember=True)
    bad = project.build(name, "RUN rm -r /opt/site/redis")
    project.up("app")
    project.until(ends_again)
    broken = project.texts()
    case, state = carry_out(runs, project.system, repair_crash_loop)
    assert state.name == "Remediated", state.message
    assert "Its image lacks the Python module redis." in said(case)
    assert "recorded it on" in said(case)
    assert project.image_of() == good
    assert log_in(project.system).is_success
    pinned = f"{name.removesuffix(':1')}:worked-{case.id}"
    changed = {one for one, data in project.texts().items() if data != broken[one]}
    assert changed == {"docker-compose.prod.yml"}
    text = project.texts()["docker-compose.prod.yml"].decode()
    assert f"    image: {pinned} # ours\n" in text.replace("  # ours", " # ours")
    _, undone = carry_out(runs, project.system, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert project.texts() == broken
    assert project.image_of() == bad
    assert (project.image(pinned), project.image(good)) == ("", good)
    project.client.images.remove(good)


SERVICES = """\
x-small: &small
  image: planner-app:production
  restart: always
  stop_grace_period: 0s
  healthcheck: {disable: true}
services:
  hungry:
    <<: *small
    command: ["sh", "-c", "python -c 'held = bytearray(100_000_000)'; sleep 0.5; exit 3"]
    mem_limit: 48M
    memswap_limit: 48M
  lost:
    <<: *small
    command: ["no-such-program"]
  taken:
    <<: *small
    ports: ["${NGINX_PORT}:80"]
  ends:
    <<: *small
    command: ["true"]
  needy:
    <<: *small
    depends_on: {ends: {condition: service_started}}
    command: ["sh", "-c", "echo 'ConnectionRefusedError: [Errno 111]'; exit 1"]
"""
WHY = {
    "hungry": ("for want of memory", "remedy run raise-memory-limit"),
    "lost": ("there is no such program in its image", "docker logs"),
    "taken": ("-nginx (service nginx)", "publish another port"),
    "ends": ("Its command ends by itself", "docker logs"),
    "needy": ("It depends on ends, which is not well", "service=ends"),
}


def test_what_cannot_be_repaired_is_explained(runs: Runs, project: Crashing) -> None:
    """Of each service the reason, with evidence, and what to run; nothing is touched."""
    project.add("docker-compose.more.yml", SERVICES)
    # The hungry one last: the engine soon forgets what it was ended for.
    for service in reversed(WHY):
        project.up(service, fails=service in {"lost", "taken"})
    for service in ("needy", "ends", "hungry"):
        project.until(ends_again, service)
    before = project.texts()
    for service, (why, todo) in WHY.items():
        case, state = carry_out(runs, project.system, repair_crash_loop, service=service)
        assert state.name == "Advised", (service, state.message)
        assert why in said(case), service
        assert todo in said(case), service
    assert project.texts() == before


def test_a_sound_service_is_left_alone(runs: Runs, project: Crashing) -> None:
    """Each of the project's own; one that is not there is refused."""
    for service in ("app", "db"):
        _, state = carry_out(
            runs, project.system, repair_crash_loop, service=service, watch_seconds=1
        )
        assert state.name == "Unchanged", state.message
    _, state = carry_out(runs, project.system, repair_crash_loop, service="none")
    assert state.name == "Refused", state.message
    assert "app, db, nginx, redis" in (state.message or "")
