"""Take a backup, prove it by restoring it, and say so in a manifest that is stored last."""

import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar

from psycopg import sql

from tasks.database import programs
from tasks.database.backup.archive import find_diagnostic, read_head, scan_archive
from tasks.database.backup.dump_programs import dump_roles, system_identifier
from tasks.database.backup.fit import beyond_owner, leaves_public, require_owners
from tasks.database.backup.loaders import Load, load_archive
from tasks.database.backup.manifest import ROLES_SUFFIX, SUFFIX, Manifest, checksum, read_manifest
from tasks.database.backup.plain_filter import PUBLIC_OWNER
from tasks.database.catalogue import (
    NO_TIMEOUTS,
    connect_with,
    elsewhere,
    find_unknown,
    inspect_database,
    is_superuser,
)
from tasks.database.copies.proof import count_rows
from tasks.database.copies.side_database import create_database, drop_database
from tasks.database.marks import Mark, name_beside, write_mark
from tasks.database.schema.revision import read_revision
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Observed, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Connection, Database, System

_BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_SHOWN = 5


class BackUpDatabase(Change):
    """Dump the live database, restore the dump into a throw-away database, store it.

    Args:
        live: Name of the database.
        live_oid: Its OID.
        name: Name of the backup in the target's store.
        compression: 'zstd' or 'gzip'.
    """

    kind: ClassVar[str] = "database.back_up_database"
    permissions: ClassVar[tuple[str, ...]] = (
        "postgresql:CREATEDB",
        "postgresql:MEMBER OF owner",
        "backups:write",
    )

    live: str
    live_oid: int
    name: str
    compression: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"back {self.live} up as {self.name}, and restore that into a throw-away database"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"backup {self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"no backup {self.name}", f"backup {self.name} with roles and manifest"

    def observe(self, work: Work) -> Observed:
        """Look for the manifest, which is stored last, and for what an attempt left."""
        system = targets.load(work.target)
        there = {entry.name for entry in system.backups.list()}
        if self.name + SUFFIX in there:
            with system.backups.local(self.name + SUFFIX) as path:
                manifest = read_manifest(path)
            if manifest is None or manifest.remediation != work.remediation:
                return Observed(Standing.OTHER, f"{self.name} has a manifest of another run")
            return Observed(Standing.AFTER, f"{self.name} is verified, {manifest.bytes:,} bytes")
        if there & {self.name, self.name + ROLES_SUFFIX} or self._leftovers(work):
            return Observed(Standing.HALF, f"{self.name} has no manifest: its making has no end")
        return Observed(Standing.BEFORE, f"there is no {self.name}")

    def apply(self, work: Work) -> str:
        """Dump, verify, store: the backup, the roles beside it, the manifest last."""
        self.revert(work)  # what a killed attempt left
        system = targets.load(work.target)
        with tempfile.TemporaryDirectory(prefix=_folder_prefix(work)) as folder:
            path = Path(folder) / self.name
            manifest = self._dump(system, path, work)
            work.progress(0.5, f"dumped, {manifest.bytes:,} bytes; restoring it for proof")
            self._verify(system.database, path, manifest, work)
            roles = Path(folder) / "roles.sql"
            notes = dump_roles(system.database, roles)
            work.progress(0.95, "restored and counted; storing it")
            system.backups.store(path, self.name)
            if roles.exists():
                system.backups.store(roles, self.name + ROLES_SUFFIX)
            written = Path(folder) / "manifest.json"
            finished = manifest.model_copy(update={"finished": datetime.now(UTC)})
            written.write_text(finished.model_dump_json(indent=1) + "\n")
            system.backups.store(written, self.name + SUFFIX)
        return f"{sum(manifest.tables.values()):,} rows, {manifest.bytes:,} bytes{notes}"

    def revert(self, work: Work) -> None:
        """Remove the manifest first, then the rest, the throw-away database and folder."""
        system = targets.load(work.target)
        for suffix in (SUFFIX, ROLES_SUFFIX, ""):
            system.backups.remove(self.name + suffix)
        drop_database(system.database, self._throw_away(work), work.remediation)
        for folder in Path(tempfile.gettempdir()).glob(f"{_folder_prefix(work)}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _throw_away(self, work: Work) -> str:
        return name_beside(self.live, "verify", work.remediation)

    def _leftovers(self, work: Work) -> bool:
        database = targets.load(work.target).database
        with database.connect(elsewhere(database)) as session:
            row = session.execute(
                "SELECT 1 AS one FROM pg_database WHERE datname = %s", (self._throw_away(work),)
            ).fetchone()
        return row is not None

    def _dump(self, system: System, path: Path, work: Work) -> Manifest:
        database = system.database
        started = datetime.now(UTC)
        with (
            connect_with(database, self.live, NO_TIMEOUTS) as session,
            connect_with(database, self.live, NO_TIMEOUTS) as counter,
        ):
            session.execute(_BEGIN)
            row = session.execute("SELECT pg_export_snapshot() AS snapshot").fetchone() or {}
            arguments: list[str | Path] = [
                "--format=custom",
                f"--compress={'zstd' if self.compression == 'zstd' else '1'}",
                f"--snapshot={row['snapshot']}",
                f"--file={path}",
                programs.dbname(self.live),
            ]
            with ThreadPoolExecutor(1) as pool:
                # Counted in the dump's own snapshot, while the dump is written.
                counting = pool.submit(_count_in, counter, row["snapshot"])
                with programs.running(database, "pg_dump", arguments, on=self.live):
                    pass
                tables = counting.result()
            table = system.migrations.version_table if system.migrations else "alembic_version"
            revision = read_revision(session, table)
            version = session.execute("SELECT current_setting('server_version') AS v").fetchone()
            session.execute("ROLLBACK")
            facts = inspect_database(session, self.live)
            identifier = system_identifier(session)
        return Manifest(
            backup=self.name,
            sha256=checksum(path),
            bytes=path.stat().st_size,
            format="custom",
            compression=self.compression,
            system_identifier=identifier,
            database=self.live,
            database_oid=facts.oid,
            server_version=(version or {"v": ""})["v"],
            dump_version=programs.run(database, "pg_dump", ["--version"]).strip(),
            revision=revision,
            tables=tables,
            database_bytes=facts.size,
            started=started,
            finished=started,
            remediation=work.remediation,
        )

    def _verify(self, database: Database, path: Path, manifest: Manifest, work: Work) -> None:
        name = self._throw_away(work)
        with database.connect(elsewhere(database)) as session:
            facts = inspect_database(session, self.live)
            load = self._loading(database, session, path, facts.shape.owner, name)
            create_database(session, name, facts.shape)
            write_mark(
                session, name, Mark(work.remediation, "verify"), "throw-away, to prove a backup"
            )
        try:
            load_archive(database, path, load)
            with connect_with(database, name, NO_TIMEOUTS) as session:
                restored = count_rows(session)
        finally:
            drop_database(database, name, work.remediation)
        wrong = [
            f"{table}: {restored.get(table, 'missing')} instead of {rows}"
            for table, rows in manifest.tables.items()
            if restored.get(table) != rows
        ]
        if wrong:
            raise PreconditionFailed(
                expected="a backup that restores to the rows that were counted when it was taken.",
                found="; ".join(wrong[:_SHOWN]) + ".",
                state="The backup was not stored; the live database was only read.",
                todo="Look at those tables for damage (amcheck), then run again.",
            )

    @staticmethod
    def _loading(
        database: Database, session: Connection, path: Path, owner: str, name: str
    ) -> Load:
        """Load with no more rights than the owner's, unless something in it needs more."""
        seen = scan_archive(database, path, data=False)
        superuser = is_superuser(session)
        public = (PUBLIC_OWNER,) if leaves_public(session, seen) else ()
        if not superuser:
            require_owners(session, seen, session.info.user, owner)
        return Load(
            into=name,
            role=owner if superuser and not beyond_owner(session, seen, owner) else "",
            unknown=find_unknown(session, seen.settings) + public,
            without=() if superuser else find_diagnostic(read_head(database, path).entries),
        )


def _count_in(session: Connection, snapshot: str) -> dict[str, int]:
    """Count in a session of its own: an error in it must not end the snapshot of the dump."""
    session.execute(_BEGIN)
    session.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(snapshot))
    counts = count_rows(session)
    session.execute("ROLLBACK")
    return counts


def _folder_prefix(work: Work) -> str:
    return f"remedy-{work.remediation}-"
