"""Each kind of damage breaks what it says, seen from outside; reset makes it good."""

from collections.abc import Iterator

import httpx
import psycopg
import pytest

from infra.sandbox import pristine
from infra.sandbox.accounts import KNOWN_PROGRAM, KNOWN_PROJECT
from infra.sandbox.damage import INDEX, Damage, damage
from infra.sandbox.services import Sandbox
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.sandbox.target import SandboxTarget

PAST_CACHE = {"Cache-Control": "no-cache"}


@pytest.fixture
def client(fresh_sandbox: Sandbox) -> Iterator[httpx.Client]:
    """A client that logged in before the damage."""
    with httpx.Client(
        base_url=f"{fresh_sandbox.url}/api/v1", trust_env=False, timeout=30, headers=PAST_CACHE
    ) as client:
        answer = login(client, fresh_sandbox)
        client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield client


def login(client: httpx.Client, sandbox: Sandbox) -> httpx.Response:
    """Log in as admin."""
    password = sandbox.settings.accounts["admin"]
    return client.post("/auth/login", json={"username": "admin", "password": password})


def test_rows_deleted(client: httpx.Client, fresh_sandbox: Sandbox) -> None:
    """Known projects are not found any more."""
    damage(fresh_sandbox, Damage.ROWS_DELETED)
    assert client.get(f"/projects/{KNOWN_PROJECT}").status_code == 404
    assert client.get("/projects").json()["total"] == 0


def test_table_dropped(client: httpx.Client, fresh_sandbox: Sandbox) -> None:
    """Reads of projects fail, those of programs do not."""
    damage(fresh_sandbox, Damage.TABLE_DROPPED)
    assert client.get("/projects").status_code == 503
    assert client.get("/programs").status_code == 200


def test_index_page(sandbox_target: SandboxTarget, fresh_sandbox: Sandbox) -> None:
    """A scan of the index fails by checksum, for a sequential scan all is well."""
    done = damage(fresh_sandbox, Damage.INDEX_PAGE)
    assert done.detail == f"overwrote page 1 of {INDEX}"
    with sandbox_target.database.connect() as session:
        session.execute("SELECT sum(hours) FROM actuals")
        with pytest.raises(PreconditionFailed, match="invalid page in block 1"):
            session.execute(f"SELECT bt_index_check('{INDEX}', true)")


def test_index_order(sandbox_target: SandboxTarget, fresh_sandbox: Sandbox) -> None:
    """Searches miss rows and nothing says so but amcheck; a rebuild makes it good."""
    damage(fresh_sandbox, Damage.INDEX_ORDER)
    by_project = """SELECT sum(found)::int AS rows FROM projects p, LATERAL
        (SELECT count(*) AS found FROM actuals a WHERE a.project_id = p.id OFFSET 0) counted"""
    with sandbox_target.database.connect() as session:
        session.execute("SET enable_indexscan = off; SET enable_indexonlyscan = off")
        session.execute("SET enable_bitmapscan = off")
        there = session.execute(by_project).fetchone()
        session.execute("SET enable_seqscan = off; SET enable_indexonlyscan = on")
        session.execute("SET enable_indexscan = on")
        found = session.execute(by_project).fetchone()
        assert there == {"rows": 3800}
        assert found is not None
        assert 0 < found["rows"] < 3800
        with pytest.raises(PreconditionFailed, match="item order invariant violated"):
            session.execute(f"SELECT bt_index_check('{INDEX}', true)")
        session.execute(f"REINDEX INDEX {INDEX}")
        session.execute(f"SELECT bt_index_check('{INDEX}', true)")


def test_heap_page(client: httpx.Client, fresh_sandbox: Sandbox) -> None:
    """Reads of the table fail by checksum, from outside with 503."""
    damage(fresh_sandbox, Damage.HEAP_PAGE)
    assert client.get(f"/projects/{KNOWN_PROJECT}").status_code == 503
    with (
        fresh_sandbox.connect() as session,
        pytest.raises(psycopg.errors.DataCorrupted, match="invalid page in block 0"),
    ):
        session.execute("SELECT count(name) FROM projects")


def test_foreign_keys_violated(client: httpx.Client, fresh_sandbox: Sandbox) -> None:
    """There are projects whose program is not there; the constraint says all is well."""
    damage(fresh_sandbox, Damage.FOREIGN_KEYS_VIOLATED)
    projects = client.get("/projects", params={"limit": 50}).json()["items"]
    programs = {project["program_id"] for project in projects}
    answers = {client.get(f"/programs/{program}").status_code for program in programs}
    assert answers == {200, 404}
    with fresh_sandbox.connect() as session:
        row = session.execute(
            "SELECT convalidated FROM pg_constraint WHERE conname = 'projects_program_id_fkey'"
        ).fetchone()
    assert row == (True,)


def test_password_hashes_scrambled(client: httpx.Client, fresh_sandbox: Sandbox) -> None:
    """Nobody logs in; who was logged in stays so."""
    damage(fresh_sandbox, Damage.PASSWORD_HASHES_SCRAMBLED)
    assert login(client, fresh_sandbox).status_code == 401
    assert client.get("/auth/me").status_code == 200


def test_schema_half_migrated(
    client: httpx.Client, sandbox_target: SandboxTarget, fresh_sandbox: Sandbox
) -> None:
    """Reads of programs fail, and so does going on with alembic."""
    damage(fresh_sandbox, Damage.SCHEMA_HALF_MIGRATED)
    assert client.get(f"/programs/{KNOWN_PROGRAM}").status_code == 503
    done = sandbox_target.application.run(["alembic", "upgrade", "head"], {})
    assert done.status == 1
    assert 'column "sponsor" of relation "programs" already exists' in done.errors


@pytest.mark.parametrize("kind", Damage)
def test_reset_makes_every_damage_good(fresh_sandbox: Sandbox, kind: Damage) -> None:
    """After a reset the known rows are read and amcheck finds nothing."""
    damage(fresh_sandbox, kind)
    pristine.reset(fresh_sandbox)
    with fresh_sandbox.connect() as session:
        session.execute("SELECT bt_index_check(%s::regclass, true)", [INDEX])
        counted = session.execute(
            "SELECT (SELECT count(*) FROM projects), (SELECT count(*) FROM programs),"
            " (SELECT count(sponsor) FROM programs), (SELECT count(*) FROM pg_largeobject_metadata)"
        ).fetchone()
    assert counted == (50, 5, 0, 5)
