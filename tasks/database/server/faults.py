"""What keeps a database's server from running, and the plan that starts it."""

import time
from dataclasses import dataclass

from tasks.database.server.judgement import Judgement, judge
from tasks.database.server.start import SetFolderAccess, SetPidFileAside, StartServer
from tasks.database.server.state import Recovery, describe, find_recovery, find_refusal
from tasks.guardrails.plan import Change, Finding
from tasks.guardrails.probe import probe
from tasks.platforms import targets
from tasks.platforms.protocols import Database
from tasks.platforms.servers import Look, Server

_LOOK_SECONDS = 0.25
_SETTLES_SECONDS = 10.0
_PAUSED = (
    "Find out who paused it and why: a restore to a point in time waits so for somebody to look. "
    "Then SELECT pg_wal_replay_resume() goes on, and pg_promote() ends it."
)
_IN_RECOVERY = "If it is a standby, have the target name the primary; else wait until it is done."


@dataclass(frozen=True)
class ServerFaults:
    """Why a database's server accepts no connections, and what is done about it.

    Args:
        findings: What was found, for the plan.
        changes: What is done.
    """

    findings: tuple[Finding, ...]
    changes: tuple[Change, ...]


@probe
def find_server_faults(target: str) -> ServerFaults:
    """Find out why a database's server accepts no connections.

    Args:
        target: Name of the target.

    Returns:
        Findings and changes; nothing to do where it accepts them.

    Raises:
        PreconditionFailed: Its processes and files cannot be seen from here.
    """
    system = targets.load(target)
    refusal = find_refusal(system.database)
    if not refusal:
        return ServerFaults((_describe_running(system.database),), ())
    look = _settled(system.server)
    judged = judge(look)
    findings = (
        Finding(
            what=f"The server accepts no connections: {judged.why}.",
            how="a connection; its processes, postmaster.pid, pg_controldata, postgres -C, its log",
            columns=("looked at", "seen"),
            rows=describe(look),
        ),
        *(
            Finding(what=one.what, how="the table above", patch=one.todo)
            for one in judged.obstacles
        ),
    )
    changes = () if judged.obstacles else _plan(look, judged)
    return ServerFaults(findings, changes)


def _describe_running(database: Database) -> Finding:
    """Say of a server that answers whether one can write there; raises where it lets us not in."""
    recovery = find_recovery(database)
    if recovery is Recovery.DONE:
        return Finding(what="The server runs and accepts connections.", how="a connection to it")
    return Finding(
        what="The server runs and can be read; nobody writes there, as it is in recovery"
        f"{', which somebody has paused' if recovery is Recovery.PAUSED else ''}.",
        how="pg_is_in_recovery, pg_is_wal_replay_paused",
        patch=_PAUSED if recovery is Recovery.PAUSED else _IN_RECOVERY,
    )


def _settled(server: Server) -> Look:
    """Look when what a killed server has left has ended: its processes follow it in a moment."""
    give_up = time.monotonic() + _SETTLES_SECONDS
    while True:
        look = server.look()
        named = look.pid_file is not None and look.pid_file.pid in look.own_pids
        left = bool(look.own_pids) and not named and not look.coming_up
        if not left or time.monotonic() > give_up:
            return look
        time.sleep(_LOOK_SECONDS)


def _plan(look: Look, judged: Judgement) -> tuple[Change, ...]:
    changes: list[Change] = []
    if judged.access and look.access:
        was, will = look.access, judged.access
        changes.append(
            SetFolderAccess(
                data=look.data,
                before=(was.user, was.group, was.mode),
                after=(will.user, will.group, will.mode),
            )
        )
    if judged.stale and look.pid_file:
        changes.append(
            SetPidFileAside(
                data=look.data,
                pid=look.pid_file.pid,
                pid_is=look.pid_file.pid_is,
                text=look.pid_file.text,
            )
        )
    control = look.control
    changes.append(
        StartServer(
            data=look.data,
            system_identifier=control.system_identifier if control else "",
            is_standby=look.is_standby,
            in_order=control.in_order if control else None,
        )
    )
    return tuple(changes)
