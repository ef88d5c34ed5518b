"""The sandbox's application with revisions of a test's own, and what they leave."""

import shutil
from pathlib import Path

from flows.database.back_up_database import back_up_database
from infra.sandbox.migrations import APPLICATION
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from tasks.database.schema.settings import settings_of
from tasks.guardrails.case import Case
from tasks.platforms import targets
from tasks.platforms.applications import Completed
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import carry_out
from tests.prefect_fixtures import Runs
from tests.snapshots import databases

REVISION = '''"""{message}

Revision ID: {name}
Revises: {before}
"""

import sqlalchemy as sa
from alembic import op

revision = "{name}"
down_revision = "{before}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Do it."""
{body}


def downgrade() -> None:
    """Take it back."""
{down}
'''
ADDS_COLUMN = 'op.add_column("projects", sa.Column("{column}", sa.Text()))'
HOSTILE = 'we, "ird; ta ble'
QUOTED = '"we, ""ird; ta ble"'
ONLY_IN_LIVE = """DO $$ BEGIN IF current_database() = 'planner' THEN {does}; END IF; END $$"""


class Shipped:
    """The application with revisions of a test's own behind its head.

    Args:
        sandbox: The sandbox, which runs as ever.
        folder: Where the copy of the application lies that migrates.
    """

    sandbox: Planner

    def __init__(self, sandbox: Sandbox, folder: Path) -> None:
        """Copy the application, and have the target migrate by the copy."""
        self.sandbox, self.folder = sandbox, folder / "application"
        shutil.copytree(APPLICATION, self.folder)
        self.known(limited=False)

    @property
    def versions(self) -> Path:
        """The folder of the revisions."""
        return self.folder / "alembic" / "versions"

    def known(self, *, limited: bool) -> None:
        """Make the system known as a target.

        Args:
            limited: Whether remediations connect as a role that is no superuser.
        """
        settings = self.sandbox.target_settings(limited=limited)
        targets.give(SandboxTarget(**{**settings, "application_directory": str(self.folder)}))

    def allow_stalls(self, seconds: float) -> None:
        """Have the target allow that users wait so long for a revision."""
        target = targets.load(self.sandbox.settings.name)
        settings_of(target).longest_stall_seconds = seconds

    def take_up(self) -> None:
        """Have the application's commands know the revisions: here they do at once."""

    def ship(self, name: str, before: str, body: str, down: str = "pass") -> str:
        """Add a revision."""
        texts = {
            part: "\n".join(f"    {line}" for line in text.splitlines())
            for part, text in (("body", body), ("down", down))
        }
        text = REVISION.format(name=name, before=before, message="A test's own.", **texts)
        (self.versions / f"{name}.py").write_text(text)
        return name

    def at(self) -> tuple[str, ...]:
        """Read what the live database says it is at."""
        with self.sandbox.connect() as session:
            return tuple(row[0] for row in session.execute("SELECT * FROM alembic_version"))

    def columns(self, table: str) -> set[str]:
        """Name the columns of a table of the live database."""
        with self.sandbox.connect() as session:
            rows = session.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0",
                [table],
            )
            return {row[0] for row in rows}


def sandbox_alembic(shipped: Shipped, *arguments: str) -> Completed:
    """Run Alembic by hand, as the guide does."""
    application = targets.load(shipped.sandbox.settings.name).application
    return application.run(["alembic", *arguments], {})


def back_up(runs: Runs, sandbox: Planner) -> None:
    """Take a backup by the remediation that does."""
    _, state = carry_out(runs, sandbox, back_up_database)
    assert state.name == "Remediated", state.message


def alter_role(sandbox: Planner, right: str) -> None:
    """Give the maintenance user a right, or take it."""
    with sandbox.connect("postgres") as session:
        session.autocommit = True
        session.execute(f"ALTER ROLE {sandbox.settings.maintenance_user} {right}".encode())


def left_over(sandbox: Planner) -> list[str]:
    """Name the databases and roles that a rehearsal has left."""
    with sandbox.connect("postgres") as session:
        roles = session.execute("SELECT rolname FROM pg_roles WHERE rolname ~ '^remedy'").fetchall()
    return [*(one for one in databases(sandbox) if "rehearsal" in one), *(one for (one,) in roles)]


def asked(case: Case) -> list[str]:
    """Name the stages for which approval was asked, with their risk."""
    return [f"{one.facts['gate']} {one.facts['risk']}" for one in case.of_kind("gate_opened")]


def found(case: Case) -> str:
    """Give all that the first plan has found, as one text."""
    findings = case.stages[0].stage.findings
    return "\n".join(f"{one.what} {one.rows} {one.patch}" for one in findings)
