"""add_swap on a disk of the test's own: the kernel really swaps to it, and no more afterwards."""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flows.help.undo_remediation import undo_remediation
from flows.performance.add_swap import add_swap
from infra.sandbox.services import Sandbox
from infra.testbed.compose.system import ComposeSystem
from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.plan import Standing, Work
from tasks.host.fstab import block_of
from tasks.host.swap_file import EnableSwap, MakeSwapFile
from tasks.host.swap_need import Need, Wanted, find_swap_need
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tasks.platforms.sandbox.target import SandboxTarget
from tests.approving import carry_out
from tests.faults.sampling import sample
from tests.killing import killed, recovered
from tests.machines import FSTAB, SWAPPINESS, Machine, machine, run
from tests.prefect_fixtures import Runs

MIB = 2**20
ID = "swaptest22"
NOBODY = ["setpriv", "--reuid=65534", "--clear-groups"]
# What the kernel says of memory, to whoever asks in a mount namespace of its own.
SHORT = 'mount --bind "$0" /proc/meminfo && exec "$@"'


@dataclass
class Swapping:
    """A sandbox on a machine of the test's own."""

    sandbox: Sandbox
    machine: Machine

    @property
    def settings(self) -> dict[str, Any]:
        """Its target's fields."""
        return {**self.sandbox.target_settings(), **self.machine.settings}

    def asked(self, **more: object) -> dict[str, Any]:
        """Ask for 4 MiB on its disk."""
        return {"path": str(self.machine.swapfile), "size": "4M", **more}


@pytest.fixture
def swapping(fresh_sandbox: Sandbox, home: Path) -> Iterator[Swapping]:
    """A fresh sandbox on a machine of its own, known as a target."""
    assert home
    with machine() as made:
        found = Swapping(fresh_sandbox, made)
        targets.give(SandboxTarget(**found.settings))
        yield found


@pytest.fixture
def disk() -> Iterator[Machine]:
    """A machine that a target without anything else is on."""
    with machine() as made:
        known(made)
        yield made


def known(made: Machine, *, platform: type[SandboxTarget] = SandboxTarget, **more: object) -> None:
    """Make a machine known as a target on which nothing runs."""
    fields: dict[str, Any] = {
        "maintenance_password": "x",
        "url": "http://127.0.0.1:1",
        "proxy_control_url": "http://127.0.0.1:1",
        "application_directory": made.etc,
        "application_programs": made.etc,
        "backups_directory": made.etc,
    }
    targets.give(platform(**{**fields, **made.settings, **more}))


def find(made: Machine, **more: object) -> Need:
    """Find what a machine needs, as planning does."""
    fields: dict[str, Any] = {
        "path": str(made.swapfile),
        "size": "4M",
        "keep_free_percent": 10,
        "persist": True,
        "swappiness": -1,
        **more,
    }
    return find_swap_need("sandbox", Wanted(**fields), ID)


def test_swap_is_added_outlives_a_start_and_is_taken_away(runs: Runs, swapping: Swapping) -> None:
    """Pages go there and come back; of file, fstab and sysctl nothing is left by the undo."""
    made, sandbox = swapping.machine, swapping.sandbox
    before, wanted = made.look(), int(SWAPPINESS.read_text()) - 1
    case, state = carry_out(runs, sandbox, add_swap, **swapping.asked(swappiness=wanted))
    assert state.name == "Remediated", state.message
    assert made.swaps()
    seen = made.swapfile.stat()
    assert (seen.st_size, seen.st_mode & 0o777, seen.st_uid) == (4 * MIB, 0o600, 0)
    assert f"swap-{case.id}" in run("swaplabel", str(made.swapfile))
    assert made.fstab.read_text() == f"{FSTAB}\n{block_of(case.id, str(made.swapfile))}"
    assert int(SWAPPINESS.read_text()) == wanted
    (said,) = (made.etc / "sysctl.d").iterdir()
    assert f"vm.swappiness = {wanted}\n" in said.read_text()
    answers = [one.facts["detail"] for one in case.of_kind("checked")]
    assert any("1024 KiB of ours were swapped out and read back unchanged" in a for a in answers)
    made.starts_anew()
    assert made.swaps()
    again, state = carry_out(runs, sandbox, add_swap, **swapping.asked())
    assert state.name == "Unchanged", state.message
    assert "already" in again.stages[0].stage.findings[-1].what
    _, undone = carry_out(runs, sandbox, undo_remediation, remediation=case.id)
    assert undone.name == "Remediated", undone.message
    assert not made.swaps()
    assert made.look() == before
    assert int(SWAPPINESS.read_text()) == wanted + 1


