"""Say the application's health check otherwise, and make its containers anew with it."""

from collections.abc import Mapping
from typing import ClassVar

from tasks.containers.health_text import Wording, with_wording
from tasks.containers.remade import EditAndMakeAnew
from tasks.platforms.definitions import Definition


class RewriteHealthCheck(EditAndMakeAnew):
    """Edit a health check where the compose files say it, and have the application made anew.

    Args:
        wording: What is said otherwise.
        was: What was wrong with it.
    """

    kind: ClassVar[str] = "containers.rewrite_health_check"

    wording: Wording
    was: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"have a health check of {self.service} that {self.wording}"

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"its check: {self.was}", f"its check {self.wording}"

    def written(self, definition: Definition) -> Mapping[str, str]:
        """Make the new texts from the present ones, by name."""
        return with_wording(definition.texts(), self.service, self.wording)
