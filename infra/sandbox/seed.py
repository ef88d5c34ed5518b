"""Fill a sandbox's database: the same rows each time, fast, most of them actuals.

Tables that get many rows lose their indexes first and get them back when they are full: a
sorted build costs a fraction of a million insertions into a tree of random keys.
"""

from typing import Any, LiteralString, cast

import bcrypt
import psycopg
from psycopg import sql

from infra.sandbox.accounts import (
    KNOWN_PROGRAM,
    KNOWN_PROGRAM_NAME,
    KNOWN_PROJECT,
    KNOWN_PROJECT_NAME,
)
from infra.sandbox.planner import Planner
from tasks.guardrails.errors import PreconditionFailed

LARGE_OBJECTS = 5
LARGE_OBJECT_BYTES = 200_000
BULK = ("actuals", "audit_logs")

# {users}, {programs}, … are numbers of rows; id(kind, n) is the same for the same row each time.
STATEMENTS: tuple[LiteralString, ...] = (
    """INSERT INTO users (id, username, email, password_hash, is_active, created_at, updated_at)
    SELECT md5('user' || n)::uuid, 'user' || n, 'user' || n || '@example.org',
           {hash}, n % 10 <> 0, {since}, {since}
    FROM generate_series(1, {users}) n""",
    """INSERT INTO user_roles (id, user_id, role_type, is_active, created_at, updated_at)
    SELECT md5('role' || n)::uuid, md5('user' || n)::uuid,
           (enum_range(NULL::roletype))[1 + n % 6], n % 7 <> 0, {since}, {since}
    FROM generate_series(1, {users}) n""",
    """INSERT INTO programs (id, name, description, health, created_at, updated_at)
    SELECT CASE n WHEN 1 THEN {known_program} ELSE md5('program' || n)::uuid END,
           'Program ' || n, repeat('What program ' || n || ' is for. ', 5),
           (ARRAY['green', 'amber', 'red'])[1 + n % 3],
           {since} + n * interval '1 second', {since} + n * interval '1 second'
    FROM generate_series(1, {programs}) n""",
    """INSERT INTO projects
        (id, program_id, name, start_date, end_date, budget, created_at, updated_at)
    SELECT CASE n WHEN 1 THEN {known_project} ELSE md5('project' || n)::uuid END,
           CASE n % {programs} WHEN 1 THEN {known_program}
                ELSE md5('program' || 1 + (n - 1) % {programs})::uuid END,
           'Project ' || n, date '2024-01-01' + n % 365, date '2025-01-01' + n % 365,
           1000 * (n % 97), {since} + n * interval '1 second', {since} + n * interval '1 second'
    FROM generate_series(1, {projects}) n""",
    """INSERT INTO scope_assignments
        (id, user_role_id, scope_type, program_id, is_active, created_at, updated_at)
    SELECT md5('scope' || n)::uuid, md5('role' || n)::uuid, 'PROGRAM', {known_program}, true,
           {since}, {since}
    FROM generate_series(1, {users}) n""",
    """INSERT INTO project_phases (id, project_id, name, position, created_at, updated_at)
    SELECT md5('phase' || p.id || n)::uuid, p.id, 'Phase ' || n, n, {since}, {since}
    FROM projects p, generate_series(1, 3) n""",
    """INSERT INTO workers (id, external_id, name, created_at, updated_at)
    SELECT md5('worker' || n)::uuid, 'W' || n, 'Worker ' || n, {since}, {since}
    FROM generate_series(1, {workers}) n""",
    """INSERT INTO actuals
        (id, project_id, worker_id, actual_date, hours, cost, created_at, updated_at)
    SELECT md5('actual' || n)::uuid, p.id, w.id, date '2024-01-01' + (n / 997 % 600)::int,
           (n % 16) / 2.0, (n % 16) * 45, {since}, {since}
    FROM generate_series(1::bigint, {actuals}) n
    JOIN (SELECT id, row_number() OVER (ORDER BY created_at) r FROM projects) p
        ON p.r = 1 + n % {projects}
    JOIN (SELECT id, row_number() OVER (ORDER BY external_id) r FROM workers) w
        ON w.r = 1 + n % {workers}""",
    """INSERT INTO audit_logs
        (id, user_id, entity_type, entity_id, operation, after_values, created_at, updated_at)
    SELECT md5('audit' || n)::uuid, md5('user' || 1 + n % {users})::uuid, 'Actual',
           md5('actual' || n)::uuid, 'CREATE', jsonb_build_object('hours', (n % 16) / 2.0),
           {since} + n * interval '1 second', {since} + n * interval '1 second'
    FROM generate_series(1::bigint, {audit_logs}) n""",
    """INSERT INTO reports (id, project_id, state, created_at, updated_at)
    SELECT md5('report' || n)::uuid, {known_project}, 'done', {since}, {since}
    FROM generate_series(1, {reports}) n""",
)


