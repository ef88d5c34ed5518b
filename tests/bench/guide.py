"""What the guide says to paste, the remediation that does the same, and what is broken first."""

import secrets
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from flows.application.apply_migrations import apply_migrations
from flows.database.rebuild_indexes import rebuild_indexes
from flows.database.rotate_database_password import rotate_database_password
from flows.database.vacuum_database import vacuum_database
from flows.performance.add_indexes import add_indexes
from flows.performance.find_slow_queries import find_slow_queries
from infra.sandbox import dotenv_file
from infra.sandbox.services import Sandbox
from tasks.guardrails.remediation import Remediation
from tasks.platforms import targets
from tasks.platforms.sandbox.target import SandboxTarget
from tests.bench.restore import psql_environment

GIVEN_UP_SECONDS = 60
_HELD_SECONDS, _FREE_SECONDS = 6.0, 2.0
_WATCHED_SECONDS = 10
_REVISION = """revision, down_revision = {name!r}, {before!r}
branch_labels = depends_on = None


def upgrade():
    from alembic import op

    op.execute("ALTER TABLE projects ADD COLUMN {name} text")


def downgrade():
    from alembic import op

    op.execute("ALTER TABLE projects DROP COLUMN {name}")
"""


def nothing(sandbox: Sandbox) -> None:
    """Break nothing."""
    assert sandbox


def undisturbed(sandbox: Sandbox) -> AbstractContextManager[None]:
    """Have nobody in the way."""
    assert sandbox
    return nullcontext()


@dataclass(frozen=True)
class Task:
    """What is done in both ways.

    Args:
        title: What it is.
        by_hand: The guide's commands, in a line of markdown.
        guide: Does as the guide says; whether it ended by itself.
        ours: The remediation that does it.
        parameters: Its parameters beside the target.
        broken: Breaks it; called before each way.
        meanwhile: What others do in the meantime.
        more: What is to be known of ours.
    """

    title: str
    by_hand: str
    guide: Callable[[Sandbox], bool]
    ours: Remediation
    parameters: Mapping[str, object] = field(default_factory=dict)
    broken: Callable[[Sandbox], None] = nothing
    meanwhile: Callable[[Sandbox], AbstractContextManager[None]] = undisturbed
    more: str = ""


def dead_rows(sandbox: Sandbox) -> None:
    """Leave as many dead rows as there are rows in the largest table."""
    with sandbox.connect() as session:
        session.execute("ALTER TABLE actuals SET (autovacuum_enabled = false)")
        session.execute("UPDATE actuals SET updated_at = updated_at")


def lost_index(sandbox: Sandbox) -> None:
    """Drop the indexes of a foreign key of the largest table."""
    with sandbox.connect() as session:
        rows = session.execute(
            """SELECT indexrelid::regclass::text FROM pg_index i
               WHERE indrelid = 'actuals'::regclass AND NOT indisunique
                 AND indkey[0] = (SELECT attnum FROM pg_attribute
                   WHERE attrelid = i.indrelid AND attname = 'worker_id')"""
        ).fetchall()
        for row in rows:
            session.execute(f"DROP INDEX {row[0]}".encode())
        session.execute("ANALYZE actuals")


def queries_not_logged(sandbox: Sandbox) -> None:
    """Have slow queries logged by nobody, as in the beginning."""
    with sandbox.connect() as session:
        session.autocommit = True
        session.execute("ALTER SYSTEM RESET log_min_duration_statement")
        session.execute("SELECT pg_reload_conf()")


def pending_revision(sandbox: Sandbox) -> None:
    """Ship one more revision of the application, which adds a column."""
    folder = Path(tempfile.mkdtemp(prefix="application-", dir=sandbox.home))
    shutil.rmtree(folder)
    before = targets.load(sandbox.settings.name)
    assert isinstance(before, SandboxTarget)
    shutil.copytree(before.application_directory, folder)
    targets.give(
        SandboxTarget(**{**sandbox.target_settings(), "application_directory": str(folder)})
    )
    with sandbox.connect() as session:
        row = session.execute("SELECT version_num FROM alembic_version").fetchone()
    assert row
    name = f"added_{secrets.token_hex(4)}"
    text = _REVISION.format(name=name, before=row[0])
    (folder / "alembic" / "versions" / f"{name}.py").write_text(text)


