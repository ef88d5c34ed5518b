"""What of a plain dump must not be run is found before anything is."""

import io

import pytest

from tasks.database.backup.plain_filter import knows_restrict, pump
from tasks.database.backup.scan import scan

HEAD = b"--\n-- PostgreSQL database dump\n--\nSET statement_timeout = 0;\n"
END = b"--\n-- PostgreSQL database dump complete\n--\n"


def refused(body: bytes) -> list[tuple[int, str]]:
    """Scan a dump with a body and give the refusals."""
    return scan(io.BytesIO(HEAD + body + END)).refusals


@pytest.mark.parametrize(
    "body",
    [
        b"\\! touch /tmp/x\n",
        b"SELECT 1 \\! touch /tmp/x\n;\n",
        b"\\connect other\n",
        b"\\i /etc/passwd\n",
        b"\\copy t FROM '/etc/passwd'\n",
        b"CREATE DATABASE x;\n",
        b"DROP DATABASE planner;\n",
        b"ALTER DATABASE planner SET work_mem = '1MB';\n",
        b"alter /* hidden */ database planner rename to x;\n",
        b"GRANT ALL ON DATABASE planner TO public;\n",
        b"COMMENT ON DATABASE planner IS 'x';\n",
        b"ALTER ROLE planner IN DATABASE planner SET work_mem = '1MB';\n",
        b"ALTER SYSTEM SET fsync = off;\n",
        b"CREATE ROLE x SUPERUSER;\n",
        b"GRANT postgres TO planner;\n",
        b"DROP OWNED BY planner;\n",
        b"REASSIGN OWNED BY planner TO x;\n",
        b"SET ROLE postgres;\n",
        b"SET SESSION AUTHORIZATION postgres;\n",
        b"RESET ROLE;\n",
        b"SET standard_conforming_strings = off;\n",
        b"SET client_encoding = 'SJIS';\n",
        b"DO $$ BEGIN EXECUTE 'DROP DATABASE x'; END $$;\n",
        b"COPY t TO PROGRAM 'sh';\n",
        b"COPY t FROM '/etc/passwd';\n",
        b"SELECT pg_terminate_backend(1);\n",
        b"SELECT pg_catalog.setval('s', pg_terminate_backend(1)::int);\n",
        b"SELECT pg_catalog.setval('s', \"pg_terminate_backend\"(1)::int);\n",
        b"SELECT * FROM pg_catalog.pg_terminate_backend(1);\n",
        b"SELECT * FROM pg_catalog.pg_restore_relation_stats('a', pg_terminate_backend(1));\n",
        b"SELECT * FROM pg_catalog.setval('s', 1);\n",
        b"SELECT pg_catalog.set_config('role', 'postgres', false);\n",
        # Data that psql does not take for data.
        (
            b"CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; "
            b"COPY t FROM stdin;\n\\! touch /tmp/x\n\\.\nEND;\n"
        ),
        b"CREATE RULE r AS ON INSERT TO t DO (SELECT 1; COPY t FROM stdin;\n\\! x\n);\n",
        b"COPY t FROM stdin; \\! touch /tmp/x\n1\n\\.\n",
        # Strings whose end could be read in two ways.
        b"SELECT pg_catalog.setval(E'a'\n'\\'; \\! x --', 1);\n",
        b"SELECT 1e'\\'; \\! x --';\n",
        b"INSERT INTO t VALUES ('unfinished;\n",
    ],
)
def test_what_reaches_beyond_the_copy_is_refused(body: bytes) -> None:
    """Commands of psql, other databases, roles, files, and ambiguous quoting."""
    assert refused(body)


