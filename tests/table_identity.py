"""A table with everything that hangs on one, and what of it must be the same in a new file."""

from infra.sandbox.planner import Planner

RICH = "public.rich"
_MADE = """
    CREATE TABLE rich_kinds (id int PRIMARY KEY);
    INSERT INTO rich_kinds SELECT generate_series(1, 5);
    CREATE TABLE rich (id int PRIMARY KEY, gone int, kind int NOT NULL REFERENCES rich_kinds,
      code varchar(20) NOT NULL UNIQUE, long text, small text DEFAULT 'none', n int CHECK (n >= 0),
      twice int GENERATED ALWAYS AS (n * 2) STORED)
      WITH (fillfactor = 80, autovacuum_enabled = false, toast.autovacuum_enabled = false);
    ALTER TABLE rich DROP COLUMN gone;
    ALTER TABLE rich ALTER COLUMN long SET STORAGE EXTERNAL, ALTER COLUMN n SET STATISTICS 321;
    CREATE INDEX rich_lower ON rich (lower(code) DESC NULLS LAST) WITH (fillfactor = 70);
    CREATE INDEX rich_some ON rich (kind) INCLUDE (n) WHERE n > 3;
    CREATE INDEX rich_hash ON rich USING hash (small);
    CREATE UNIQUE INDEX rich_identity ON rich (id, kind);
    CREATE STATISTICS rich_both ON kind, n FROM rich;
    ALTER TABLE rich REPLICA IDENTITY USING INDEX rich_identity, CLUSTER ON rich_lower;
    CREATE FUNCTION rich_changed() RETURNS trigger LANGUAGE plpgsql
      AS 'BEGIN NEW.small = NEW.small; RETURN NEW; END';
    CREATE TRIGGER rich_always BEFORE UPDATE ON rich FOR EACH ROW EXECUTE FUNCTION rich_changed();
    CREATE TRIGGER rich_never BEFORE UPDATE ON rich FOR EACH ROW EXECUTE FUNCTION rich_changed();
    ALTER TABLE rich ENABLE ALWAYS TRIGGER rich_always, DISABLE TRIGGER rich_never;
    CREATE TABLE rich_parts (id int PRIMARY KEY, rich_id int REFERENCES rich ON DELETE CASCADE);
    CREATE VIEW rich_seen AS SELECT id, code FROM rich;
    CREATE RULE rich_kept AS ON DELETE TO rich WHERE old.n < 0 DO INSTEAD NOTHING;
    CREATE ROLE rich_reader;
    GRANT SELECT ON rich TO rich_reader;
    GRANT UPDATE (small) ON rich TO rich_reader;
    ALTER TABLE rich ENABLE ROW LEVEL SECURITY;
    CREATE POLICY rich_policy ON rich FOR SELECT TO rich_reader USING (n > 1);
    COMMENT ON TABLE rich IS 'a table';
    COMMENT ON COLUMN rich.code IS 'a column';
    COMMENT ON INDEX rich_some IS 'an index';
    COMMENT ON TRIGGER rich_always ON rich IS 'a trigger';
    COMMENT ON CONSTRAINT rich_kind_fkey ON rich IS 'a constraint';
    INSERT INTO rich (id, kind, code, long, n) SELECT n, 1 + n % 5, 'code ' || (997 * n) % 2003,
      repeat(md5(n::text), 200), n % 9 FROM generate_series(1, 2000) n;
    INSERT INTO rich_parts SELECT n, n FROM generate_series(500, 600) n;
    DELETE FROM rich WHERE id < 400;
    ANALYZE rich;
    ALTER TABLE rich OWNER TO planner;
    ALTER TABLE rich_kinds OWNER TO planner;
"""
# What pg_dump does not write: OIDs, which others refer by, and whether what is there holds.
_BESIDES = """
    SELECT 'relation ' || c.oid::regclass, c.oid::bigint, c.relkind::text, c.relpersistence::text,
      c.reltablespace::bigint, c.reloptions::text, c.relacl::text, c.relnatts
    FROM pg_class c WHERE c.oid = 'rich'::regclass
      OR c.oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'rich'::regclass)
    UNION ALL SELECT 'toast', 0, t.relkind::text, t.relname::text, t.reltablespace::bigint,
      t.reloptions::text, NULL,
      (SELECT count(*) FROM pg_index WHERE indrelid = t.oid AND indisvalid)
    FROM pg_class c JOIN pg_class t ON t.oid = c.reltoastrelid WHERE c.oid = 'rich'::regclass
    UNION ALL SELECT 'index ' || indexrelid::regclass, 0, indisvalid::text, indisready::text, 0,
      indisclustered::text, indisreplident::text, indnatts
    FROM pg_index WHERE indrelid = 'rich'::regclass
    UNION ALL SELECT 'constraint ' || conname, oid::bigint, contype::text, convalidated::text,
      conindid::bigint, pg_get_constraintdef(oid), NULL, 0
    FROM pg_constraint WHERE 'rich'::regclass IN (conrelid, confrelid)
    UNION ALL SELECT 'trigger ' || tgname, oid::bigint, tgenabled::text, tgisinternal::text,
      tgconstraint::bigint, pg_get_triggerdef(oid), NULL, 0
    FROM pg_trigger WHERE tgrelid = 'rich'::regclass
    UNION ALL SELECT 'column ' || attname, attnum, attstorage::text, attisdropped::text,
      atttypid::bigint, attacl::text, attoptions::text, 0
    FROM pg_attribute WHERE attrelid = 'rich'::regclass AND attnum > 0
    UNION ALL SELECT 'statistics of ' || attname, 0, NULL, NULL, 0, NULL, NULL, 0
    FROM pg_stats WHERE tablename = 'rich'
    UNION ALL SELECT 'dependent', classid::bigint, deptype::text, NULL, objid::bigint, NULL, NULL,
      refobjsubid
    FROM pg_depend WHERE refobjid = 'rich'::regclass AND classid <> 'pg_type'::regclass
      AND NOT (classid = 'pg_class'::regclass
        AND objid = (SELECT reltoastrelid FROM pg_class WHERE oid = 'rich'::regclass))
    ORDER BY 1, 2, 5, 8
"""


def make_rich(sandbox: Planner) -> None:
    """Make the table, with rows and long values, and a hole where rows were."""
    with sandbox.connect() as session:
        for statement in _MADE.encode().split(b";\n"):
            if statement.strip():
                session.execute(statement)


def identity_of(sandbox: Planner) -> list[tuple[object, ...]]:
    """Give what identifies the table and all that hangs on it, beyond a dump of the schema."""
    with sandbox.connect() as session:
        return session.execute(_BESIDES.encode()).fetchall()


def order_of(sandbox: Planner) -> list[int]:
    """Give the keys of its rows in the order in which they lie in its file."""
    with sandbox.connect() as session:
        session.execute("SET synchronize_seqscans = off")
        session.execute("SET enable_indexscan = off")
        session.execute("SET enable_indexonlyscan = off")
        session.execute("SET enable_bitmapscan = off")
        return [int(row[0]) for row in session.execute("SELECT id FROM rich").fetchall()]


def remove_rich_role(sandbox: Planner) -> None:
    """Drop the role that the table's rights were given to: roles are the server's."""
    with sandbox.connect() as session:
        session.execute("DROP OWNED BY rich_reader")
        session.execute("DROP ROLE rich_reader")
