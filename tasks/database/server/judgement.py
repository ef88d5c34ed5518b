"""Why a server accepts no connections, and what is to be done about it."""

from dataclasses import dataclass

from tasks.platforms.servers import Access, Folder, Look

# A server begins by writing a segment of its log (16 MB), and replay may need some more.
LEAST_FREE_BYTES = 48_000_000
_SHUT_OUT = 0o027  # the server starts only where these are not set
_BEYOND_RECOVERY = (
    "checkpoint record",
    "incorrect checksum in control file",
    "could not read from control file",
    "invalid data in control file",
)
_CAUSES = {
    "in production": "it ended without a shutdown: it crashed, or was killed",
    "in crash recovery": "it ended in the middle of recovering from a crash",
    "in archive recovery": "it ended in the middle of recovering from an archive",
    "shut down": "it was shut down in order, perhaps on purpose",
    "shut down in recovery": "it was shut down in order, in recovery",
    "shutting down": "it ended in the middle of its shutdown",
    "starting up": "it ended while it was started for the first time",
}


@dataclass(frozen=True)
class Obstacle:
    """Why a server that does not run is not started here.

    Args:
        what: What is in the way, as a sentence.
        todo: What a person does about it.
    """

    what: str
    todo: str


@dataclass(frozen=True)
class Judgement:
    """What is to be done about a server that accepts no connections.

    Args:
        why: Why it does not, as the rest of a sentence.
        obstacles: What is in the way; where there is something, nothing is done.
        access: Who shall be let into its data folder; None where that is right.
        stale: Whether its postmaster.pid is of no server, and keeps one from starting.
    """

    why: str
    obstacles: tuple[Obstacle, ...] = ()
    access: Access | None = None
    stale: bool = False


def judge(look: Look) -> Judgement:
    """Say what is to be done; whatever is not certain is an obstacle.

    Args:
        look: How the server stands.

    Returns:
        The judgement.
    """
    if look.holders:
        return Judgement(_why_running(look), tuple(_in_running(look)))
    state = look.control.state if look.control else ""
    return Judgement(
        why=_CAUSES.get(state, "why it ended is not known"),
        obstacles=tuple(_in_the_way(look)),
        access=_right_access(look),
        stale=look.pid_file is not None and look.pid_file.blocks,
    )


def _why_running(look: Look) -> str:
    if look.coming_up:
        return f"{look.holders[0]} is starting it"
    status = look.pid_file.status if look.pid_file else ""
    return f"{look.holders[0]} works in its data folder, its status is {status or 'not known'}"


def _in_running(look: Look) -> list[Obstacle]:
    """Find what is in the way where processes work in the data folder."""
    found = [
        Obstacle(f"{holder}.", f"Let it go on: {holder.go_on or f'kill -CONT {holder.pid}'}")
        for holder in look.holders
        if holder.stopped
    ]
    pid_file = look.pid_file
    if look.coming_up:
        return found
    if pid_file is None or pid_file.pid not in look.own_pids:
        found.append(
            Obstacle(
                f"{look.holders[0]} works in the data folder, and is not the server that "
                "postmaster.pid names: a server that was killed has left it, or it copies files.",
                "Find out what it does; end it, then run this again. Never remove "
                "postmaster.pid while it runs.",
            )
        )
    elif pid_file.status == "stopping":
        found.append(
            Obstacle(
                "It is shutting down, and waits for sessions or for a checkpoint to end.",
                "Run this again when it has ended. `pg_ctl stop -m fast` ends the sessions.",
            )
        )
    elif look.elsewhere:
        found.append(
            Obstacle(
                f"It runs, and listens at {look.elsewhere}.",
                "Correct `port` of the target, or the server's configuration.",
            )
        )
    elif pid_file.status in {"ready", "standby"}:
        found.append(
            Obstacle(
                "It says that it is ready, and cannot be connected to from here.",
                "Compare listen_addresses and firewalls with `host` and `port` of the target.",
            )
        )
    return found


def _in_the_way(look: Look) -> list[Obstacle]:
    """Find what is in the way of a start, what the rest depends on first."""
    if look.versions:
        return [Obstacle(f"{look.versions}.", "Install the programs of that version.")]
    return _in_folder(look) or _around(look)


def _in_folder(look: Look) -> list[Obstacle]:
    """Find what makes the data folder one that no server starts on."""
    if look.folder in {Folder.MISSING, Folder.EMPTY}:
        return [
            Obstacle(
                f"The data folder {look.data} is {look.folder}.",
                "Mount its disk if that is not mounted, or correct `data_directory` of the "
                "target. If there never was a database here: initialise_database.",
            )
        ]
    if look.folder is Folder.UNKNOWN:
        return [
            Obstacle(
                f"{look.data} is no data folder, and holds something.",
                "Correct `data_directory` of the target: it is where PG_VERSION lies, mostly a "
                "folder below.",
            )
        ]
    if look.folder is Folder.HALF_MADE:
        return [
            Obstacle(
                f"The data folder {look.data} was never made to its end.",
                "Run initialise_database.",
            )
        ]
    if look.damage:
        return [_beyond_recovery(f"The control file is damaged: {look.damage}.")]
    if words := [one for one in look.last_words if any(sign in one for sign in _BEYOND_RECOVERY)]:
        return [_beyond_recovery(f"The server said at its last start: {words[-1]}.")]
    return []


def _beyond_recovery(what: str) -> Obstacle:
    return Obstacle(
        what,
        "Keep the folder as it is. Never run pg_resetwal on it: that makes a server that starts "
        "on data that does not fit together. Restore a base backup, or make a new server and "
        "run restore_from_backup.",
    )


def _around(look: Look) -> list[Obstacle]:
    """Find what else is in the way of a start."""
    found = []
    if look.unseen:
        found.append(
            Obstacle(
                f"Whether a process works in the data folder cannot be seen: {look.unseen}.",
                "Run the worker as the server's user, or as root.",
            )
        )
    if look.manager:
        found.append(
            Obstacle(
                f"{look.manager} starts and stops this server.",
                f"Ask {look.manager} why it does not: another server may be the primary by now.",
            )
        )
    if look.configuration:
        found.append(
            Obstacle(
                f"The configuration is wrong: {look.configuration}.",
                "Correct it, then run this again.",
            )
        )
    if look.port_holder:
        found.append(
            Obstacle(
                f"The server's port is taken by {look.port_holder}.",
                "End that process, or give it another port.",
            )
        )
    if look.free_bytes is not None and look.free_bytes < LEAST_FREE_BYTES:
        found.append(
            Obstacle(
                f"Only {look.free_bytes / 1e6:.0f} MB are free where the data is.",
                "Free disk space. Never delete anything in pg_wal.",
            )
        )
    return found


def _right_access(look: Look) -> Access | None:
    """Give who has to be let into the data folder, where it is somebody else."""
    if look.access is None or look.access_inside is None:
        return None
    right = Access(
        user=look.access_inside.user,
        group=look.access_inside.group,
        mode=(look.access.mode | 0o700) & ~_SHUT_OUT,
    )
    if right.user == look.access.user and right.mode == look.access.mode:
        return None
    return right