@pytest.mark.parametrize(
    "fault",
    [
        *sample(
            [
                "KILL=host.make_swap_file:room-taken",
                "KILL=host.make_swap_file:drafted",
                "KILL=host.make_swap_file:named",
                "KILL=host.set_swappiness:written",
                "KILL=after-apply:host.enable_swap",
                "KILL=after-apply:host.say_in_fstab",
            ],
            1,
        ),
        *sample(
            [
                "FAIL=after-apply:host.say_in_fstab KILL=after-revert:host.enable_swap",
                "FAIL=after-apply:host.say_in_fstab KILL=after-revert:host.say_in_fstab",
                "FAIL=host.make_swap_file:named KILL=before-revert:host.make_swap_file",
            ],
            1,
        ),
    ],
)
def test_killed_it_is_recovered(fault: str, runs: Runs, swapping: Swapping, home: Path) -> None:
    """It ends done, or undone without a trace."""
    made, wanted = swapping.machine, int(SWAPPINESS.read_text()) - 1
    before = made.look()
    asked = swapping.asked(swappiness=wanted)
    case = killed(runs, add_swap, swapping.settings, home, fault, **asked)
    state = recovered(runs, case)
    assert state.name == ("Undone" if "FAIL" in fault else "Remediated"), state.message
    if state.name == "Remediated":
        assert made.swaps()
        assert [one.name for one in made.disk.iterdir() if one.is_file()] == ["swapfile"]
        assert made.fstab.read_text() == f"{FSTAB}\n{block_of(case.id, str(made.swapfile))}"
    else:
        assert not made.swaps()
        assert made.look() == before
    assert int(SWAPPINESS.read_text()) == wanted + (state.name == "Undone")


@pytest.mark.parametrize(("filesystem", "way"), [("ext2", "zeros"), ("xfs", "fallocate")])
def test_the_kernel_swaps_on_other_file_systems_too(home: Path, filesystem: str, way: str) -> None:
    """On ext2 a file has holes until something is written to each block: swapon refuses it."""
    assert home
    with machine(filesystem) as made:
        known(made)
        need = find(made, persist=False)
        assert [one.kind for one in need.changes] == ["host.make_swap_file", "host.enable_swap"]
        work = Work(target="sandbox", remediation=ID, begun_at=datetime.now(UTC))
        for change in need.changes:
            said = change.apply(work)
            assert said in (None, f"room was taken by {way}")
            assert change.observe(work).standing is Standing.AFTER
        assert made.swapfile.stat().st_blocks * 512 >= 4 * MIB
        assert made.swaps()
        for change in reversed(need.changes):
            change.revert(work)
            assert change.observe(work).standing is Standing.BEFORE
        assert list(made.look()) == [str(made.fstab)]


def test_on_btrfs_it_is_said_what_to_run(home: Path) -> None:
    """It is for a person to choose a subvolume of which no snapshots are made."""
    assert home
    with machine("btrfs") as made:
        known(made)
        with pytest.raises(PreconditionFailed, match="copied on write") as refused:
            find(made)
        assert "mkswapfile --size 4M" in refused.value.todo


def test_a_swap_that_fits_nowhere_else_is_kept(disk: Machine, tmp_path: Path) -> None:
    """The kernel would kill processes: it is said instead, and goes once there is room."""
    work = Work(target="sandbox", remediation=ID, begun_at=datetime.now(UTC))
    path = str(disk.swapfile)
    MakeSwapFile(path=path, size=4 * MIB, way="fallocate").apply(work)
    swap = EnableSwap(path=path)
    swap.apply(work)
    (short := tmp_path / "meminfo").write_text(
        "MemTotal: 4000000 kB\nMemAvailable: 1000 kB\nSwapFree: 4000 kB\n"
    )
    known(disk, host_command_prefix=["unshare", "--mount", "sh", "-c", SHORT, str(short)])
    loss = swap.undo_loss(work)
    assert loss
    assert "1 MiB of memory are available" in loss.sentence
    with pytest.raises(Transient, match="kernel would kill processes"):
        swap.revert(work)
    assert disk.swaps()
    known(disk)
    assert swap.undo_loss(work) is None
    swap.revert(work)
    assert not disk.swaps()


def test_a_file_that_is_not_ours_is_never_touched(disk: Machine) -> None:
    """Neither where it came in between, nor by the undo."""
    work = Work(target="sandbox", remediation=ID, begun_at=datetime.now(UTC))
    change = MakeSwapFile(path=str(disk.swapfile), size=4 * MIB, way="fallocate")
    disk.swapfile.write_text("somebody's")
    assert change.observe(work).standing is Standing.OTHER
    with pytest.raises(PreconditionFailed, match="File exists"):
        change.apply(work)
    change.revert(work)
    assert [one.name for one in disk.disk.iterdir() if one.is_file()] == ["swapfile"]
    assert disk.swapfile.read_text() == "somebody's"


