"""carry_over_rows on a system that was restored while users had written since the backup."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import psycopg
import pytest
from prefect.client.schemas.objects import State

from flows.database.back_up_database import back_up_database
from flows.database.carry_over_rows import carry_over_rows
from flows.database.drop_kept_databases import drop_kept_databases
from flows.database.restore_from_backup import restore_from_backup
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.load import USER, Load
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from tasks.database.carry.carry_over import CarryRowsOver
from tasks.database.carry.findings import find_door, find_later_rows, read_sides
from tasks.database.carry.marks import KIND
from tasks.database.copies.opening import OpenKeptDatabase
from tasks.database.restore.restored import find_restored
from tasks.guardrails import faults, render
from tasks.guardrails.case import Case
from tasks.guardrails.errors import RemediationError
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Standing, Work
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import Approvers, carry_out
from tests.faults.scenarios import write_later
from tests.prefect_fixtures import Runs
from tests.snapshots import snapshot

ID = "abcdefghij"


@contextmanager
def logged_in(sandbox: Planner, name: str = "admin") -> Iterator[httpx.Client]:
    """Give a client of the application that is logged in and reads past the cache."""
    with httpx.Client(base_url=f"{sandbox.url}/api/v1", timeout=20, trust_env=False) as client:
        body = {"username": name, "password": sandbox.settings.accounts[name]}
        token = client.post("/auth/login", json=body).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def create(client: httpx.Client, what: str, **fields: object) -> dict[str, Any]:
    """Create a record as a user does."""
    answer = client.post(f"/{what}", json=fields)
    assert answer.status_code == httpx.codes.CREATED, answer.text
    return dict(answer.json())


def change(client: httpx.Client, path: str, **fields: object) -> dict[str, Any]:
    """Change a record as a user does, who has read it before."""
    now = client.get(path, headers={"Cache-Control": "no-cache"}).json()
    kept = {key: now[key] for key in ("name", "program_id", "version") if key in now}
    answer = client.put(path, json={**kept, **fields})
    assert answer.is_success, answer.text
    return dict(answer.json())


def restored(runs: Runs, sandbox: Planner, **parameters: object) -> Case:
    """Restore the newest backup."""
    case, state = carry_out(runs, sandbox, restore_from_backup, **parameters)
    assert state.name == "Remediated", state.message
    return case


def back_up(runs: Runs, sandbox: Planner) -> None:
    """Take a backup."""
    _, state = carry_out(runs, sandbox, back_up_database)
    assert state.name == "Remediated", state.message


def undo(runs: Runs, sandbox: Planner, case: Case) -> tuple[Case, State[Any]]:
    """Take a remediation back."""
    return carry_out(runs, sandbox, undo_remediation, remediation=case.id)


def doors(sandbox: Planner) -> list[tuple[str, bool, str]]:
    """Read of each database whether it lets sessions in, and who may connect."""
    with sandbox.connect("postgres") as session:
        return session.execute(
            "SELECT datname, datallowconn, (SELECT string_agg(a::text, ',' ORDER BY a::text) "
            "FROM aclexplode(coalesce(datacl, acldefault('d', datdba))) a) "
            "FROM pg_database WHERE datname LIKE 'planner%' ORDER BY 1"
        ).fetchall()


def listed(case: Case) -> dict[tuple[str, str], str]:
    """Read the rows that are listed for a person: table and key -> why."""
    stage = case.stages[1].stage
    tables = [one for one in stage.findings if one.columns == ("table", "primary key", "why not")]
    return {(row[0], row[1].strip("()")): row[2] for one in tables for row in one.rows}


def counts(case: Case) -> dict[str, tuple[str, ...]]:
    """Read the counts that an approver sees, by table."""
    return {row[0]: row[1:] for row in case.stages[1].stage.findings[0].rows}


@pytest.mark.parametrize("limited", [False, True])
def test_rows_are_back_for_users_under_load(runs: Runs, sandbox: Sandbox, limited: bool) -> None:
    """What users wrote after the backup is read by them again, and no request fails."""
    targets.give(SandboxTarget(**sandbox.target_settings(limited=limited)))
    with logged_in(sandbox) as client:
        old = create(client, "programs", name="Old")
        back_up(runs, sandbox)
        program = create(client, "programs", name="Later", description="tab\t, \\ and 'quotes'")
        project = create(client, "projects", program_id=program["id"], name="P", budget="12.50")
        changed = change(client, f"/programs/{old['id']}", name="Renamed", sponsor="somebody")
        restore = restored(runs, sandbox)
        (offer,) = [one for one in restore.stages[1].stage.notes if "carry-over-rows" in one]
        assert "rows written after the backup" in offer
        paths = (f"/programs/{program['id']}", f"/projects/{project['id']}")
        assert [client.get(path).status_code for path in paths] == [404, 404]
        assert client.get(f"/programs/{old['id']}").json()["name"] == "Old"  # it is cached now
        before = doors(sandbox)
        load = Load(sandbox.url, sandbox.settings.accounts[USER], rate=10)
        load.start()
        try:
            case, state = carry_out(runs, sandbox, carry_over_rows)
        finally:
            seen = load.stop()
        assert state.name == "Remediated", state.message
        assert (seen.failed, seen.missing) == (0, [])
        assert client.get(paths[0]).json() == program
        assert client.get(paths[1]).json() == project
        assert client.get(f"/programs/{old['id']}").json() == changed
    assert doors(sandbox) == before
    assert counts(case)["public.programs"][:2] == ("1", "1")
    assert listed(case) == {}
    (proof,) = [one for one in case.of_kind("checked") if "carried" in one.facts["title"]][1:]
    assert proof.facts["verdict"] == "held"


def test_undo_is_exact(runs: Runs, planner: Planner) -> None:
    """All rows are as they were before, users see so, and the kept database is closed."""
    back_up(runs, planner)
    with logged_in(planner) as client:
        program = create(client, "programs", name="Later")
        create(client, "projects", program_id=program["id"], name="P")
        with planner.connect() as session:
            row = session.execute("SELECT id::text FROM projects WHERE name = 'Project 3'")
            project = f"/projects/{(row.fetchone() or ('',))[0]}"
        change(client, project, program_id=program["id"], name="Moved")
        restored(runs, planner)
        original, closed = snapshot(planner), doors(planner)
        case, state = carry_out(runs, planner, carry_over_rows)
        assert state.name == "Remediated", state.message
        assert client.get(project).json()["name"] == "Moved"
        assert snapshot(planner) != original
        undone, state = undo(runs, planner, case)
        assert state.name == "Remediated", state.message
        assert client.get(project).json()["name"] == "Project 3"
    assert snapshot(planner) == original
    assert doors(planner) == closed
    notes = " ".join(entry.facts["note"] for entry in undone.of_kind("done"))
    assert "deleted again, 1 as before" in notes
    assert "left" not in notes
    again, state = carry_out(runs, planner, carry_over_rows)
    assert state.name == "Remediated", state.message
    assert counts(again) == counts(case)


def test_the_restore_is_undone_after_it_only(runs: Runs, sandbox: Sandbox) -> None:
    """The undo of the restore names this one first, and leaves no journal in live afterwards."""
    back_up(runs, sandbox)
    with logged_in(sandbox) as client:
        create(client, "programs", name="Later")
    original = snapshot(sandbox)
    restore = restored(runs, sandbox)
    case, state = carry_out(runs, sandbox, carry_over_rows)
    assert state.name == "Remediated", state.message
    _, state = undo(runs, sandbox, restore)
    assert state.name == "Refused"
    assert case.id in (state.message or "")
    for one in (case, restore):
        _, state = undo(runs, sandbox, one)
        assert state.name == "Remediated", state.message
    assert snapshot(sandbox) == original


def test_conflicts_and_misfits_are_listed_and_left(runs: Runs, sandbox: Sandbox) -> None:
    """What would overwrite something newer, or breaks a constraint, is named and not written."""
    with logged_in(sandbox) as client:
        both = create(client, "programs", name="Both")
        gone = create(client, "programs", name="Gone")
        back_up(runs, sandbox)
        change(client, f"/programs/{both['id']}", name="Here")
        orphan = create(client, "projects", program_id=gone["id"], name="Orphan")
        with sandbox.connect() as session:
            session.execute("UPDATE workers SET name = 'by hand' WHERE external_id = 'W2'")
            for name, number in (("twice", 7), ("fits", 8)):
                session.execute(
                    "INSERT INTO workers (id, external_id, name, created_at, updated_at) VALUES "
                    "(md5(%s)::uuid, %s, 'later', now(), now())",
                    (name, f"X{number}"),
                )
        restored(runs, sandbox)
        change(client, f"/programs/{both['id']}", name="There")
        assert client.delete(f"/programs/{gone['id']}").is_success
        with sandbox.connect() as session:
            session.execute(
                "INSERT INTO workers (id, external_id, name, created_at, updated_at) VALUES "
                "(md5('other')::uuid, 'X7', 'secret name', now(), now())"
            )
        case, state = carry_out(runs, sandbox, carry_over_rows)
        assert state.name == "Remediated", state.message
        assert client.get(f"/programs/{both['id']}").json()["name"] == "There"
        assert client.get(f"/programs/{gone['id']}").status_code == httpx.codes.NOT_FOUND
        assert client.get(f"/projects/{orphan['id']}").status_code == httpx.codes.NOT_FOUND
    with sandbox.connect() as session:
        rows = session.execute(
            "SELECT name, id::text FROM workers WHERE external_id IN ('W2', 'X7', 'X8') "
            "OR id = md5('twice')::uuid ORDER BY external_id"
        ).fetchall()
        ids = dict(
            session.execute("SELECT w, md5(w)::uuid::text FROM unnest(ARRAY['twice']) w").fetchall()
        )
    assert [name for name, _ in rows] == ["Worker 2", "secret name", "later"]
    why = listed(case)
    assert "changed in both" in why["public.programs", both["id"]]
    assert "deleted there since" in why["public.programs", gone["id"]]
    assert "points at is in neither" in why["public.projects", orphan["id"]]
    assert "workers_external_id_key" in why["public.workers", ids["twice"]]
    assert "not later" in why["public.workers", rows[0][1]]
    told = "".join(str(entry.facts) for entry in case.entries)
    assert "secret name" not in told
    assert "by hand" not in told


def test_a_trigger_that_refuses_a_row_keeps_no_other_out(runs: Runs, sandbox: Sandbox) -> None:
    """The row is found by trying, and named without its values; the others are carried over."""
    back_up(runs, sandbox)
    with logged_in(sandbox) as client:
        wanted, refused = (create(client, "programs", name=name) for name in ("A", "Forbidden"))
        restored(runs, sandbox)
        with sandbox.connect() as session:
            session.execute(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.name "
                "= 'Forbidden' THEN RAISE 'no %', NEW.name; END IF; RETURN NEW; END $$"
            )
            session.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON programs "
                "FOR EACH ROW EXECUTE FUNCTION refuse()"
            )
        case, state = carry_out(runs, sandbox, carry_over_rows)
        assert state.name == "Remediated", state.message
        assert client.get(f"/programs/{wanted['id']}").json() == wanted
        assert client.get(f"/programs/{refused['id']}").status_code == httpx.codes.NOT_FOUND
    notes = " ".join(entry.facts["note"] for entry in case.of_kind("done"))
    assert refused["id"] in notes
    assert "P0001" in notes
    assert "Forbidden" not in notes


def test_what_triggers_wrote_stays_and_the_plan_says_so(runs: Runs, sandbox: Sandbox) -> None:
    """They are named, and fire again for the undo: rows go, what triggers wrote does not."""
    back_up(runs, sandbox)
    with logged_in(sandbox) as client:
        create(client, "programs", name="Later")
    restored(runs, sandbox)
    with sandbox.connect() as session:
        session.execute(
            """SET ROLE planner;
            CREATE TABLE audited (what text);
            CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
              INSERT INTO audited VALUES (TG_OP || ' ' || coalesce(NEW.name, OLD.name));
              RETURN NULL; END $$;
            CREATE TRIGGER audit AFTER INSERT OR DELETE ON programs
              FOR EACH ROW EXECUTE FUNCTION audit();
            CREATE TRIGGER asleep AFTER INSERT ON programs
              FOR EACH ROW EXECUTE FUNCTION audit();
            ALTER TABLE programs DISABLE TRIGGER asleep;
            RESET ROLE"""
        )

    def audited() -> list[str]:
        with sandbox.connect() as session:  # the probe account's rows come and go as well
            rows = session.execute("SELECT what FROM audited WHERE what LIKE '% Later' ORDER BY 1")
            return [what for (what,) in rows]

    case, state = carry_out(runs, sandbox, carry_over_rows)
    assert state.name == "Remediated", state.message
    stage = case.stages[1].stage
    (told,) = [one for one in stage.notes if "triggers" in one]
    assert told.endswith("not taken back: public.programs.audit")
    head = render.plan(case, case.stages[1]).split("## What will be done")[0]
    assert " UTC, but not what triggers wrote" in head
    assert audited() == ["INSERT Later"]
    _, state = undo(runs, sandbox, case)
    assert state.name == "Remediated", state.message
    assert audited() == ["DELETE Later", "INSERT Later"]


def test_many_rows_are_not_tried_for_ever(
    runs: Runs, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where they are not found in time users' rows are let go, and nothing is carried over."""
    back_up(runs, sandbox)
    with logged_in(sandbox) as client:
        create(client, "programs", name="Forbidden")
    restored(runs, sandbox)
    with sandbox.connect() as session:
        session.execute(
            "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "RAISE 'no %', NEW.name; END $$"
        )
        session.execute(
            "CREATE TRIGGER refuse BEFORE INSERT ON programs FOR EACH ROW EXECUTE FUNCTION refuse()"
        )
    # Over at the first look, on whatever machine.
    monkeypatch.setattr("tasks.database.carry.trial._LONGEST_SECONDS", 1e-9)
    before = snapshot(sandbox)
    case, state = carry_out(runs, sandbox, carry_over_rows)
    assert state.name == "Undone", state.message
    assert "too many rows are refused" in (state.message or "")
    assert snapshot(sandbox) == before
    assert "Forbidden" not in "".join(str(entry.facts) for entry in case.entries)


