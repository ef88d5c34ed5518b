"""What nginx has written to its container's output of requests."""

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.compose.project import Project


class ComposeAccessLog:
    """The output of nginx's container.

    Args:
        project: The compose project.
        service: nginx's service, '' for none.
    """

    def __init__(self, project: Project, service: str) -> None:
        """Keep where it is; asks nothing."""
        self._project, self._service = project, service

    def lines(self, most: int) -> list[str]:
        """Read its newest lines.

        Args:
            most: How many at most.

        Returns:
            The lines, the oldest first.

        Raises:
            PreconditionFailed: The target names no nginx.
            Transient: There is no container of it, or the engine does not answer.
        """
        if not self._service:
            raise PreconditionFailed(
                expected="nginx before the application, with its access log.",
                found="the target names none.",
                todo="Set `proxy_service` of the target.",
            )
        found = self._project.container(self._service)
        with self._project.engine.client() as client:
            said = client.containers.get(found.id).logs(stdout=True, stderr=True, tail=most)
        return bytes(said).decode(errors="replace").splitlines()
