"""clean_up_backups on a store with backups of many ages, sound and not."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.database.back_up_database import back_up_database
from flows.database.clean_up_backups import clean_up_backups
from flows.help.undo_remediation import undo_remediation
from infra.sandbox.planner import Planner
from infra.sandbox.services import Sandbox
from tasks.database.backup.manifest import SUFFIX
from tasks.database.backup.retention import DiscardBackup
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Work
from tests.approving import Approvers, carry_out
from tests.prefect_fixtures import Runs

ONLY_SOUND = {"keep_weekly": 0, "keep_monthly": 0}


def proved(runs: Runs, sandbox: Planner) -> Path:
    """Take a backup that is proved."""
    case, state = carry_out(runs, sandbox, back_up_database)
    assert state.name == "Remediated", state.message
    return next(sandbox.backups.glob(f"*{case.id}.dump"))


def of_long_ago(backup: Path, *months: str) -> None:
    """Have the same backup under the names of the first of months of 2024."""
    for month in months:
        shutil.copy2(backup, backup.with_name(f"backup-2024{month}01-020000.dump"))


def box_of(backup: Path, time: str) -> Path:
    """Make a box of the trash as the remediation would have that made a backup, with a copy."""
    box = backup.parent / ".trash" / f"{time}-{backup.stem.rpartition('-')[2]}"
    box.mkdir(parents=True)
    shutil.copy2(backup, box / "old.dump")
    return box


def store(sandbox: Planner) -> dict[str, bytes]:
    """Read the store as a person lists it."""
    files = [path for path in sandbox.backups.iterdir() if path.is_file()]
    return {path.name: path.read_bytes() for path in files}


def test_old_ones_go_and_come_back(runs: Runs, planner: Planner) -> None:
    """What is needed by no rule goes into the trash; the undo gives it back byte for byte."""
    backup = proved(runs, planner)
    of_long_ago(backup, "01", "02", "03")
    before = store(planner)
    case, state = carry_out(runs, planner, clean_up_backups, keep_sound=2, **ONLY_SOUND)
    assert state.name == "Remediated", state.message
    assert len(case.of_kind("decided")) == 2
    (note,) = case.stages[0].stage.notes
    size = 2 * backup.stat().st_size / 1e6
    assert note.startswith(f"0.0 MB come free now; {size:.1f} MB go into the trash"), note
    gone = set(before) - set(store(planner))
    assert gone == {"backup-20240101-020000.dump", "backup-20240201-020000.dump"}
    _, undone = carry_out(runs, planner, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert store(planner) == before
    assert not list((planner.backups / ".trash").iterdir())


def test_weeks_and_months_keep_theirs(runs: Runs, sandbox: Sandbox) -> None:
    """The newest of each month stays where months are kept."""
    of_long_ago(proved(runs, sandbox), "01", "02", "03")
    _, state = carry_out(runs, sandbox, clean_up_backups, keep_sound=1, keep_weekly=0)
    assert state.name == "Unchanged", state.message


def test_the_last_sound_ones_stay_however_old(runs: Runs, sandbox: Sandbox) -> None:
    """Backups stopped years ago: as many sound ones as were asked for are left, the broken go."""
    backup = proved(runs, sandbox)
    of_long_ago(backup, "01", "02", "03", "04")
    for part in sandbox.backups.glob(f"{backup.name}*"):  # the proved one is old as well
        part.rename(part.with_name(part.name.replace(backup.name, "backup-20240501-020000.dump")))
    broken = sandbox.backups / "backup-20240401-020000.dump"
    broken.write_bytes(broken.read_bytes()[:5000])
    _, state = carry_out(runs, sandbox, clean_up_backups, **ONLY_SOUND)
    assert state.name == "Remediated", state.message
    left = {name for name in store(sandbox) if name.endswith(".dump")}
    assert left == {f"backup-2024{month}01-020000.dump" for month in ("02", "03", "05")}


def test_what_is_no_backup_is_left_alone(runs: Runs, sandbox: Sandbox) -> None:
    """Notes and links stay; a broken one does not stand for its month."""
    backup = proved(runs, sandbox)
    of_long_ago(backup, "01")
    january = sandbox.backups / "backup-20240101-020000.dump"
    broken = sandbox.backups / "backup-20240131-020000.dump"
    broken.write_bytes(january.read_bytes()[:5000])
    (sandbox.backups / "README-20200101-000000.txt").write_text("keep these\n")
    (sandbox.backups / "latest-20200101-000000.dump").symlink_to(january)
    before = store(sandbox)
    _, state = carry_out(runs, sandbox, clean_up_backups, keep_weekly=0, keep_sound=1)
    assert state.name == "Unchanged", state.message
    assert store(sandbox) == before


def test_nothing_goes_while_no_backup_is_proved(runs: Runs, sandbox: Sandbox) -> None:
    """The newest sound one was never restored: it is said what to do, and all stay."""
    backup = proved(runs, sandbox)
    of_long_ago(backup, "01", "02")
    for part in sandbox.backups.glob(f"{backup.name}*"):
        part.unlink()
    before = store(sandbox)
    _, state = carry_out(runs, sandbox, clean_up_backups, keep_sound=1, **ONLY_SOUND)
    assert state.name == "Refused", state.message
    assert "back-up-database" in (state.message or "")
    assert store(sandbox) == before


def test_what_has_lain_in_the_trash_is_destroyed(runs: Runs, sandbox: Sandbox) -> None:
    """Only our box whose time is over; three have to approve it, and enough sound ones are left."""
    backup = proved(runs, sandbox)
    of_long_ago(backup, "01")
    over, not_over = (box_of(backup, f"{year}0101-000000") for year in (2024, 2999))
    of_others = over.rename(over.with_name("20240101-000000-abc"))
    over = box_of(backup, "20240101-000000")
    _, state = carry_out(runs, sandbox, clean_up_backups)
    assert state.name == "Unchanged", state.message  # there are two sound ones, and not three
    assert over.exists()
    case, state = carry_out(runs, sandbox, clean_up_backups, keep_sound=2)
    assert state.name == "Remediated", state.message
    size = backup.stat().st_size / 1e6
    assert case.stages[0].stage.notes == (f"{size:.1f} MB come free now",)
    assert len(case.of_kind("decided")) == 3
    assert not over.exists()
    assert (of_others / "old.dump").exists()
    assert (not_over / "old.dump").exists()
    assert backup.exists()


def remove(backup: Path) -> None:
    """Remove a backup with its manifest, as a `find -delete` does."""
    for part in backup.parent.glob(f"{backup.name}*"):
        part.unlink()


def rot(backup: Path) -> None:
    """Change a byte of a backup; its size and its time stay."""
    times, whole = backup.stat(), bytearray(backup.read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    backup.write_bytes(whole)
    os.utime(backup, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("break_it", [remove, rot])
def test_what_shall_stay_is_looked_at_again_before_others_go(
    runs: Runs, sandbox: Sandbox, break_it: Callable[[Path], None]
) -> None:
    """The proved one goes or rots while the plan waits: nothing is moved, nothing destroyed."""
    backup = proved(runs, sandbox)
    of_long_ago(backup, "01", "02")
    box = box_of(backup, "20240101-000000")
    run, state = runs.start(
        clean_up_backups, target=sandbox.settings.name, keep_sound=1, **ONLY_SOUND
    )
    assert state is None
    break_it(backup)
    before = store(sandbox)
    state = Approvers(Ledger()).approve_until_it_ends(runs, run)
    assert state.name == "Refused", state.message
    assert store(sandbox) == before
    assert [path.name for path in box.parent.iterdir()] == [box.name]
    assert not Case.read(Ledger(), runs.id_of(run)).of_kind("begun")


def test_what_shall_stay_is_asked_for_afterwards(
    runs: Runs, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that rots while others are moved: they are moved back."""
    backup = proved(runs, sandbox)
    of_long_ago(backup, "01", "02")
    names = set(store(sandbox))
    discard = DiscardBackup.apply

    def discard_and_rot(change: DiscardBackup, work: Work) -> None:
        discard(change, work)
        rot(backup)

    monkeypatch.setattr(DiscardBackup, "apply", discard_and_rot)
    _, state = carry_out(runs, sandbox, clean_up_backups, keep_sound=2, **ONLY_SOUND)
    assert state.name == "Undone", state.message
    assert backup.name in (state.message or "")
    assert set(store(sandbox)) == names