@pytest.mark.parametrize(
    "body",
    [
        b"\\restrict abc123\n\\unrestrict abc123\n",
        b"CREATE TABLE t (id int, database text, role text);\n",
        b"COPY public.t (id, name) FROM stdin;\n1\t\\\\! not a command\n2\t\\N\n\\.\n",
        b"INSERT INTO t VALUES ('\\! DROP DATABASE x;');\n",
        b"CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $_$ SELECT '\\! x'; $_$;\n",
        (
            b"CREATE FUNCTION f() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN true "
            b"THEN 1 ELSE 2 END; SELECT 2; END;\nCREATE TABLE u ();\n"
        ),
        b"/* \\! x /* nested */ \\! y */ CREATE TABLE t ();\n",
        b"SELECT pg_catalog.setval('public.s', 5, true);\n",
        b"SELECT pg_catalog.lo_create('16431');\nSELECT pg_catalog.lowrite(0, '\\x61');\n",
        b"SELECT pg_catalog.set_config('search_path', '', false);\n",
        (  # pg_dump 18 --statistics
            b"SELECT * FROM pg_catalog.pg_restore_relation_stats(\n"
            b"\t'version', '180006'::integer,\n"
            b"\t'schemaname', 'public',\n\t'relpages', '3'::integer,\n"
            b"\t'reltuples', '200'::real\n);\n"
        ),
        b"COMMENT ON SCHEMA public IS 'DROP DATABASE x; \\! y';\n",
        b"GRANT SELECT ON TABLE t TO reporter;\nALTER TABLE t OWNER TO planner;\n",
    ],
)
def test_what_pg_dump_writes_is_not_refused(body: bytes) -> None:
    """Data, strings, function bodies and comments may look like commands."""
    assert refused(body) == []


def test_rows_roles_and_ends_are_read() -> None:
    """Rows are counted by table, roles and extensions collected, cut-off data noticed."""
    body = (
        b"CREATE EXTENSION IF NOT EXISTS citext WITH SCHEMA public;\n"
        b"CREATE TABLE public.t (a int);\n"
        b'ALTER TABLE public.t OWNER TO planner;\nGRANT SELECT ON TABLE public.t TO a, "B c";\n'
        b"COPY public.t (a) FROM stdin;\n1\n2\n\\.\n\nCOPY public.e (a) FROM stdin;\n\\.\n"
        b"CREATE PUBLICATION p FOR TABLE t;\n"
        b"ALTER DEFAULT PRIVILEGES FOR ROLE d IN SCHEMA public GRANT ALL ON TABLES TO e;\n"
    )
    seen = scan(io.BytesIO(HEAD + body + END))
    assert seen.tables == {"public.t": 2, "public.e": 0}
    assert seen.roles == {"planner", "a", "B c", "d", "e"}
    assert (seen.owners, seen.defaulting) == ({"planner"}, {"d"})
    assert seen.extensions == {"citext"}
    assert seen.attached == ["publication p"]
    assert seen.complete
    assert not seen.cut
    cut = scan(io.BytesIO(HEAD + b"COPY public.t (a) FROM stdin;\n1\n2"))
    assert cut.cut
    assert not cut.complete


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_chunks_do_not_change_what_is_seen(size: int) -> None:
    """Whatever a read gives, the same is seen."""

    class Dribbling(io.BytesIO):
        def read(self, _size: int | None = -1) -> bytes:
            return super().read(size)

    body = b"COPY public.t (a) FROM stdin;\n\\.x\n1\n2\n\\.\nSELECT $a$ ; \\! $a$;\n\\! x\n"
    whole = scan(io.BytesIO(HEAD + body + END))
    assert scan(Dribbling(HEAD + body + END)) == whole
    assert whole.tables == {"public.t": 3}


def test_settings_that_the_server_does_not_know_are_left_out() -> None:
    """Only at the head, and never in data; restrict goes where psql does not know it."""
    dump = (
        b"\\restrict abc\nSET statement_timeout = 0;\nSET transaction_timeout = 0;\n"
        b"CREATE TABLE t (a text);\nCOPY t (a) FROM stdin;\nSET transaction_timeout = 0;\n\\.\n"
        b"\\unrestrict abc\n\n"
    )
    out = io.BytesIO()
    pump(io.BytesIO(dump), out, ("transaction_timeout",), restrict=False)
    assert out.getvalue() == (
        b"SET statement_timeout = 0;\nCREATE TABLE t (a text);\nCOPY t (a) FROM stdin;\n"
        b"SET transaction_timeout = 0;\n\\.\n"
    )
    out = io.BytesIO()
    pump(io.BytesIO(dump), out, (), restrict=True)
    assert out.getvalue() == dump
    assert knows_restrict("psql (PostgreSQL) 15.18 (Debian)")
    assert not knows_restrict("psql (PostgreSQL) 15.10")
