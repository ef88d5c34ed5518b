"""A server for an application that has none yet, with what is half-made set aside.

Source: PostgreSQL manual, initdb; a server's system identifier holds the second in which its
data folder was made (src/backend/access/transam/xlog.c, BootStrapXLOG).
"""

import math
import time
from typing import ClassVar

from tasks.application.login import find_variables
from tasks.database.catalogue import elsewhere
from tasks.database.server.rows_of_users import find_rows, loss_of
from tasks.database.server.state import find_refusal
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Loss, Observed, Reverts, Standing, Work
from tasks.platforms import targets
from tasks.platforms.protocols import Connection, System
from tasks.platforms.servers import Folder, Look

_CLOCKS_DIFFER_BY = 2
_TAIL = 1500


class SetFolderAside(Change):
    """Give a data folder that was never made to its end another name; nothing is deleted.

    Args:
        data: The data folder.
    """

    kind: ClassVar[str] = "database.set_folder_aside"
    permissions: ClassVar[tuple[str, ...]] = ("host:rename the data folder",)
    reverts: ClassVar[Reverts] = "exact"

    data: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"set the half-made data folder {self.data} aside"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"folder {self.data}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return "it is half-made", "it is beside, under another name, until a person removes it"

    def observe(self, work: Work) -> Observed:
        """Look what is in its place."""
        look = targets.load(work.target).server.look()
        detail = f"{self.data} is {look.folder}"
        if look.folder is Folder.HALF_MADE and not look.holders:
            return Observed(Standing.BEFORE, detail)
        gone = look.folder in {Folder.MISSING, Folder.EMPTY}
        return Observed(Standing.AFTER if gone else Standing.OTHER, detail)

    def apply(self, work: Work) -> str:
        """Rename it."""
        targets.load(work.target).server.set_folder_aside(self._aside(work))
        return f"it is {self._aside(work)} now"

    def revert(self, work: Work) -> None:
        """Give it its name again."""
        targets.load(work.target).server.put_folder_back(self._aside(work))

    def _aside(self, work: Work) -> str:
        return f"{self.data.rpartition('/')[2]}.remedy-{work.remediation}-half-made"


class InitialiseServer(Change):
    """Make a server with its roles and an empty database.

    Args:
        data: Its data folder.
        database: Name of the database.
        since: Second (Unix time) of the plan: a server made before it is not ours.
    """

    kind: ClassVar[str] = "database.initialise_server"
    permissions: ClassVar[tuple[str, ...]] = ("host:initdb", "host:start the server")
    reverts: ClassVar[Reverts] = "exact"

    data: str
    database: str
    since: int

    @classmethod
    def plan(cls, look: Look, database: str, needs: tuple[str, ...]) -> "InitialiseServer":
        """Plan it, as from now."""
        return cls(data=look.data, database=database, since=int(time.time()), needs=needs)

    @property
    def title(self) -> str:
        """What the change does."""
        return f"make a PostgreSQL server in {self.data} with an empty database {self.database}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"folder {self.data}", f"database {self.database}")

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        return f"{self.data} holds nothing", "a server runs on it, with the database and its owner"

    def observe(self, work: Work) -> Observed:
        """Look what is in the folder, who made it, and whether it answers."""
        system = targets.load(work.target)
        look = system.server.look()
        if not look.holders and look.folder in {Folder.MISSING, Folder.EMPTY}:
            return Observed(Standing.BEFORE, f"{self.data} is {look.folder}")
        begun = work.begun_at is not None
        if begun and look.coming_up:  # it goes on though an earlier attempt was cut off
            return Observed(Standing.UNDERWAY, f"{look.holders[0]} is making it")
        if look.folder is Folder.HALF_MADE:
            return Observed(Standing.HALF if begun else Standing.OTHER, f"{self.data} is half-made")
        if not self._is_ours(look):
            return Observed(Standing.OTHER, f"{self.data} holds a server that was there before")
        return self._observe_ours(system)

    def _observe_ours(self, system: System) -> Observed:
        if find_refusal(system.database):
            return Observed(Standing.HALF, "the server was made, and accepts no connections")
        try:
            with system.database.connect(elsewhere(system.database)) as session:
                there = self._is_the_applications(session, system)
        except PreconditionFailed as error:  # its roles were not made yet
            return Observed(
                Standing.HALF, f"the server was made, and lets us not in: {error.found}"
            )
        detail = f"the server runs, {'with' if there else 'without'} database {self.database}"
        return Observed(Standing.AFTER if there else Standing.HALF, detail)

    def _is_the_applications(self, session: Connection, system: System) -> bool:
        """Say whether the database is there for the application: its role may come later."""
        user = system.application.settings().get(find_variables(system).user, "")
        row = session.execute(
            """SELECT pg_has_role(r.oid, d.datdba, 'MEMBER') AS may
               FROM pg_database d, pg_roles r WHERE d.datname = %s AND r.rolname = %s""",
            (self.database, user),
        ).fetchone()
        return bool(row and row["may"])

    def _is_ours(self, look: Look) -> bool:
        if look.control is None:
            return False
        made = int(look.control.system_identifier) >> 32
        return made >= self.since - _CLOCKS_DIFFER_BY

    def apply(self, work: Work) -> str:
        """Have it made; what is there of it already stays."""
        server = targets.load(work.target).server
        if server.look().folder is Folder.HALF_MADE:  # ours: an earlier attempt was cut off
            server.set_folder_aside(self._aside(work))
        server.initialise()
        control = server.look().control
        return f"system identifier {control.system_identifier}" if control else ""

    def revert(self, work: Work) -> str:
        """Stop it, and set aside what was made."""
        server = targets.load(work.target).server
        look = server.look()
        if look.folder in {Folder.MISSING, Folder.EMPTY} or not (
            look.folder is Folder.HALF_MADE or self._is_ours(look)
        ):
            return "there is nothing of it"
        server.stop()
        server.set_folder_aside(self._aside(work))
        return f"what was made is {self._aside(work)} now"

    def _aside(self, work: Work) -> str:
        name = self.data.rpartition("/")[2]
        return f"{name}.remedy-{work.remediation}-made-{time.time_ns()}"

    def undo_loss(self, work: Work) -> Loss | None:
        """Count the rows that are in it by now."""
        system = targets.load(work.target)
        if not find_refusal(system.database):
            return loss_of(find_rows(system))
        look = system.server.look()
        if look.folder is not Folder.WHOLE or not self._is_ours(look):
            return None
        told = "The server that was made accepts no connections: what users wrote is not counted."
        return Loss(math.inf, "rows", told)