def test_what_a_user_changed_since_stays_in_an_undo(runs: Runs, sandbox: Planner) -> None:
    """It is left as the user wrote it, with what it hangs on, and the undo names it."""
    back_up(runs, sandbox)
    with logged_in(sandbox) as client:
        kept, child, parent = (create(client, "programs", name=name) for name in "ABC")
        restored(runs, sandbox)
        case, state = carry_out(runs, sandbox, carry_over_rows)
        assert state.name == "Remediated", state.message
        change(client, f"/programs/{kept['id']}", name="Mine")
        create(client, "projects", program_id=parent["id"], name="Mine too")
        undone, state = undo(runs, sandbox, case)
        assert state.name == "Remediated", state.message
        read = {one["id"]: client.get(f"/programs/{one['id']}") for one in (kept, child, parent)}
    assert [answer.status_code for answer in read.values()] == [200, 404, 200]
    assert read[kept["id"]].json()["name"] == "Mine"
    notes = " ".join(entry.facts["note"] for entry in undone.of_kind("done"))
    assert f"{kept['id']}): changed or deleted since" in notes
    assert f"{parent['id']}): something points at it" in notes


def test_nothing_later_leaves_all_as_it_was(runs: Runs, sandbox: Sandbox) -> None:
    """Nobody is asked, no row is written, and the kept database is closed again."""
    back_up(runs, sandbox)
    restored(runs, sandbox)
    with sandbox.connect() as session:
        session.execute("DELETE FROM audit_logs WHERE created_at > '2026-01-01'")
    before, closed = snapshot(sandbox), doors(sandbox)
    run, state = runs.start(carry_over_rows, target=sandbox.settings.name)
    case = Case.read(Ledger(), runs.id_of(run))
    if state is None:  # the restore's own log-ins are in the audit log
        assert set(counts(case)) == {"public.audit_logs"}
        state = Approvers(Ledger()).approve_until_it_ends(runs, run)
    assert state.name == "Remediated", state.message
    assert snapshot(sandbox) == before
    assert doors(sandbox) == closed


