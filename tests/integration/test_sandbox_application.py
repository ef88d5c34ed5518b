"""The sandbox's application, asked over HTTP as its users ask."""

import uuid
from collections.abc import Iterator

import httpx
import pytest

from infra.sandbox.accounts import KNOWN_PROGRAM, KNOWN_PROJECT
from infra.sandbox.services import Sandbox


@pytest.fixture
def client(fresh_sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A client that is logged in as admin."""
    with httpx.Client(
        base_url=f"{fresh_sandbox.url}/api/v1", trust_env=False, timeout=30
    ) as client:
        password = fresh_sandbox.settings.accounts["admin"]
        answer = client.post("/auth/login", json={"username": "admin", "password": password})
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield client


def test_login_tells_tokens_roles_and_scopes(client: httpx.Client, fresh_sandbox: Sandbox) -> None:
    """Roles are in lower case in the API; the refresh token gives a new access token."""
    password = fresh_sandbox.settings.accounts["remedy-probe"]
    answer = client.post("/auth/login", json={"username": "remedy-probe", "password": password})
    said = answer.json()
    assert said["active_roles"] == ["admin"]
    assert [scope["scope_type"] for scope in said["available_scopes"]] == ["global"]
    renewed = client.post("/auth/refresh", json={"refresh_token": said["refresh_token"]})
    assert renewed.status_code == 200
    wrong_kind = client.post("/auth/refresh", json={"refresh_token": said["access_token"]})
    assert wrong_kind.status_code == 401


@pytest.mark.parametrize("username", ["admin", "nobody", "user10"])
def test_a_refused_login_does_not_tell_why(client: httpx.Client, username: str) -> None:
    """Wrong password, unknown and inactive user alike answer 401 with the same words."""
    answer = client.post("/auth/login", json={"username": username, "password": "wrong"})
    assert answer.status_code == 401
    assert answer.json() == {"detail": "Incorrect username or password"}


def test_a_user_without_active_role_is_told_so(
    client: httpx.Client, fresh_sandbox: Sandbox
) -> None:
    """403 where no role is active."""
    with fresh_sandbox.connect() as session:
        session.execute("UPDATE user_roles SET is_active = false")
    password = fresh_sandbox.settings.accounts["admin"]
    answer = client.post("/auth/login", json={"username": "admin", "password": password})
    assert (answer.status_code, answer.json()) == (403, {"detail": "User has no active roles"})


def test_programs_are_made_changed_and_deleted(client: httpx.Client) -> None:
    """The life of a program; a change on an old version is refused."""
    made = client.post("/programs", json={"name": "New"})
    assert (made.status_code, made.json()["version"]) == (201, 1)
    path = f"/programs/{made.json()['id']}"
    changed = client.put(path, json={"name": "Changed", "version": 1})
    assert (changed.status_code, changed.json()["version"]) == (200, 2)
    late = client.put(path, json={"name": "Late", "version": 1})
    assert late.status_code == 409
    assert client.get(path).json()["name"] == "Changed"
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


def test_projects_belong_to_programs(client: httpx.Client) -> None:
    """A project of no program is refused by the database, and pages have bounds."""
    orphan = {"program_id": str(uuid.uuid4()), "name": "Orphan"}
    assert client.post("/projects", json=orphan).status_code == 409
    page = client.get("/projects", params={"limit": 2, "skip": 1}).json()
    assert (len(page["items"]), page["total"]) == (2, 50)
    assert client.get("/projects", params={"limit": 501}).status_code == 422


def test_reads_come_from_the_cache_unless_asked_past_it(
    client: httpx.Client, fresh_sandbox: Sandbox
) -> None:
    """A change behind the application's back is seen with `Cache-Control: no-cache` only."""
    path = f"/programs/{KNOWN_PROGRAM}"
    assert client.get(path).json()["name"] == "Program 1"
    with fresh_sandbox.connect() as session:
        session.execute("UPDATE programs SET name = 'Behind' WHERE id = %s", [KNOWN_PROGRAM])
    assert client.get(path).json()["name"] == "Program 1"
    past = client.get(path, headers={"Cache-Control": "no-cache"})
    assert past.json()["name"] == "Behind"


def test_reports_are_numbered_and_queued(client: httpx.Client, fresh_sandbox: Sandbox) -> None:
    """Numbers come from the sequence, jobs lie in the queue."""
    answers = [client.post(f"/projects/{KNOWN_PROJECT}/reports").json() for _ in range(2)]
    assert answers[1]["number"] == answers[0]["number"] + 1
    with fresh_sandbox.cache() as cache:
        assert cache.llen("planner:queue:reports") == 2


def test_health_proves_nothing(fresh_sandbox: Sandbox) -> None:
    """Without a database, /health answers 200 and everything that needs it 503."""
    fresh_sandbox.kill("postgresql")
    health = httpx.get(f"{fresh_sandbox.url}/health", trust_env=False, timeout=30)
    assert health.json() == {"status": "healthy"}
    login = httpx.post(
        f"{fresh_sandbox.url}/api/v1/auth/login",
        json={"username": "admin", "password": "x"},
        trust_env=False,
        timeout=30,
    )
    assert (login.status_code, login.json()) == (503, {"detail": "Database unavailable"})


def test_without_its_cache_the_application_still_reads(
    client: httpx.Client, fresh_sandbox: Sandbox
) -> None:
    """The cache is an aid, not a need; queueing needs it."""
    fresh_sandbox.kill("valkey")
    assert client.get(f"/programs/{KNOWN_PROGRAM}").status_code == 200
    assert client.post(f"/projects/{KNOWN_PROJECT}/reports").status_code == 503
