"""A pristine copy of the sandbox's database, and going back to it in a fraction of a second."""

import shutil
import time
from collections.abc import Iterable
from pathlib import Path

import httpx
from psycopg import sql

from infra.sandbox import dotenv_file
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox

PRISTINE = "planner_pristine"
ENDING = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
SYSTEM = ("postgres", "template0", "template1", PRISTINE)


def keep(sandbox: Planner) -> None:
    """Keep the database as it is now as the pristine one; an earlier copy goes.

    Args:
        sandbox: A system that is up.
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

    Side databases and roles that a test left behind go; backups stay.

    Args:
        sandbox: A sandbox whose pristine copy was kept.
    """
    sandbox.valkey.forget_passwords()
    sandbox.up()
    reset_database(sandbox)
    sandbox.cluster.prepare()
    _reset_application(sandbox)
    with sandbox.cache() as cache:
        cache.flushall()


def discard(paths: Iterable[Path]) -> None:
    """Remove files and folders, as backups are."""
    for path in paths:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def reset_database(sandbox: Planner) -> None:
    """Put the pristine copy in the database's place; other databases and roles go.

    Args:
        sandbox: A system that is up, and whose pristine copy was kept.
    """
    name = sandbox.settings.database
    with sandbox.connect("postgres") as session:
        others = session.execute(
            "SELECT datname FROM pg_database WHERE NOT datname = ANY(%s)", [list(SYSTEM)]
        ).fetchall()
    for (other,) in others:
        _drop(sandbox, str(other))
    _drop_roles(sandbox)
    _copy(sandbox, PRISTINE, name)


def _reset_application(sandbox: Sandbox) -> None:
    """Give the application the settings that it had as a new one, and send all of it requests."""
    dotenv_file.write(sandbox.dotenv, sandbox.application_environment())
    for leftover in sandbox.secrets.iterdir():
        leftover.unlink()
    for name in sandbox.upstreams:
        service = sandbox.services()[name]
        process = service.process()
        if process and not service.environment.items() <= process.environ().items():
            sandbox.restart(name)
        asked = {"upstream": name}
        httpx.post(f"{sandbox.control_url}/undrain", params=asked, trust_env=False, timeout=60)


def _drop_roles(sandbox: Planner) -> None:
    settings = sandbox.settings
    known = [settings.superuser, settings.application_user, settings.maintenance_user]
    with sandbox.connect("postgres") as session:
        found = session.execute(
            "SELECT rolname FROM pg_roles WHERE oid >= 16384 AND NOT rolname = ANY(%s)", [known]
        ).fetchall()
        for (role,) in found:
            session.execute(sql.SQL("DROP ROLE {}").format(_name(str(role))))


def _copy(sandbox: Planner, source: str, goal: str) -> None:
    with sandbox.connect("postgres") as session:
        session.execute(
            sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
                _name(goal), _name(sandbox.settings.application_user), _name(source)
            )
        )


def _drop(sandbox: Planner, name: str) -> None:
    with sandbox.connect("postgres") as session:
        session.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(_name(name)))


def _name(name: str) -> sql.Identifier:
    return sql.Identifier(name)
