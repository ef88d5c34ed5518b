"""Requests to a compose project's application, held back for a moment before they reach it."""

import json
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import httpx

from infra.testbed.compose.system import ComposeSystem
from tasks.platforms.compose.target import ComposeTarget
from tests.users import log_in, under_load
from tests.waiting import until

ROOT = Path(__file__).parents[2]
PAUSE = """
import json, sys, time
from contextlib import ExitStack
from tasks.platforms.compose.target import ComposeTarget
target = ComposeTarget(**json.load(sys.stdin))
with ExitStack() as paused:
    # On a slow machine a request may be longer than is waited for.
    while not paused.enter_context(target.application.pause(3)):
        pass
    print(True, flush=True)
    time.sleep(600)
"""


def sessions_of_users(system: ComposeSystem, *, waiting: bool = False) -> int:
    """Count the transactions that the application has open, or those that wait for a lock."""
    with system.connect("postgres") as session:
        row = session.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = %s AND xact_start IS NOT NULL"
            " AND (wait_event_type = 'Lock' OR NOT %s)",
            (system.settings.application_user, waiting),
        ).fetchone()
    return int(row[0]) if row else -1


def gates(target: ComposeTarget) -> list[str]:
    """Name the gates that there are before the project's application."""
    wanted = {"remedy.target": f"{target.project_name}/compose", "remedy.gates": ""}
    return [one.name for one in target.engine.containers(wanted)]


def test_requests_wait_and_none_fails(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """Meanwhile no transaction is open; nginx's file is the same afterwards."""
    file = fresh_compose.folder / "nginx" / "nginx.conf"
    text, answers = file.read_text(), []
    user = threading.Thread(target=lambda: answers.append(log_in(fresh_compose)))
    with under_load(fresh_compose):
        with ExitStack() as paused:
            # On a slow machine a request may be longer than is waited for.
            until(lambda: paused.enter_context(compose_target.application.pause(60)))
            user.start()
            user.join(2)
            assert answers == []
            assert sessions_of_users(fresh_compose) == 0
        user.join(60)
    assert answers[0].is_success
    assert file.read_text() == text
    assert gates(compose_target) == []


def test_a_pause_whose_process_is_killed_ends_by_itself(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """Users are served through the gate that is left, and its successor removes that."""
    file = fresh_compose.folder / "nginx" / "nginx.conf"
    text = file.read_text()
    with subprocess.Popen(
        [sys.executable, "-c", PAUSE], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as caller:
        assert caller.stdin is not None
        assert caller.stdout is not None
        caller.stdin.write(json.dumps(fresh_compose.target_settings()).encode())
        caller.stdin.close()
        assert caller.stdout.readline() == b"True\n"
        caller.kill()
    assert file.read_text() != text
    assert log_in(fresh_compose).is_success
    (left,) = gates(compose_target)
    assert compose_target.end_older(1) == [f"container {left} of token 0"]
    assert gates(compose_target) == []
    assert file.read_text() == text
    assert log_in(fresh_compose).is_success


def test_a_request_that_does_not_end_is_not_waited_for(
    compose_target: ComposeTarget, fresh_compose: ComposeSystem
) -> None:
    """Requests go on as ever then, the long one too; no gate is left."""
    with fresh_compose.connect() as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE programs IN ACCESS EXCLUSIVE MODE")
        token = log_in(fresh_compose).json()["access_token"]
        answers: list[httpx.Response] = []

        def ask() -> None:
            answers.append(
                httpx.get(
                    f"{fresh_compose.url}/api/v1/programs",
                    headers={"Authorization": f"Bearer {token}"},
                    trust_env=False,
                    timeout=60,
                )
            )

        file = fresh_compose.folder / "nginx" / "nginx.conf"
        text = file.read_text()

        def release() -> None:
            # Once it was waited for: nginx is led to the gate, and to the application again.
            until(lambda: file.read_text() != text)
            until(lambda: file.read_text() == text)
            holder.rollback()

        user = threading.Thread(target=ask)
        user.start()
        until(lambda: sessions_of_users(fresh_compose, waiting=True) > 0)
        releases = threading.Thread(target=release)
        releases.start()
        with compose_target.application.pause(30) as held:
            assert not held
        releases.join()
        user.join(60)
    assert answers[0].is_success
    assert gates(compose_target) == []
