"""The application's migrations, run as the application runs them."""

import sys
from pathlib import Path
from typing import Protocol

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.sandbox.application import LocalApplication

APPLICATION = Path(__file__).with_name("application")
HEAD, BEFORE_HEAD = "e90f3b6a7d44", "c47d91ab02e5"


class HasEnvironment(Protocol):
    """What knows the application's settings."""

    def application_environment(self) -> dict[str, str]:
        """Give them."""


def migrate(sandbox: HasEnvironment, revision: str = "head") -> None:
    """Bring the application's database to a revision.

    Args:
        sandbox: Where.
        revision: The revision, or `head`.

    Raises:
        PreconditionFailed: Alembic failed; says why.
    """
    verb = "downgrade" if revision in {BEFORE_HEAD, "base"} else "upgrade"
    application = LocalApplication(
        url="",
        control_url="",
        directory=APPLICATION,
        programs=Path(sys.executable).parent,
        environment=sandbox.application_environment(),
    )
    done = application.run(["alembic", verb, revision], {})
    if done.status:
        raise PreconditionFailed(
            expected=f"alembic to bring the sandbox's database to {revision}.",
            found=done.errors[-1000:],
            state="The revisions are in one transaction: the database is as it was.",
            todo="Correct what alembic names.",
        )