def test_a_refusal_closes_the_kept_database(runs: Runs, sandbox: Sandbox) -> None:
    """While it is open the application's role is kept out; refused, all is as it was."""
    back_up(runs, sandbox)
    with logged_in(sandbox) as client:
        create(client, "programs", name="Later")
    restored(runs, sandbox)
    before, closed = snapshot(sandbox), doors(sandbox)
    run, state = runs.start(carry_over_rows, target=sandbox.settings.name)
    assert state is None
    (kept,) = [name for name, is_open, _ in doors(sandbox) if is_open and "before" in name]
    settings = sandbox.settings
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(
            host="127.0.0.1",
            port=settings.ports["postgresql"],
            dbname=kept,
            user=settings.application_user,
            password=settings.application_password,
        )
    state = Approvers(Ledger()).refuse(runs, run)
    assert state.name == "Refused", state.message
    assert (snapshot(sandbox), doors(sandbox)) == (before, closed)


HOSTILE = 'ta"ble; -- %s {}'


def test_every_type_and_name_is_carried(runs: Runs, sandbox: Sandbox) -> None:
    """Arrays, documents, bytes, enums, generated columns, identities, circles, odd names."""
    odd = HOSTILE.replace('"', '""').replace("%", "%%")
    with sandbox.connect() as session:
        session.execute(
            f"""SET ROLE {sandbox.settings.application_user};
            CREATE SCHEMA "s.x";
            CREATE TYPE "s.x"."mo'od" AS ENUM ('so so', 'fi"ne');
            CREATE TABLE "s.x"."{odd}" (
              "k'ey" int GENERATED ALWAYS AS IDENTITY, "s p" text, b bytea, a text[], j jsonb,
              m "s.x"."mo'od", n numeric, f float8, t timestamptz,
              g int GENERATED ALWAYS AS ("k'ey" * 2) STORED, up int,
              PRIMARY KEY ("k'ey", "s p"), UNIQUE ("k'ey"));
            ALTER TABLE "s.x"."{odd}" ADD FOREIGN KEY (up) REFERENCES "s.x"."{odd}" ("k'ey");
            CREATE UNIQUE INDEX "i%%x" ON "s.x"."{odd}" (lower("s p")) WHERE "s p" LIKE 'u%%';
            RESET ROLE""".replace("%%", "%")
        )
    back_up(runs, sandbox)
    name = f'"s.x"."{odd}"'.replace("%%", "%")
    with sandbox.connect() as session:
        session.execute(
            f"""INSERT INTO {name} ("s p", b, a, j, m, n, f, t) VALUES
              ('u1', '\\x00ff', ARRAY['a,b', NULL, '"'], '{{"a": [1.0, "ü"]}}', 'fi"ne', 'NaN',
               'Infinity', 'infinity'),
              (E'tab\t\\\\N\n', '', '{{}}', 'null', NULL, 1.10, 0.1, now());
            UPDATE {name} SET up = 2 WHERE "k'ey" = 1; UPDATE {name} SET up = 1 WHERE "k'ey" = 2"""
        )
        rows = session.execute(f"SELECT t::text FROM {name} t ORDER BY 1").fetchall()
    restored(runs, sandbox)
    before = snapshot(sandbox)
    case, state = carry_out(runs, sandbox, carry_over_rows)
    assert state.name == "Remediated", state.message
    with sandbox.connect() as session:
        assert session.execute(f"SELECT t::text FROM {name} t ORDER BY 1").fetchall() == rows
    _, state = undo(runs, sandbox, case)
    assert state.name == "Remediated", state.message
    assert snapshot(sandbox) == before


