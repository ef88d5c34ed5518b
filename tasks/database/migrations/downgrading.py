"""Take one revision of the live database back, with a backup taken before the first one goes."""

from typing import ClassVar

from tasks.database.backup.dump import BackUpDatabase
from tasks.database.migrations.losses import Dropped, count_held, name_dropped
from tasks.database.migrations.moving import MovesSchema
from tasks.database.schema.settings import filled
from tasks.guardrails.errors import UndoFailed
from tasks.guardrails.plan import Loss, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.migration_settings import MigrationSettings


class BackUpFirst(BackUpDatabase):
    """Back live up, proved by restoring it; an undo leaves the backup where it is.

    Args:
        live: Name of the database.
        live_oid: Its OID.
        name: Name of the backup in the target's store.
        compression: 'zstd' or 'gzip'.
    """

    kind: ClassVar[str] = "database.back_up_first"
    # What is dropped afterwards an upgrade does not bring back: this alone has it.
    reverts: ClassVar[Reverts] = "pointless"

    def revert(self, work: Work) -> None:
        """Remove what an attempt left that came to no end."""
        if self.observe(work).standing in {Standing.BEFORE, Standing.HALF}:
            super().revert(work)


class _UpgradeAgain(MovesSchema):
    """The way back of a downgrade."""

    stays: ClassVar[str] = ""
    or_else: ClassVar[str] = ""


class DowngradeRevision(MovesSchema):
    """Take the live database one revision back, by the application's Alembic.

    Its undo is the upgrade: of the schema it brings back all that its rehearsal did, of the
    rows nothing.

    Args:
        live: Name of the live database.
        before: The revision that is taken back.
        after: The revision before it.
        in_transaction: Always: a downgrade of another sort is never planned.
        script: The digest of its downgrade as rehearsed, '' where unknown.
        cut_after: Seconds that others may wait for it at a stretch; then it is ended.
        statement_seconds: How long one of its statements may take.
        back_in_transaction: Whether its upgrade is one transaction.
        back_script: The digest of its upgrade as rehearsed, '' where unknown.
        back_drops: What its upgrade drops, as rehearsed: schema, table and column.
    """

    kind: ClassVar[str] = "database.downgrade_revision"
    but: ClassVar[str] = ", but nothing of what it dropped: neither rows nor values"
    asked_each_time: ClassVar[bool] = True
    stays: ClassVar[str] = ""
    or_else: ClassVar[str] = ""

    back_in_transaction: bool = True
    back_script: str = ""
    back_drops: tuple[Dropped, ...] = ()

    @property
    def title(self) -> str:
        """What the change does."""
        return f"downgrade {self.live} from revision {self.before} to {self.after}"

    @property
    def revision(self) -> str:
        """The revision that runs."""
        return self.before

    @property
    def subject(self) -> str:
        """What runs, as its errors call it."""
        return f"the downgrade of {self.before}"

    def command(self, settings: MigrationSettings, revision: str) -> list[str]:
        """Give the command that leads to an older revision."""
        return filled(settings.downgrade, revision)

    def revert(self, work: Work) -> str:
        """Upgrade again, where the downgrade went through."""
        seen = self.observe(work)
        if seen.standing is Standing.BEFORE:
            return seen.detail
        if seen.standing is Standing.OTHER:
            raise UndoFailed(
                expected=f"{self.live} at revision {self.after}, to upgrade it to {self.before}.",
                found=f"{seen.detail}.",
                state="It is left as it is.",
                todo="Bring it to a revision that it is known to be at, by hand; then stamp that.",
            )
        way_back = _UpgradeAgain(
            live=self.live,
            before=self.after,
            after=self.before,
            in_transaction=self.back_in_transaction,
            script=self.back_script,
            cut_after=self.cut_after,
            statement_seconds=self.statement_seconds,
        )
        return f"upgraded again: {way_back.apply(work)}; what was dropped is in the backup only"

    def undo_loss(self, work: Work) -> Loss | None:
        """Count what is in the columns and tables that its upgrade drops."""
        if not self.back_drops:
            return None
        database = targets.load(work.target).database
        counted = count_held(database, self.live, self.back_drops)
        amount = sum(one or 0 for one in counted.values())
        if not amount:
            return None
        names = ", ".join(name_dropped(one) for one, many in counted.items() if many)
        sentence = (
            f"Upgrading again drops {names}: {amount:,} rows and values are there now, some of "
            "them put there by the downgrade itself."
        )
        return Loss(float(amount), "rows and values", sentence)