@contextmanager
def held_again_and_again(sandbox: Sandbox) -> Iterator[None]:
    """Hold the table that the revision alters in one transaction after the other."""
    ended = threading.Event()

    def hold() -> None:
        while not ended.is_set():
            with sandbox.connect() as session, session.transaction():
                session.execute("SELECT count(*) FROM projects")
                ended.wait(_HELD_SECONDS)
            ended.wait(_FREE_SECONDS)

    holder = threading.Thread(target=hold)
    holder.start()
    time.sleep(0.5)
    try:
        yield
    finally:
        ended.set()
        holder.join()


def reindex(sandbox: Sandbox) -> bool:
    """Do as the guide does."""
    return _statement(sandbox, f"REINDEX DATABASE {sandbox.settings.database}")


def vacuum_full(sandbox: Sandbox) -> bool:
    """Do as the guide does."""
    return _statement(sandbox, "VACUUM FULL")


def create_index(sandbox: Sandbox) -> bool:
    """Do as the guide does."""
    return _statement(sandbox, "CREATE INDEX idx_actuals_worker_id ON actuals(worker_id)")


def upgrade(sandbox: Sandbox) -> bool:
    """Do as the guide does."""
    application = targets.load(sandbox.settings.name).application
    return application.run(["alembic", "upgrade", "head"], {}).status == 0


def log_queries(sandbox: Sandbox) -> bool:
    """Do as the guide does: a setting, and a restart of the database."""
    done = _statement(sandbox, "ALTER SYSTEM SET log_min_duration_statement = 1000")
    sandbox.cluster.service.stop()
    sandbox.up()
    return done


def new_password(sandbox: Sandbox) -> bool:
    """Do as the guide does: another password, `.env` edited, the application restarted."""
    settings, password = dotenv_file.read(sandbox.dotenv), secrets.token_urlsafe(18)
    user, old = settings["POSTGRES_USER"], settings["POSTGRES_PASSWORD"]
    done = _statement(sandbox, f"ALTER ROLE {user} PASSWORD '{password}'")
    sandbox.dotenv.write_text(sandbox.dotenv.read_text().replace(old, password))
    for name in sandbox.upstreams:
        sandbox.services()[name].stop()
    sandbox.up()
    return done


def _statement(sandbox: Sandbox, statement: str) -> bool:
    """Run a statement of the guide; cancelled by the server where it does not end."""
    environment = psql_environment(sandbox)
    environment["PGOPTIONS"] = f"-c statement_timeout={GIVEN_UP_SECONDS}s"
    program = [str(sandbox.cluster.programs / "psql"), "-c", statement, sandbox.settings.database]
    done = subprocess.run(program, env=environment, check=False, capture_output=True)
    return done.returncode == 0


TASKS: tuple[Task, ...] = (
    Task(
        "rebuild every index",
        "`REINDEX DATABASE`",
        reindex,
        rebuild_indexes,
        {"which": "all"},
        more=", every index verified before and afterwards",
    ),
    Task("remove dead rows", "`VACUUM FULL`", vacuum_full, vacuum_database, broken=dead_rows),
    Task(
        "add a missing index",
        "`CREATE INDEX`",
        create_index,
        add_indexes,
        {"at_most": 1, "tables": ["actuals"]},
        broken=lost_index,
    ),
    Task(
        f"add a column while transactions of {_HELD_SECONDS:.0f} s read the table",
        "`alembic upgrade head`",
        upgrade,
        apply_migrations,
        broken=pending_revision,
        meanwhile=held_again_and_again,
        more=", rehearsed on a copy of the newest backup first",
    ),
    Task(
        "log slow queries",
        "`ALTER SYSTEM SET log_min_duration_statement`, restart of the database",
        log_queries,
        find_slow_queries,
        {"source": "log", "watch_seconds": _WATCHED_SECONDS, "slower_than_ms": 1000},
        broken=queries_not_logged,
        more=f", logged for {_WATCHED_SECONDS} s",
    ),
    Task(
        "new database password",
        "`ALTER ROLE … PASSWORD`, `.env` edited, both processes restarted",
        new_password,
        rotate_database_password,
    ),
)