def test_what_it_needs_is_told(runs: Runs, sandbox: Sandbox) -> None:
    """Without a restore, without what it kept, or beyond the most, nothing is touched."""
    _, state = carry_out(runs, sandbox, carry_over_rows)
    assert state.name == "Refused"
    assert "never restored" in (state.message or "")
    back_up(runs, sandbox)
    with logged_in(sandbox) as client:
        create(client, "programs", name="Later")
    restore = restored(runs, sandbox, keep_days=0)
    before, closed = snapshot(sandbox), doors(sandbox)
    _, state = carry_out(runs, sandbox, carry_over_rows, max_rows=0)
    assert state.name == "Undone", state.message  # it was opened, and is closed again
    assert "max_rows" in (state.message or "")
    assert (snapshot(sandbox), doors(sandbox)) == (before, closed)
    _, state = carry_out(runs, sandbox, carry_over_rows, remediation="nothing")
    assert "'nothing', which is none" in (state.message or "")
    _, state = carry_out(runs, sandbox, drop_kept_databases)
    assert state.name == "Remediated", state.message
    _, state = carry_out(runs, sandbox, carry_over_rows, remediation=restore.id)
    assert state.name == "Refused"
    assert "it is gone: dropped" in (state.message or "")
    assert snapshot(sandbox) == before


