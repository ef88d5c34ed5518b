"""Containers of the application one by one, where there are several: compose makes all anew.

One is led past, another is made from the files as they are now, takes its name, and it goes: at
every moment there are as many as the files say, or one more that gets no requests.
"""

from tasks.guardrails import faults
from tasks.guardrails.errors import PreconditionFailed, RemediationError
from tasks.platforms.compose.application.proxy import ComposeProxy
from tasks.platforms.compose.application.scaling import ComposeScaling
from tasks.platforms.compose.project import Project
from tasks.platforms.scaling import replicas_said


class Several:
    """The application's containers where there are several.

    Args:
        project: The compose project.
        proxy: nginx before it, None for none.
        scaling: Its containers.
    """

    def __init__(
        self, project: Project, proxy: ComposeProxy | None, scaling: ComposeScaling
    ) -> None:
        """Keep where they are; asks nothing."""
        self._project, self._proxy, self._scaling = project, proxy, scaling
        self._service = scaling.service

    def led_past(self) -> frozenset[str]:
        """Name those to which nginx leads no requests."""
        led = self._proxy.led() if self._proxy else frozenset()
        return frozenset(one.name for one in self._scaling.containers() if led) - led

    def lead_past(self, name: str) -> bool:
        """Have nginx lead requests to the others, and wait for those on the way.

        Args:
            name: Name of the one that gets no more.

        Returns:
            Whether there are others to which it leads now.

        Raises:
            PreconditionFailed: nginx's configuration has no place for names.
            Transient: Requests on the way do not end.
        """
        others = [one.name for one in self._scaling.seen() if one.led and one.name != name]
        if self._proxy is None or not others:
            return False
        self._proxy.lead(others)
        return True

    def lead_to(self, name: str) -> None:
        """Have nginx lead requests to one again; to all, where no other is left out.

        Args:
            name: Its name.
        """
        if self._proxy is None or self._proxy.led_by() is None:
            return
        if self.led_past() - {name}:
            self._proxy.lead(sorted(self._proxy.led() | {name}))
        else:
            self._proxy.lead()

    def make_anew(self, name: str) -> bool:
        """Make one anew with the settings as they are now, and wait until it answers.

        Args:
            name: Its name; the new one has it too.

        Returns:
            False where there is only one, which compose makes anew by itself.

        Raises:
            PreconditionFailed: There are not as many as the files say, or the new one does not
                come up: the old one is still there.
        """
        before = self._scaling.containers()
        said = replicas_said(self._project.configuration(self._service))
        if not before or len(before) == said == 1:
            return False
        if len(before) > said:  # made for another try, which came to nothing
            others = [one.name for one in before if one.name in self.led_past() - {name}]
            self._scaling.remove(others[said - len(before) :])
            before = self._scaling.containers()
        if len(before) != said:
            raise PreconditionFailed(
                expected=f"as many containers of {self._service} as the compose files say: {said}.",
                found=f"{len(before)}: compose would make some anew or remove them.",
                state=f"{name} is as it was.",
                todo="Have the files say how many there are (scale_application does), run again.",
            )
        try:
            self._scaling.add(said + 1)
        except RemediationError:
            self._remove_but([one.name for one in before])
            raise
        known = {one.name for one in before}
        (new,) = [one for one in self._scaling.containers() if one.name not in known]
        self._scaling.remove([name])
        faults.point("before-rename:compose.several")
        with self._project.engine.client() as client:
            client.containers.get(new.id).rename(name)
        return True

    def end_surplus(self, token: int) -> list[str]:
        """Remove what an older remediation has made beyond what the files say; it gets no requests.

        Args:
            token: The fencing token held now.

        Returns:
            A sentence for each that was removed.
        """
        past, by = self.led_past(), self._proxy.led_by() if self._proxy else None
        if self._proxy is None or by is None or by >= token:
            return []
        if not past:
            self._proxy.lead()
            return []
        said = replicas_said(self._project.configuration(self._service))
        found = self._scaling.containers()
        beyond = len(found) - said
        if beyond <= 0:
            return []
        surplus = [one.name for one in found if one.name in past][-beyond:]
        self._proxy.lead(sorted(self._proxy.led()))  # requests on the way there end first
        self._scaling.remove(surplus)
        return [f"container {one}, which was to take another's place" for one in surplus]

    def _remove_but(self, kept: list[str]) -> None:
        left = [one.name for one in self._scaling.containers() if one.name not in kept]
        self._scaling.remove(left)
