"""rotate_logs on a project whose application writes more than its engine is to keep."""

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from flows.database.rotate_logs import rotate_logs
from flows.help.undo_remediation import undo_remediation
from infra.testbed.compose.project import FILES
from infra.testbed.compose.system import ComposeSystem
from tasks.guardrails.ledger import Ledger
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tests.approving import Approvers, carry_out
from tests.prefect_fixtures import Runs
from tests.users import log_in, under_load
from tests.waiting import until


@pytest.fixture
def planner(fresh_compose: ComposeSystem, home: Path) -> Iterator[ComposeSystem]:
    """Give a project, known as a target; files and container are as before afterwards."""
    assert home
    targets.give(ComposeTarget(**fresh_compose.target_settings()))
    before = texts(fresh_compose)
    yield fresh_compose
    if texts(fresh_compose) != before:
        for name, data in before.items():
            (fresh_compose.folder / name).write_bytes(data)
        fresh_compose.project.run("up", "-d", "--no-build", "--no-deps", "app")
        fresh_compose.up()


def texts(planner: ComposeSystem) -> dict[str, bytes]:
    """Read the compose files."""
    return {name: (planner.folder / name).read_bytes() for name in FILES}


def kept(planner: ComposeSystem) -> int:
    """Add up what lies on the disk of the application's log."""
    log = Path(planner.project.container("app").attrs["LogPath"])
    return sum(one.stat().st_size for one in log.parent.glob(f"{log.name}*"))


def write_log(planner: ComposeSystem) -> None:
    """Write to the output of the application's main process, as that does; until it is kept."""
    end, container = uuid4().hex, planner.project.container("app")
    lines = f"*['x' * 99] * 400, '{end}'"
    write = f"out = open('/proc/1/fd/1', 'w'); print({lines}, sep='\\n', file=out)"
    done = container.exec_run(["python", "-c", write])
    assert done.exit_code == 0, done.output
    until(lambda: end.encode() in container.logs(tail=20))  # the engine reads it from a pipe


def test_a_log_that_grew_for_ever_is_rotated(runs: Runs, planner: ComposeSystem) -> None:
    """Users are served all the time; the undo is byte for byte, and it grows again."""
    before = texts(planner)
    write_log(planner)
    first = kept(planner)
    assert first > 40_000
    with under_load(planner):
        case, state = carry_out(runs, planner, rotate_logs, max_size="10k", max_files=2)
    assert state.name == "Remediated", state.message
    plan = case.stages[0].stage
    assert f"-app ({first / 1e6:.1f} MB): it goes with the container" in plan.effects.lost
    over = texts(planner)[FILES[1]].decode()
    assert '      driver: json-file\n      options:\n        max-size: "10k"\n' in over
    write_log(planner)
    write_log(planner)
    assert 10_000 < kept(planner) < 25_000
    again, state = carry_out(runs, planner, rotate_logs)
    assert state.name == "Advised", state.message
    rest = [one.what for one in again.stages[0].stage.findings if "Nothing rotates" in one.what]
    assert rest, again.stages[0].stage.findings
    assert not [what for what in rest if re.search(r"\bapp\b", what)], rest
    _, state = carry_out(runs, planner, undo_remediation, remediation=case.id)
    assert state.name == "Remediated", state.message
    assert texts(planner) == before
    assert log_in(planner).is_success
    write_log(planner)
    write_log(planner)
    assert kept(planner) > 40_000


def test_what_others_edit_meanwhile_does_not_come_into_force(
    runs: Runs, planner: ComposeSystem
) -> None:
    """A container is made anew from all that the files say: nobody approved the rest."""
    run, state = runs.start(rotate_logs, target=planner.settings.name)
    assert state is None
    before, container = texts(planner), planner.project.container("app").id
    settings = planner.dotenv.read_bytes()
    try:
        planner.dotenv.write_bytes(settings + b"\nENVIRONMENT=meanwhile\n")
        state = Approvers(Ledger()).approve_until_it_ends(runs, run)
        assert state.name == "Refused", state.message
        assert "what the compose files say of app has changed" in str(state.message)
        assert texts(planner) == before
        assert planner.project.container("app").id == container
    finally:
        planner.dotenv.write_bytes(settings)


def test_what_several_services_share_is_not_edited(runs: Runs, planner: ComposeSystem) -> None:
    """Their containers would be made anew by the next `up` as well."""
    base = planner.folder / FILES[0]
    text = base.read_text().replace(
        "services:\n", "x-log: &log\n  driver: json-file\n\nservices:\n", 1
    )
    for service in ("  app:\n", "  db:\n"):
        text = text.replace(service, f"{service}    logging: *log\n", 1)
    base.write_text(text)
    before = texts(planner)
    _, state = carry_out(runs, planner, rotate_logs)
    assert state.name == "Refused", state.message
    assert "it would change services.app.logging.options, services.db.logging.options" in (
        state.message or ""
    )
    assert texts(planner) == before