def planned(sandbox: Sandbox, restore: Case) -> tuple[OpenKeptDatabase, CarryRowsOver]:
    """Plan by hand what carries rows over, with the kept database open afterwards."""
    target, work = sandbox.settings.name, Work(sandbox.settings.name, ID)
    found = find_restored(target, restore.id)
    door = find_door(target, found)
    door.apply(work)
    change = find_later_rows(target, read_sides(target, found), 100).change
    assert change is not None
    return door, change


def test_what_a_kill_leaves_is_recognised(
    runs: Runs, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it dies, it is seen whether rows are in live; it is gone on with, or taken back."""
    back_up(runs, sandbox)
    write_later(sandbox)
    restore = restored(runs, sandbox)
    before, closed = snapshot(sandbox), doors(sandbox)
    door, step = planned(sandbox, restore)
    work = Work(sandbox.settings.name, ID)

    def dies_at(point: str, act: Callable[[Work], str]) -> Standing:
        with monkeypatch.context() as patch:
            patch.setenv(faults.VARIABLE, f"FAIL={KIND}:{point}")
            with pytest.raises(RemediationError):
                act(work)
        return step.observe(work).standing

    assert step.observe(work).standing is Standing.BEFORE
    for point in ("written", "noted"):
        assert dies_at(point, step.apply) is Standing.HALF
        assert snapshot(sandbox) == before
    step.revert(work)
    assert step.observe(work).standing is Standing.BEFORE
    assert dies_at("written", step.apply) is Standing.HALF
    assert dies_at("committed", step.apply) is Standing.AFTER  # gone on with over what was left
    after = snapshot(sandbox)
    assert after != before
    for point in ("taken-back", "journal-dropped"):
        assert dies_at(point, step.revert) is Standing.AFTER
        assert snapshot(sandbox) == before
    assert step.revert(work) == "rows were taken back by a process that is gone"
    assert step.observe(work).standing is Standing.BEFORE
    step.apply(work)
    assert snapshot(sandbox) == after
    assert "left" not in step.revert(work)
    assert snapshot(sandbox) == before
    door.revert(work)
    door.revert(work)
    assert door.observe(work).standing is Standing.BEFORE
    assert doors(sandbox) == closed


def test_a_second_time_finds_nothing_more(runs: Runs, sandbox: Sandbox) -> None:
    """What was carried over is equal now, and neither journal nor revision counts as a row."""
    back_up(runs, sandbox)
    write_later(sandbox)
    with sandbox.connect() as session:
        session.execute("UPDATE alembic_version SET version_num = 'another'")
    restored(runs, sandbox)
    case, state = carry_out(runs, sandbox, carry_over_rows)
    assert state.name == "Remediated", state.message
    after, closed = snapshot(sandbox), doors(sandbox)
    again, state = carry_out(runs, sandbox, carry_over_rows)
    assert state.name == "Remediated", state.message
    assert not again.of_kind("decided")
    assert "Nothing to carry over" in again.stages[1].stage.title
    assert "alembic_version" not in str(case.stages[1].stage.findings)
    assert "remedy_" not in str(again.stages[1].stage.findings)
    assert (snapshot(sandbox), doors(sandbox)) == (after, closed)


def test_what_was_carried_over_and_deleted_since_stays_deleted(
    runs: Runs, sandbox: Sandbox
) -> None:
    """A second time does not bring back what users have deleted after the first."""
    back_up(runs, sandbox)
    with logged_in(sandbox) as client:
        stays, gone = (create(client, "programs", name=name) for name in ("Stays", "Goes"))
        restored(runs, sandbox)
        _, state = carry_out(runs, sandbox, carry_over_rows)
        assert state.name == "Remediated", state.message
        assert client.delete(f"/programs/{gone['id']}").is_success
        again, state = carry_out(runs, sandbox, carry_over_rows)
        assert state.name == "Remediated", state.message
        answers = [client.get(f"/programs/{one['id']}").status_code for one in (stays, gone)]
    assert answers == [200, 404]
    assert listed(again)["public.programs", gone["id"]].startswith("was carried over before")


def test_nothing_is_attached_to_another_row_of_the_same_key(runs: Runs, sandbox: Sandbox) -> None:
    """Where live has given a key again since, what pointed at the former row is left."""
    with sandbox.connect() as session:
        session.execute(
            f"""SET ROLE {sandbox.settings.application_user};
            CREATE TABLE parents (id int PRIMARY KEY, name text);
            CREATE TABLE children (id int PRIMARY KEY, parent int REFERENCES parents);
            INSERT INTO parents VALUES (1, 'in the backup')"""
        )
    back_up(runs, sandbox)
    with sandbox.connect() as session:
        session.execute("INSERT INTO parents VALUES (2, 'kept')")
        session.execute("INSERT INTO children VALUES (1, 1), (2, 2)")
    restored(runs, sandbox)
    with sandbox.connect() as session:
        session.execute("INSERT INTO parents VALUES (2, 'of another user')")
    case, state = carry_out(runs, sandbox, carry_over_rows)
    assert state.name == "Remediated", state.message
    with sandbox.connect() as session:
        assert session.execute("SELECT id, parent FROM children").fetchall() == [(1, 1)]
    why = listed(case)
    assert "changed in both" in why["public.parents", "2"]
    assert "may be another row in live (children_parent_fkey)" in why["public.children", "2"]
