"""Start the server of a database: what is in the way first, then the server itself."""

import time
from typing import ClassVar

from tasks.database.reporting import Reporter
from tasks.database.server.judgement import judge
from tasks.database.server.patience import Patience, did_not_come_up
from tasks.database.server.state import Recovery, find_recovery, find_refusal
from tasks.guardrails.plan import Change, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Database
from tasks.platforms.servers import Access, Look

_LOOK_SECONDS = 0.25


class SetFolderAccess(Change):
    """Let nobody but the server's user into its data folder: it starts on no other.

    Args:
        data: The data folder.
        before: Who may enter it.
        after: Who shall.
    """

    kind: ClassVar[str] = "database.set_folder_access"
    permissions: ClassVar[tuple[str, ...]] = ("host:chown", "host:chmod")
    # A running server needs to enter its folder, and one that is closed to others harms nobody.
    reverts: ClassVar[Reverts] = "pointless"

    data: str
    before: tuple[int, int, int]
    after: tuple[int, int, int]

    @property
    def title(self) -> str:
        """What the change does."""
        return f"let only the server's user into {self.data}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"folder {self.data}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return str(Access(*self.before)), str(Access(*self.after))

    def observe(self, work: Work) -> Observed:
        """Look who may enter it."""
        now = targets.load(work.target).server.look().access
        seen = (now.user, now.group, now.mode) if now else None
        detail = f"the folder belongs to {now}" if now else "the folder is gone"
        if seen == self.after:
            return Observed(Standing.AFTER, detail)
        # Owner and mode are set one after the other.
        mixed = seen is not None and all(
            one in {was, will} for one, was, will in zip(seen, self.before, self.after, strict=True)
        )
        return Observed(Standing.BEFORE if mixed else Standing.OTHER, detail)

    def apply(self, work: Work) -> None:
        """Set owner and mode."""
        targets.load(work.target).server.set_access(Access(*self.after))


class SetPidFileAside(Change):
    """Give a postmaster.pid that is of no server and keeps one from starting another name.

    Args:
        data: The data folder.
        pid: The number in it.
        pid_is: Whose number that is now, '' for nobody's.
        text: All that it says.
    """

    kind: ClassVar[str] = "database.set_pid_file_aside"
    permissions: ClassVar[tuple[str, ...]] = ("host:rename in the data folder",)
    reverts: ClassVar[Reverts] = "pointless"

    data: str
    pid: int
    pid_is: str
    text: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"set the stale postmaster.pid in {self.data} aside"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"file {self.data}/postmaster.pid",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        whose = f"is {self.pid_is} and works elsewhere" if self.pid_is else "is gone"
        return (
            f"it names process {self.pid}, which {whose}" if self.pid else "it names no process",
            "it has another name; the server writes a new one",
        )

    def observe(self, work: Work) -> Observed:
        """Look for the file, and for processes in the folder."""
        look = targets.load(work.target).server.look()
        if look.pid_file is None or look.pid_file.text != self.text:
            return Observed(Standing.AFTER, "there is no such postmaster.pid")
        if look.holders or look.unseen:
            return Observed(Standing.OTHER, f"{look.holders[0] if look.holders else look.unseen}")
        return Observed(Standing.BEFORE, f"it names process {look.pid_file.pid}")

    def apply(self, work: Work) -> str:
        """Rename it, if still no process works in the folder."""
        targets.load(work.target).server.set_pid_file_aside(self._aside(work), self.text)
        return f"it is {self._aside(work)} now"

    def revert(self, work: Work) -> None:
        """Put it back where no server has written a new one."""
        targets.load(work.target).server.put_pid_file_back(self._aside(work))

    @staticmethod
    def _aside(work: Work) -> str:
        return f"postmaster.pid.remedy-{work.remediation}"


class StartServer(Change):
    """Start the server, and wait until it accepts connections and its recovery is done.

    Args:
        data: Its data folder.
        system_identifier: Who it is, by its control file.
        is_standby: Whether it is configured as a standby: it stays in recovery.
        in_order: Whether it was shut down in order; None where its control file does not say.
    """

    kind: ClassVar[str] = "database.start_server"
    permissions: ClassVar[tuple[str, ...]] = ("host:start the server",)
    reverts: ClassVar[Reverts] = "pointless"  # a database that runs stays so

    data: str
    system_identifier: str
    is_standby: bool = False
    in_order: bool | None = None

    @property
    def title(self) -> str:
        """What the change does."""
        return "start the database's server"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"server {self.system_identifier}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return "it does not run", "it accepts connections, and its recovery is done"

    def observe(self, work: Work) -> Observed:
        """Connect; where that fails, look for its processes."""
        system = targets.load(work.target)
        if not find_refusal(system.database):
            return self._observe_recovery(system.database)
        look = system.server.look()
        control = look.control
        if control and control.system_identifier != self.system_identifier:
            return Observed(Standing.OTHER, f"{self.data} is of {control.system_identifier}")
        if not look.holders:
            if work.is_to_begin and (why := self._why_not(look)):
                return Observed(Standing.OTHER, why)
            return Observed(Standing.BEFORE, "no process works in its data folder")
        if obstacles := judge(look).obstacles:
            return Observed(Standing.OTHER, obstacles[0].what)
        return Observed(Standing.UNDERWAY, f"{look.holders[0]} is coming up")

    def _why_not(self, look: Look) -> str:
        """Say what has come since it was planned, '' for nothing."""
        if obstacles := judge(look).obstacles:
            return obstacles[0].what
        if look.is_standby != self.is_standby:
            return "it is a standby now" if look.is_standby else "it is no standby any more"
        if look.control and self.in_order not in {None, look.control.in_order}:
            return f"it has run since: its control file says {look.control.state!r} now"
        return ""

    def _seen(self, database: Database) -> Observed:
        """Connect; where that fails it is coming up, as far as is seen from here."""
        if refusal := find_refusal(database):
            return Observed(Standing.UNDERWAY, refusal)
        return self._observe_recovery(database)

    def _observe_recovery(self, database: Database) -> Observed:
        found = Recovery.DONE if self.is_standby else find_recovery(database)
        if found is Recovery.PAUSED:
            return Observed(Standing.OTHER, "its recovery is paused: somebody has to resume it")
        if found is Recovery.UNDERWAY:
            return Observed(Standing.UNDERWAY, "it accepts connections and still recovers")
        return Observed(Standing.AFTER, "it accepts connections")

    def apply(self, work: Work) -> str:
        """Start it, and wait; where it ends instead, say what it said.

        Raises:
            PreconditionFailed: It does not come up.
        """
        system = targets.load(work.target)
        server, began = system.server, time.monotonic()
        position = server.log_position()
        server.start()
        patience, reporter = Patience(server), Reporter(work)
        while (seen := self._seen(system.database)).standing is not Standing.AFTER:
            if seen.standing is Standing.OTHER:
                raise did_not_come_up([seen.detail])
            said = server.logged_since(position)
            patience.insist(said)
            if said:
                reporter.tell(0.5, said[-1])
            time.sleep(_LOOK_SECONDS)
        took = f"it accepts connections after {time.monotonic() - began:.1f} s"
        redo = [line for line in server.logged_since(position) if "redo done" in line]
        return "; ".join([took, *redo])
