"""What an application without a database needs, and whether it is certain that it has none."""

from dataclasses import dataclass

from tasks.application.login import find_variables
from tasks.database.catalogue import elsewhere, find_database
from tasks.database.marks import read_mark
from tasks.database.schema.revision import read_revision
from tasks.database.schema.settings import settings_of
from tasks.database.server.first_database import (
    CreateFirstDatabase,
    MigrateFirstTime,
    newest_revision,
)
from tasks.database.server.initialise_server import InitialiseServer, SetFolderAside
from tasks.database.server.judgement import judge
from tasks.database.server.rows_of_users import insist_on_no_rows
from tasks.database.server.state import describe, find_refusal
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.protocols import Connection, System
from tasks.platforms.servers import Folder


@dataclass(frozen=True)
class FirstData:
    """What an application without a database needs.

    Args:
        findings: What was found, for the plan.
        changes: What is made; none where it has all.
        makes_server: Whether a whole server is made: its data may be elsewhere.
    """

    findings: tuple[Finding, ...]
    changes: tuple[Change, ...]
    makes_server: bool = False


@probe
def find_first_data(target: str) -> FirstData:
    """Find out what an application has instead of a database, and what it needs.

    Args:
        target: Name of the target.

    Returns:
        Findings and changes.

    Raises:
        PreconditionFailed: There is data, or it is not certain that there is none.
    """
    system = targets.load(target)
    newest = newest_revision(system)
    if find_refusal(system.database):
        return _without_server(system, newest)
    return _on_server(system, newest)


def _on_server(system: System, newest: str) -> FirstData:
    database = system.database
    with database.connect(elsewhere(database)) as session:
        there = find_database(session, database.name) is not None
        if not there:
            return _without_database(session, system, newest)
    insist_on_no_rows(system)
    with database.connect() as session:
        revision = read_revision(session, settings_of(system).version_table)
    found = Finding(
        what=f"Database {database.name} is there, holds no row, and its schema has revision "
        f"{revision or 'none'}; the application's is {newest}.",
        how="a count of every table; the table of the revision; the application's history",
    )
    if revision == newest:
        return FirstData((found,), ())
    change = MigrateFirstTime(database=database.name, before=revision, after=newest)
    return FirstData((found,), (change,))


def _without_database(session: Connection, system: System, newest: str) -> FirstData:
    database = system.database
    owner = system.application.settings().get(find_variables(system).user, "")
    others = _others(session)
    known = session.execute("SELECT FROM pg_roles WHERE rolname = %s", (owner,)).fetchone()
    if known is None:
        raise PreconditionFailed(
            expected="the role that the application logs in as, to own its database.",
            found=f"none named {owner!r} on the server.",
            todo="Run repair_database_credentials, then run this again.",
        )
    return FirstData(
        (
            Finding(
                what=f"The server runs and has no database {database.name}.",
                how="pg_database",
                columns=("database that there is", "MB", "what it says of itself")
                if others
                else (),
                rows=others,
                patch="Approve only if none of these is it under another name." if others else "",
            ),
            *_backups(system),
        ),
        (
            CreateFirstDatabase(name=database.name, owner=owner),
            MigrateFirstTime(
                database=database.name,
                before="",
                after=newest,
                needs=(CreateFirstDatabase.kind,),
            ),
        ),
    )


def _others(session: Connection) -> tuple[tuple[str, str, str], ...]:
    """List the databases that there are: the one that is missing may have another name.

    Raises:
        PreconditionFailed: A remediation keeps one: there was data.
    """
    rows = session.execute(
        """SELECT datname AS name, CASE WHEN has_database_privilege(oid, 'CONNECT')
               THEN (pg_database_size(oid) / 1000000)::text ELSE '?' END AS size,
             coalesce(shobj_description(oid, 'pg_database'), '') AS comment
           FROM pg_database WHERE NOT datistemplate AND datname <> current_database()
           ORDER BY datname"""
    ).fetchall()
    if kept := [row["name"] for row in rows if read_mark(row["comment"])]:
        raise PreconditionFailed(
            expected="a server on which the application never had a database.",
            found=f"what remediations made or keep of it: {', '.join(kept)}.",
            todo="Find out in `remedy runs` which of them it is, and undo or recover that one.",
        )
    return tuple((row["name"], row["size"], row["comment"]) for row in rows)


def _without_server(system: System, newest: str) -> FirstData:
    look = system.server.look()
    judged = judge(look)
    if look.holders or look.unseen or look.folder in {Folder.WHOLE, Folder.UNKNOWN}:
        raise PreconditionFailed(
            expected=f"a data folder {look.data} without a database in it, used by nobody.",
            found=f"the server accepts no connections, and {judged.why}; {look.data} is "
            f"{look.folder}.",
            todo="Nothing is initialised where there may be data: run start_database, which says "
            "what is in the way.",
        )
    aside = (SetFolderAside(data=look.data),) if look.folder is Folder.HALF_MADE else ()
    name = system.database.name
    made = InitialiseServer.plan(look, name, tuple(one.kind for one in aside))
    return FirstData(
        (
            Finding(
                what=f"No server runs, and the data folder {look.data} is {look.folder}.",
                how="a connection; its processes, and what is in the folder",
                columns=("looked at", "seen"),
                rows=describe(look),
            ),
            *_backups(system),
        ),
        (
            *aside,
            made,
            MigrateFirstTime(database=name, before="", after=newest, needs=(made.kind,)),
        ),
        makes_server=True,
    )


def _backups(system: System) -> tuple[Finding, ...]:
    """Say that there were backups once: then there was data, too."""
    stored = system.backups.list()
    if not stored:
        return ()
    return (
        Finding(
            what=f"The store holds {counted(len(stored), 'file')} of backups, the newest of "
            f"{stored[0].modified:%Y-%m-%d %H:%M} UTC: there was data once.",
            how="the store of backups",
            patch="Find out where that data is before this is approved: is its disk mounted? If "
            "it is lost: initialise, then run restore_from_backup.",
        ),
    )
