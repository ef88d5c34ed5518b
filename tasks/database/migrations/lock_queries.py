"""The queries by which the locks of a migration are seen, and its sessions ended.

Source: PostgreSQL manual 54.12 (pg_locks), 28.2.3 (pg_stat_activity), 28.2.18
(pg_stat_all_tables).
"""

# The sessions of a role that only the migration has. Who may not see a session's start and
# type (pg_monitor) sees none there.
BY_ROLE = """
    SELECT pid, backend_start FROM pg_stat_activity
    WHERE usename = %(role)s AND coalesce(backend_type, 'client backend') = 'client backend'"""
# Alembic reads its table in the transaction in which it migrates; the application never does.
BY_VERSION_TABLE = """
    SELECT l.pid, a.backend_start FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.relation = %(table)s::regclass AND a.backend_start >= %(since)s
      AND a.backend_type = 'client backend'
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND a.application_name !~ '^pg_(dump|restore)' AND a.pid <> ALL (%(ours)s)"""
HELD = """
    SELECT l.relation::bigint AS oid, l.mode, l.granted
    FROM unnest(%(pids)s::int[], %(starts)s::timestamptz[]) AS p(pid, start)
      JOIN pg_stat_activity a ON a.pid = p.pid AND a.backend_start IS NOT DISTINCT FROM p.start
      JOIN pg_locks l ON l.pid = p.pid
    WHERE NOT l.granted OR l.locktype = 'relation'
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
IN_THE_WAY = """
    SELECT b.pid, coalesce(a.usename, '?') AS role, coalesce(a.state, 'prepared?') AS state,
      coalesce(extract(epoch FROM clock_timestamp() - a.xact_start)::int, 0) AS seconds
    FROM unnest(%(pids)s::int[]) AS p(pid), unnest(pg_blocking_pids(p.pid)) AS b(pid)
      LEFT JOIN pg_stat_activity a ON a.pid = b.pid WHERE b.pid <> ALL (%(pids)s)
    ORDER BY a.xact_start LIMIT 1"""
QUEUED = """
    SELECT count(*) AS n FROM pg_locks l LEFT JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE NOT l.granted AND l.pid <> ALL (%(pids)s)
      AND coalesce(a.backend_type, 'client backend') = 'client backend'
      AND pg_blocking_pids(l.pid) && %(pids)s::int[]"""
# A process id may have become another session's since.
END = """
    SELECT pg_terminate_backend(a.pid)
    FROM unnest(%(pids)s::int[], %(starts)s::timestamptz[]) AS p(pid, start)
      JOIN pg_stat_activity a ON a.pid = p.pid AND a.backend_start IS NOT DISTINCT FROM p.start"""
# An index or a TOAST table is its table's: who reads the one needs the other.
TABLES = """
    SELECT c.oid::bigint AS oid, format('%I.%I', n.nspname, t.relname) AS name
    FROM pg_class c
      LEFT JOIN pg_index i ON i.indexrelid = c.oid
      LEFT JOIN pg_class o ON o.reltoastrelid = coalesce(i.indrelid, c.oid)
      JOIN pg_class t ON t.oid = coalesce(o.oid, i.indrelid, c.oid)
      JOIN pg_namespace n ON n.oid = t.relnamespace
    WHERE n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'"""
# NULL where a superuser has switched the counting off.
CHANGED_ROWS = """
    SELECT relid::bigint AS oid,
      CASE WHEN current_setting('track_counts')::bool THEN n_tup_upd + n_tup_del END AS rows
    FROM pg_stat_user_tables"""
