"""A compose project of which something is not set that its files insist on (`${NAME:?}`)."""

from typing import Any

from tasks.platforms.compose.project import Project

_NOT_SET = "remedy-not-set"


class ProjectWithGaps(Project):
    """A project whose settings can be read while compose refuses its files for what is not set.

    Its verbs refuse, as ever.
    """

    def settings(self, service: str, described: dict[str, Any] | None = None) -> dict[str, str]:
        """Give a service's environment; what is put together of something not set is empty.

        Raises:
            PreconditionFailed: The files cannot be read for another reason.
        """
        variables = dict.fromkeys(self.unset(), _NOT_SET)
        given = super().settings(service, described or self.described(variables))
        return {name: "" if _NOT_SET in value else value for name, value in given.items()}