def counts(rows: int) -> dict[str, int]:
    """Give the number of rows for each table.

    Args:
        rows: How many there shall be in all, about.

    Returns:
        Number by table.
    """
    projects = max(20, rows // 100)
    few = {
        "users": max(10, min(500, rows // 1000)),
        "programs": max(5, rows // 2000),
        "projects": projects,
        "workers": max(10, rows // 500),
        "reports": max(3, min(1000, rows // 1000)),
    }
    bulk = max(100, rows - sum(few.values()) - 3 * projects - 2 * few["users"])
    return few | {"actuals": bulk * 4 // 5, "audit_logs": bulk // 5}


def seed(sandbox: Planner, rows: int = 1_000_000) -> dict[str, int]:
    """Fill the sandbox's database.

    Args:
        sandbox: A sandbox that is up, with its schema at head and no rows.
        rows: How many rows there shall be in all, about.

    Returns:
        Number of rows by table.

    Raises:
        PreconditionFailed: The database is not empty.
    """
    with sandbox.connect() as session:
        if session.execute("SELECT 1 FROM users LIMIT 1").fetchone() is not None:
            raise PreconditionFailed(
                expected="a database without rows, to fill it.",
                found="accounts in it.",
                todo="Use another home, or `reset` to the pristine copy.",
            )
        session.execute(
            sql.SQL("SET ROLE {}").format(sql.Identifier(sandbox.settings.application_user))
        )
        session.execute("SET synchronous_commit = off; SET maintenance_work_mem = '256MB'")
        with session.transaction():
            _fill(session, rows)
            for username, password in sandbox.settings.accounts.items():
                _account(session, username, password, sandbox.settings.password_cost)
            _large_objects(session)
            _check_known(session)
        session.execute("RESET ROLE")
        session.execute("VACUUM (ANALYZE)")
        names = [
            name
            for (name,) in session.execute(
                "SELECT relname FROM pg_class WHERE relkind = 'r'"
                " AND relnamespace = 'public'::regnamespace ORDER BY 1"
            )
        ]
        return {name: _count(session, name) for name in names}


def _count(session: "psycopg.Connection[tuple[Any, ...]]", table: str) -> int:
    query = sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))
    row = session.execute(query).fetchone()
    return 0 if row is None else int(row[0])


def _fill(session: "psycopg.Connection[tuple[Any, ...]]", rows: int) -> None:
    values: dict[str, Any] = {
        "known_program": sql.SQL("{}::uuid").format(sql.Literal(str(KNOWN_PROGRAM))),
        "known_project": sql.SQL("{}::uuid").format(sql.Literal(str(KNOWN_PROJECT))),
        "hash": sql.Literal("$2b$12$" + "x" * 53),  # nobody logs in as these
        "since": sql.SQL("timestamp '2024-01-01'"),
        **{name: sql.Literal(number) for name, number in counts(rows).items()},
    }
    removed = _remove_indexes(session) if rows > 10_000 else []  # noqa: PLR2004 - below it costs more
    for statement in STATEMENTS:
        session.execute(sql.SQL(statement).format(**values))
    for definition in removed:
        session.execute(definition)


def _check_known(session: "psycopg.Connection[tuple[Any, ...]]") -> None:
    known = session.execute(
        "SELECT p.name, q.name FROM programs p, projects q WHERE p.id = %s AND q.id = %s",
        [KNOWN_PROGRAM, KNOWN_PROJECT],
    ).fetchone()
    if known != (KNOWN_PROGRAM_NAME, KNOWN_PROJECT_NAME):
        message = f"the known rows are {known}"
        raise AssertionError(message)


def _remove_indexes(session: "psycopg.Connection[tuple[Any, ...]]") -> list[sql.SQL | sql.Composed]:
    back: list[sql.SQL | sql.Composed] = []
    for table in BULK:
        name = sql.Identifier(table)
        constraints = session.execute(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE conrelid = %s::regclass AND contype IN ('p', 'u', 'f') ORDER BY contype DESC",
            [table],
        ).fetchall()
        for constraint, definition in constraints:
            session.execute(
                sql.SQL("ALTER TABLE {} DROP CONSTRAINT {}").format(
                    name, sql.Identifier(constraint)
                )
            )
            back.append(
                sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
                    name,
                    sql.Identifier(constraint),
                    sql.SQL(cast("LiteralString", definition)),  # the server's own text
                )
            )
        indexes = session.execute(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = %s", [table]
        ).fetchall()
        for index, definition in indexes:
            session.execute(sql.SQL("DROP INDEX {}").format(sql.Identifier(index)))
            back.append(sql.SQL(cast("LiteralString", definition)))
    return back


def _account(
    session: "psycopg.Connection[tuple[Any, ...]]", username: str, password: str, cost: int
) -> None:
    """Make an account with the role ADMIN and the scope GLOBAL."""
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(cost)).decode()
    session.execute(
        "INSERT INTO users (id, username, email, password_hash, is_active, created_at, updated_at)"
        " VALUES (md5('account' || %(name)s)::uuid, %(name)s, %(name)s || '@example.org',"
        " %(hash)s, true, now(), now())",
        {"name": username, "hash": hashed},
    )
    session.execute(
        "INSERT INTO user_roles (id, user_id, role_type, is_active, created_at, updated_at)"
        " VALUES (md5('account-role' || %(name)s)::uuid, md5('account' || %(name)s)::uuid,"
        " 'ADMIN', true, now(), now())",
        {"name": username},
    )
    session.execute(
        "INSERT INTO scope_assignments"
        " (id, user_role_id, scope_type, is_active, created_at, updated_at)"
        " VALUES (md5('account-scope' || %(name)s)::uuid, md5('account-role' || %(name)s)::uuid,"
        " 'GLOBAL', true, now(), now())",
        {"name": username},
    )


def _large_objects(session: "psycopg.Connection[tuple[Any, ...]]") -> None:
    session.execute(
        "INSERT INTO documents (id, project_id, name, content, created_at, updated_at)"
        " SELECT md5('document' || n)::uuid, %s, 'Document ' || n,"
        " lo_from_bytea(0, decode(repeat(md5(n::text), %s), 'hex')), now(), now()"
        " FROM generate_series(1, %s) n",
        [KNOWN_PROJECT, LARGE_OBJECT_BYTES // 16, LARGE_OBJECTS],
    )
