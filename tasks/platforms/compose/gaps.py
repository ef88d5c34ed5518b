"""A compose project of which something is not set that its files insist on (`${NAME:?}`)."""

from typing import Any

import yaml

from tasks.platforms.compose.complaints import insisted_on
from tasks.platforms.compose.project import Project

_NOT_SET = "remedy-not-set"


class ProjectWithGaps(Project):
    """A project whose settings can be read while compose refuses its files for what is not set.

    Its verbs refuse, as ever.
    """

    def unset(self) -> tuple[str, ...]:
        """Name the variables that the files insist on, of any service, and that are not set.

        Returns:
            As far as compose says; none where it refuses the files for another reason first.
        """
        given: dict[str, str] = {}
        while (done := self.try_to("config", "-q", variables=given)).status:
            name = insisted_on(done.errors)
            if not name or name in given:
                break
            given[name] = _NOT_SET
        return tuple(given)

    def described(self) -> dict[str, Any]:
        """Read what the compose files say, with a word of ours for what is not set.

        Raises:
            PreconditionFailed: The files cannot be read for another reason.
        """
        variables = dict.fromkeys(self.unset(), _NOT_SET)
        said: dict[str, Any] = yaml.safe_load(self.run("config", variables=variables))
        return said

    def settings(self, service: str, described: dict[str, Any] | None = None) -> dict[str, str]:
        """Give a service's environment; what is put together of something not set is empty."""
        given = super().settings(service, described)
        return {name: "" if _NOT_SET in value else value for name, value in given.items()}
