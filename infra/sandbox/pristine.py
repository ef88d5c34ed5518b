"""A pristine copy of the sandbox's database, and going back to it in a fraction of a second."""

import time

from psycopg import sql

from infra.sandbox.services import Sandbox

PRISTINE = "planner_pristine"
ENDING = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
SYSTEM = ("postgres", "template0", "template1", PRISTINE)


def keep(sandbox: Sandbox) -> None:
    """Keep the database as it is now as the pristine one; an earlier copy goes.

    Args:
        sandbox: A sandbox that is up.
    """
    name = sandbox.settings.database
    with sandbox.connect("postgres") as session:
        _drop(sandbox, PRISTINE)
        # Nobody connects between the end of the others and the copy.
        session.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(_name(name)))
        try:
            while session.execute(ENDING, [name]).fetchall():
                time.sleep(0.005)
            _copy(sandbox, name, PRISTINE)
        finally:
            session.execute(sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS true").format(_name(name)))
        session.execute(
            sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS false").format(_name(PRISTINE))
        )


def reset(sandbox: Sandbox) -> None:
    """Bring the sandbox back to its pristine state: services, roles, database, cache.

    Side databases that a test left behind go; backups stay.

    Args:
        sandbox: A sandbox whose pristine copy was kept.
    """
    sandbox.up()
    name = sandbox.settings.database
    with sandbox.connect("postgres") as session:
        others = session.execute(
            "SELECT datname FROM pg_database WHERE NOT datname = ANY(%s)", [list(SYSTEM)]
        ).fetchall()
    for (other,) in others:
        _drop(sandbox, str(other))
    _copy(sandbox, PRISTINE, name)
    sandbox.cluster.prepare()
    with sandbox.cache() as cache:
        cache.flushall()


def _copy(sandbox: Sandbox, source: str, goal: str) -> None:
    with sandbox.connect("postgres") as session:
        session.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                _name(goal), _name(sandbox.settings.application_user), _name(source)
            )
        )


def _drop(sandbox: Sandbox, name: str) -> None:
    with sandbox.connect("postgres") as session:
        session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(_name(name)))


def _name(name: str) -> sql.Identifier:
    return sql.Identifier(name)