def test_backups_of_other_databases_stay(runs: Runs, sandbox: Sandbox) -> None:
    """By their heads or manifests; ours of the same age go, and are no less counted."""
    backup = proved(runs, sandbox)
    of_long_ago(backup, "01", "02")
    head = sandbox.backups / "other-20230101-020000.dump"
    head.write_bytes(backup.read_bytes().replace(b"planner", b"billing"))
    told = sandbox.backups / "told-20230201-020000.sql"
    told.write_text("-- PostgreSQL database dump\n")
    manifest = json.loads(Path(f"{backup}{SUFFIX}").read_text())
    Path(f"{told}{SUFFIX}").write_text(json.dumps({**manifest, "database": "billing"}))
    before = set(store(sandbox))
    case, state = carry_out(runs, sandbox, clean_up_backups, keep_sound=1, **ONLY_SOUND)
    assert state.name == "Remediated", state.message
    gone = before - set(store(sandbox))
    assert gone == {"backup-20240101-020000.dump", "backup-20240201-020000.dump"}
    rows = {row[0]: row[3] for row in case.stages[0].stage.findings[0].rows}
    assert rows[head.name] == rows[told.name] == "of another database (billing): stays"


def test_plain_dumps_of_an_unknown_database_are_not_counted(runs: Runs, sandbox: Sandbox) -> None:
    """They stay while sound ones are missing, and take no place of one that is ours."""
    backup = proved(runs, sandbox)
    of_long_ago(backup, "01")
    for day in ("01", "02", "03"):
        plain = sandbox.backups / f"plain-202405{day}-020000.sql"
        plain.write_text(
            "-- PostgreSQL database dump\n\nCREATE TABLE public.t (id integer);\n\n"
            "-- PostgreSQL database dump complete\n"
        )
    before = set(store(sandbox))
    _, state = carry_out(runs, sandbox, clean_up_backups, keep_sound=3, **ONLY_SOUND)
    assert state.name == "Remediated", state.message
    gone = before - set(store(sandbox))
    assert gone == {"plain-20240501-020000.sql", "plain-20240502-020000.sql"}


def test_a_rotten_one_does_not_stand_for_its_month(runs: Runs, sandbox: Sandbox) -> None:
    """Its manifest vouches for other bytes: its good neighbours stay, up to the next proved."""
    backup = proved(runs, sandbox)
    for day in ("31", "20", "10"):
        for part in sandbox.backups.glob(f"{backup.name}*"):
            shutil.copy2(
                part, part.with_name(part.name.replace(backup.stem, f"b-202405{day}-020000"))
            )
    rot(sandbox.backups / "b-20240531-020000.dump")
    before = set(store(sandbox))
    _, state = carry_out(runs, sandbox, clean_up_backups, keep_weekly=0, keep_sound=1)
    assert state.name == "Remediated", state.message
    gone = {name for name in before - set(store(sandbox)) if name.endswith(".dump")}
    assert gone == {"b-20240510-020000.dump"}