def test_what_others_edited_in_fstab_since_stays(disk: Machine) -> None:
    """Only our lines go; where ours was edited, a person takes it out."""
    work = Work(target="sandbox", remediation=ID, begun_at=datetime.now(UTC))
    change = find(disk).changes[-1]
    change.apply(work)
    ours = disk.fstab.read_text()
    disk.fstab.write_text(f"{ours}tmpfs /scratch tmpfs defaults 0 0\n")
    change.revert(work)
    assert disk.fstab.read_text() == f"{FSTAB}\ntmpfs /scratch tmpfs defaults 0 0\n"
    disk.fstab.write_text(ours.replace("sw,nofail", "sw,pri=5"))
    assert change.observe(work).standing is Standing.OTHER
    with pytest.raises(PreconditionFailed, match="somebody has edited it since"):
        change.revert(work)
    assert "sw,pri=5" in disk.fstab.read_text()


def in_the_way(made: Machine) -> None:
    """Have a file there."""
    made.swapfile.touch()


def open_to_all(made: Machine) -> None:
    """Have a folder that everybody may write to."""
    made.disk.chmod(0o1777)


def of_somebody(made: Machine) -> None:
    """Have a folder that is not root's."""
    os.chown(made.disk, 65534, 65534)


def on_tmpfs(made: Machine) -> None:
    """Have memory mounted there."""
    run("mount", "-t", "tmpfs", "-o", "mode=755", "none", str(made.disk))


def only_read(made: Machine) -> None:
    """Have a disk that can only be read."""
    run("mount", "-o", "remount,ro", str(made.disk))


def in_fstab(made: Machine) -> None:
    """Have an entry for it."""
    made.fstab.write_text(f"{made.swapfile} none swap sw 0 0\n")


def in_other_signs(made: Machine) -> None:
    """Have an fstab that is not in UTF-8."""
    made.fstab.write_bytes(b"# f\xfcr alle\n")


def without_fstab(made: Machine) -> None:
    """Have none."""
    made.fstab.unlink()


def said_later(made: Machine) -> None:
    """Have a file that is read after ours."""
    (made.etc / "sysctl.conf").write_text("#vm.swappiness = 2\nvm.swappiness=1\n")


def as_nobody(made: Machine) -> None:
    """Have commands that run as nobody."""
    known(made, host_command_prefix=NOBODY)


def elsewhere(made: Machine) -> None:
    """Have commands that see other mounts, as those of a hardened unit do."""
    known(made, host_command_prefix=["unshare", "--mount"])


def nothing(made: Machine) -> None:
    """Leave it as it is."""
    assert made


@pytest.mark.parametrize(
    ("broken", "asked", "why"),
    [
        (in_the_way, {}, "something is there"),
        (open_to_all, {}, "others than root may write to"),
        (of_somebody, {}, "others than root may write to"),
        (on_tmpfs, {}, "lies on tmpfs: what lies there is memory itself"),
        (only_read, {}, "can only be read"),
        (in_fstab, {}, "there is one already"),
        (in_other_signs, {}, "other characters"),
        (without_fstab, {}, "there is none"),
        (said_later, {"swappiness": 7}, "sysctl.conf"),
        (as_nobody, {}, "as root"),
        (elsewhere, {}, "nsenter --target 1 --mount"),
        (nothing, {"size": "40M"}, "stay free"),
        (nothing, {"size": "900000G"}, "twice the machine's memory"),
        (nothing, {"path": "/nowhere/at/all"}, "is not there"),
        (nothing, {"path": "/tmp/../swapfile"}, "detours"),  # noqa: S108 - not used
        (nothing, {"path": "/bin/swapfile"}, "is a symbolic link"),
    ],
)
def test_it_is_refused_with_the_reason(
    disk: Machine, broken: Callable[[Machine], None], asked: dict[str, object], why: str
) -> None:
    """Before anything was made: what is there is as it was."""
    broken(disk)
    before = disk.look()
    with pytest.raises(PreconditionFailed, match=why):
        find(disk, **asked)
    assert disk.look() == before


def test_containers_limits_are_told_and_another_machine_is_refused(
    fresh_compose: ComposeSystem, disk: Machine
) -> None:
    """Swap is the machine's; an engine elsewhere has another one."""
    settings = {**fresh_compose.target_settings(), **disk.settings, "known_as": "sandbox"}
    targets.give(ComposeTarget(**settings))
    (told,) = (one for one in find(disk).findings if one.columns[:1] == ("container",))
    app = next(row for row in told.rows if row[0].endswith("-app"))
    assert app[1:] == ("2,048 MiB", "2,048 MiB beyond its limit")
    targets.give(ComposeTarget(**{**settings, "engine_url": "ssh://somebody@192.0.2.1"}))
    with pytest.raises(PreconditionFailed, match="another machine"):
        find(disk)
