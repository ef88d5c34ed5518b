"""What is read of a machine's memory, what is proposed, and what is written to fstab."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.containers.file_edits import hash_of
from tasks.host.fstab import block_of, says, with_block, without_block
from tasks.host.memory_seen import MemorySeen, Swap, machine_kills_in, swaps_in
from tasks.host.swap_need import proposed, swap_of
from tasks.host.swap_place import way_on
from tasks.platforms.memory import MemoryUse

GIB = 2**30
SWAPS = (
    "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
    "/dev/sda2                               partition\t1048572\t\t524\t\t-2\n"
    "/a\\040b/swapfile                        file\t\t4088\t\t0\t\t-3\n"
)
CALM = MemorySeen(
    total=16 * GIB,
    available=8 * GIB,
    swap_free=4 * GIB,
    swaps=(Swap("/swapfile", "file", 4 * GIB, 0),),
    stalled=(0.0, 0.2, 0.4),
    kills=7,
    machine_kills=0,
    swappiness=60,
)
USE = MemoryUse(
    container="planner-app-1",
    runs=True,
    started_at="",
    limit=2 * GIB,
    swap=4 * GIB,
    enforced=None,
    working_set=None,
    peak=None,
    kills=None,
    out_of_memory=False,
    restarts=0,
)


def test_swap_in_use_is_read() -> None:
    """Paths with blanks as well, sizes in bytes."""
    assert swaps_in(SWAPS) == (
        Swap("/dev/sda2", "partition", 1048572 * 1024, 524 * 1024),
        Swap("/a b/swapfile", "file", 4088 * 1024, 0),
    )
    assert swaps_in(SWAPS.splitlines()[0]) == ()


@pytest.mark.parametrize(
    ("seen", "much"),
    [
        (CALM, 0),
        (replace(CALM, stalled=(), kills=None, machine_kills=None), 0),
        (replace(CALM, swaps=(), swap_free=0), 4 * GIB),
        (replace(CALM, swaps=(), swap_free=0, total=GIB), GIB),
        (replace(CALM, swap_free=GIB - 1), 4 * GIB),
        (replace(CALM, machine_kills=1), 4 * GIB),
        (replace(CALM, stalled=(0.0, 0.0, 1.5)), 0),
        (replace(CALM, stalled=(0.0, 0.0, 1.5), available=GIB), 4 * GIB),
    ],
)
def test_swap_is_proposed_where_it_is_needed(seen: MemorySeen, much: int) -> None:
    """Not for what waits, or was killed, at the limit of its container while memory is free."""
    assert proposed(seen) == much


def test_kills_at_the_limit_of_a_container_are_told_apart() -> None:
    """As the kernel logs them."""
    lines = (
        "[ 1.1] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,task=python,pid=1",
        "[ 2.2] oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,task=postgres,pid=2",
    )
    assert machine_kills_in("\n".join(lines)) == 1


@pytest.mark.parametrize(
    ("filesystem", "kernel", "way"),
    [
        ("xfs", "3.10.0-1160.el7.x86_64", "zeros"),
        ("xfs", "4.18.0-553.el8_10.x86_64", "fallocate"),
        ("ext4", "3.10.0-1160.el7.x86_64", "fallocate"),
        ("ext2", "6.1.0-28-amd64", "zeros"),
    ],
)
def test_room_is_taken_without_holes(filesystem: str, kernel: str, way: str) -> None:
    """Where the kernel takes what was not written to for a hole, zeros are written."""
    assert way_on(filesystem, kernel) == way


@pytest.mark.parametrize(
    ("use", "means"),
    [
        (USE, "2,048 MiB beyond its limit"),
        (replace(USE, swap=2 * GIB), "none: it is killed at its limit as before (memswap_limit)"),
        (replace(USE, swap=-1), "as much as there is"),
        (replace(USE, limit=0, swap=0), "as much as there is"),
        (replace(USE, swap=0), "not counted by the kernel: as much as there is"),
    ],
)
def test_what_limits_mean_for_swap(use: MemoryUse, means: str) -> None:
    """As the engine has them."""
    assert swap_of(use) == means


@given(st.text())
def test_what_is_put_into_fstab_comes_out_byte_for_byte(text: str) -> None:
    """Whether it ended with an end of line or not."""
    block = block_of("abcdefghij", "/swapfile")
    written = with_block(text, block)
    assert says(written, "/swapfile")
    assert not says(block, "/swap")
    assert without_block(written, block, hash_of(text)) == text
