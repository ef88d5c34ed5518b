"""Tables of a sandbox whose files are larger than their rows, and what is to be seen of them."""

from psycopg import sql

from infra.sandbox.planner import Planner

SLOW, SLOW_ROWS = "public.slowly", 1000
# A schema and a table in it: quotes, spaces, what ends a statement, what fills a template.
ODD = ('Odd "s" {x}', 'it\'s; -- "y" %s')


def make_loose(sandbox: Planner) -> None:
    """Let the file of programs grow to some 80 MB and its rows go again, with nobody tidying up."""
    with sandbox.connect() as session:
        session.execute("ALTER TABLE programs SET (autovacuum_enabled = false)")
        session.execute(
            "INSERT INTO programs (id, name, description, created_at, updated_at) "
            "SELECT md5('loose' || n)::uuid, 'Loose ' || n, repeat(md5(n::text), 40), "
            "timestamp '2024-01-01', timestamp '2024-01-01' FROM generate_series(1, 60000) n"
        )
        session.execute(
            "DELETE FROM programs WHERE name LIKE 'Loose %' AND right(name, 3) <> '000'"
        )
        session.execute("ANALYZE programs")


def make_slow(sandbox: Planner) -> None:
    """Make a table that takes some 20 s to be written anew, as each entry of its index waits."""
    with sandbox.connect() as session:
        session.execute(
            "CREATE FUNCTION public.slow(n int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN "
            "PERFORM pg_sleep(current_setting('test.slow', true)::float); RETURN n; END $$"
        )
        session.execute(
            # An ANALYZE of its own would hold the table for as long.
            "CREATE TABLE slowly WITH (autovacuum_enabled = false) AS "
            "SELECT n, 'row ' || n AS what FROM generate_series(1, 1000) n"
        )
        session.execute("ALTER TABLE slowly ADD PRIMARY KEY (n)")
        session.execute("CREATE INDEX slowly_index ON slowly (public.slow(n))")
        session.execute("ALTER TABLE slowly OWNER TO planner")
    be_slow(sandbox, 0.02)


def be_slow(sandbox: Planner, seconds: float) -> None:
    """Have each entry of that index wait for so long, in sessions that begin from now on."""
    with sandbox.connect() as session:
        session.execute(
            sql.SQL("ALTER DATABASE {} SET test.slow = {}").format(
                sql.Identifier(sandbox.settings.database), sql.Literal(str(seconds))
            )
        )


def file_of(sandbox: Planner, table: str = "programs") -> tuple[int, int]:
    """Give the number of a table's file and its bytes."""
    with sandbox.connect() as session:
        row = session.execute(
            "SELECT pg_relation_filenode(%(table)s::regclass)::bigint, "
            "pg_relation_size(%(table)s::regclass)",
            {"table": table},
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def left_by_repack(sandbox: Planner) -> list[str]:
    """Name what a pg_repack has made that is still there: triggers, tables and types."""
    with sandbox.connect() as session:
        rows = session.execute(
            "SELECT tgname::text FROM pg_trigger WHERE tgname LIKE 'repack%' UNION ALL "
            "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace('repack') "
            "AND relkind = 'r' UNION ALL SELECT typname FROM pg_type "
            "WHERE typnamespace = to_regnamespace('repack') AND typname LIKE 'pk%' ORDER BY 1"
        ).fetchall()
    return [str(row[0]) for row in rows]
