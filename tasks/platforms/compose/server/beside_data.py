"""Scripts beside the data of a server, in a container of its image that a successor can end.

Nothing of a volume is assumed to be on this machine: it is looked at where the engine has it.
"""

from collections.abc import Sequence
from uuid import uuid4

from docker.errors import APIError, NotFound
from docker.types import LogConfig
from docker.types import Mount as Mounted

from tasks.guardrails.systems import fencing_token, insist_on_fence
from tasks.platforms.applications import Completed
from tasks.platforms.compose.application.commands import remove, run_to_its_end
from tasks.platforms.compose.engine import OF_TARGET, OF_TOKEN, Mount
from tasks.platforms.compose.project import Project, owner
from tasks.platforms.compose.server.place import Place

ASIDE = "/remedy-aside"  # where a volume for what is set aside is seen
_NO_FOLDER = "bind source path does not exist"


class BesideData:
    """Runs scripts beside a server's data.

    Args:
        project: The compose project.
        target: Name of the target; with the fencing token on each container's labels.
        place: Where the data is.
    """

    def __init__(self, project: Project, target: str, place: Place) -> None:
        """Know them; runs nothing."""
        self._engine, self._place = project.engine, place
        self._target, self._owner = target, owner(project.name, target)

    def is_there(self) -> bool:
        """Say whether the volume is there that the data lies in: mounting would make it."""
        volume = self._place.mount.volume
        if not volume:
            return True
        with self._engine.client() as client:
            try:
                client.volumes.get(volume)
            except NotFound:
                return False
        return True

    def look(self, script: str, *arguments: str) -> Completed | None:
        """Run a script that cannot write; None where the data's volume or folder is not there.

        Args:
            script: For sh, as root.
            arguments: Its $1 and so on.

        Raises:
            Transient: The engine does not answer.
            PreconditionFailed: It refuses.
        """
        if not self.is_there():
            return None
        return self._run(script, arguments, [self._mounted(one) for one in self._place.mounts])

    def change(self, script: str, *arguments: str, aside: str = "") -> Completed | None:
        """Run a script that may write to the data, under our lease.

        Args:
            script: For sh, as root.
            arguments: Its $1 and so on.
            aside: A volume that it sees at `ASIDE`, '' for none.

        Raises:
            Transient: The engine does not answer.
            PreconditionFailed: It refuses.
            LeaseLost: Our lease ran out meanwhile; the script was not begun.
        """
        if not self.is_there():
            return None
        mounts = [self._mounted(self._place.mount, writes=True)]
        if aside:
            mounts.append(self._mounted(Mount("", ASIDE, aside), writes=True))
        return self._run(script, arguments, mounts)

    @staticmethod
    def _mounted(mount: Mount, *, writes: bool = False) -> Mounted:
        if not mount.volume:
            return Mounted(mount.inside, mount.source, type="bind", read_only=not writes)
        # Else the image's files of that place are put into an empty volume.
        return Mounted(
            mount.inside, mount.volume, type="volume", read_only=not writes, no_copy=True
        )

    def _run(
        self, script: str, arguments: Sequence[str], mounts: list[Mounted]
    ) -> Completed | None:
        with self._engine.client() as client:
            try:
                container = client.containers.create(
                    self._place.image,
                    ["-c", script, "sh", *arguments],
                    entrypoint=["sh"],
                    environment={"LC_ALL": "C"},
                    labels={OF_TARGET: self._owner, OF_TOKEN: str(fencing_token())},
                    name=f"remedy-{self._target}-{uuid4().hex[:12]}",
                    network_mode="none",
                    mounts=mounts,
                    user="0:0",
                    working_dir="/",
                    log_config=LogConfig(type="json-file"),  # its output is read from there
                )
            except APIError as error:
                if _NO_FOLDER in str(error.explanation):
                    return None
                raise
            try:
                insist_on_fence()  # behind its creation: from here on a successor sees it
                return run_to_its_end(container)
            finally:
                remove(container)
