"""The target's disk is full in the middle of a load: it is taken back, and nothing is lost."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.database.restore_from_backup import restore_from_backup
from infra.sandbox.services import Sandbox
from tasks.database.catalogue import find_database, inspect_database
from tasks.database.copies.side_database import create_database, drop_database
from tasks.database.disk import DISK_RESERVE
from tasks.database.marks import Mark, write_mark
from tasks.guardrails.case import Case
from tasks.guardrails.errors import RemediationError
from tasks.platforms.protocols import Connection
from tasks.platforms.sandbox.target import SandboxTarget
from tests.faults.grounds import SandboxGround
from tests.faults.matrix import judged, reference
from tests.faults.scene import Scene
from tests.prefect_fixtures import Runs
from tests.sandbox_fixtures import sandbox_in

ROWS = 20_000
DISK_BYTES = 1_000_000_000
# Less than the load needs, and what has to stay free.
LEFT_BYTES = DISK_RESERVE + 3_000_000
LOAD = "before-apply:database.load_backup"


@pytest.fixture
def small_sandbox() -> Iterator[Sandbox]:
    """A sandbox on a small disk of its own."""
    home = Path(tempfile.mkdtemp(prefix="remedy-small-disk-"))
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=711", "none", home], check=True
    )
    try:
        with sandbox_in(home, ROWS) as sandbox:
            yield sandbox
    finally:
        # Lazily: what has ended just now may still have a file open.
        subprocess.run(["umount", "--lazy", home], check=True)
        shutil.rmtree(home)


def fill(session: Connection) -> None:
    """Double a table until the server finds no room."""
    while True:
        session.execute("INSERT INTO filler SELECT x FROM filler")


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_a_copy_that_fills_the_disk_can_be_dropped(small_sandbox: Sandbox) -> None:
    """Not one byte is free for the checkpoint that DROP DATABASE wants."""
    database = SandboxTarget(**small_sandbox.target_settings()).database
    name = "planner_restore_abc"
    with database.connect("postgres") as session:
        shape = inspect_database(session, small_sandbox.settings.database).shape
        create_database(session, name, shape)
        write_mark(session, name, Mark("abc", "created"), "test")
    with database.connect(name) as session:
        # Unlogged: the log would end the server before its tables have filled the disk.
        session.execute("CREATE UNLOGGED TABLE filler AS SELECT repeat('x', 2000) AS x")
        with pytest.raises(RemediationError, match="53100"):
            fill(session)
    drop_database(database, name, "abc")
    with database.connect("postgres") as session:
        assert find_database(session, name) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk")
def test_disk_is_full_in_the_load(runs: Runs, small_sandbox: Sandbox, tmp_path: Path) -> None:
    """A load that finds no room ends undone; the application goes on with what it had."""
    scene = Scene(SandboxGround(small_sandbox), runs, restore_from_backup, tmp_path)
    known = reference(scene)
    assert known.outcome == "Remediated"
    filler = small_sandbox.home / "filler"
    with scene.broken() as run:
        child = scene.stop_at(run, LOAD)
        free = shutil.disk_usage(small_sandbox.home).free
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - LEFT_BYTES)
        outcome = scene.go_on(child, run)
        failed = Case.read(scene.ledger, scene.runs.id_of(run)).of_kind("failed")
        assert "the load was stopped" in failed[0].facts["found"]
        assert shutil.disk_usage(small_sandbox.home).free > DISK_RESERVE / 2
        assert judged(scene, known, outcome) == []
        assert outcome == "Undone"
