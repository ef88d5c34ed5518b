"""Pages of PostgreSQL's files, changed behind the server's back.

Sources: PostgreSQL manual 73.6 (page layout); src/include/storage/checksum_impl.h;
src/include/access/nbtree.h (BTPageOpaqueData).
"""

import struct
from collections.abc import Callable
from pathlib import Path

from infra.sandbox.planner import Planner

PAGE = 8192
HEADER = struct.Struct("<QHHHHHHI")  # lsn, checksum, flags, lower, upper, special, version, xid
ITEM = struct.Struct("<I")
LEAF, DELETED = 0x1, 0x4
ENOUGH_ITEMS = 10
_PRIME, _SUMS, _WORD = 16777619, 32, 0xFFFFFFFF
_BASES = (
    *(0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2),
    *(0x83E13D2C, 0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C),
    *(0xF718902A, 0x0B1C9CDB, 0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979),
    *(0xCCA6C0B2, 0x304A0979, 0x85AA43D4, 0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E),
    *(0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756),
)

Edit = Callable[[bytearray, int], bytearray | None]


def edit_pages(sandbox: Planner, relation: str, edit: Edit) -> int:
    """Change the first page of a relation's file that an edit accepts, with the server stopped.

    The server is stopped in good order before, so that the file is whole and nothing of it is
    in memory, and started again after.

    Args:
        sandbox: Where.
        relation: Name of a table or index.
        edit: Gets a page and its number, gives the changed one, or None to be asked about the next.

    Returns:
        Number of the page.

    Raises:
        LookupError: The edit accepted none.
    """
    with sandbox.connect() as session:
        row = session.execute("SELECT pg_relation_filepath(%s::regclass)", [relation]).fetchone()
    file = sandbox.cluster.data / str(row[0] if row else "")
    sandbox.cluster.stop()
    try:
        return _edit(file, edit)
    finally:
        sandbox.up()


def _edit(file: Path, edit: Edit) -> int:
    with file.open("r+b") as opened:
        number = 0
        while page := bytearray(opened.read(PAGE)):
            changed = edit(page, number)
            if changed is not None:
                opened.seek(number * PAGE)
                opened.write(changed)
                return number
            number += 1
    message = f"{file} has no page to change"
    raise LookupError(message)


def overwrite(page: bytearray, _number: int) -> bytearray | None:
    """Overwrite a page's middle as a failing disk does; its checksum is wrong from then on."""
    if not _items(page):
        return None
    return page[: PAGE // 2] + b"\xde\xad\xbe\xef" * 128 + page[PAGE // 2 + 512 :]


def overwrite_leaf(page: bytearray, number: int) -> bytearray | None:
    """Overwrite a leaf of a B-tree."""
    return overwrite(page, number) if _is_leaf(page) else None


def swap_items(page: bytearray, number: int) -> bytearray | None:
    """Swap two entries of a leaf of a B-tree and make the checksum right again.

    Nothing complains: searches that pass here miss rows. Only amcheck finds it.
    """
    count = _items(page)
    if not _is_leaf(page) or count < ENOUGH_ITEMS:
        return None
    first, second = (HEADER.size + ITEM.size * place for place in (count // 3, count - 2))
    one, other = page[first : first + 4], page[second : second + 4]
    page[first : first + 4], page[second : second + 4] = other, one
    return with_checksum(page, number)


def _items(page: bytearray) -> int:
    lower: int = HEADER.unpack_from(page)[3]
    return max(0, (lower - HEADER.size) // ITEM.size)


def _is_leaf(page: bytearray) -> bool:
    special: int = HEADER.unpack_from(page)[5]
    if special != PAGE - 16:
        return False
    flags: int = struct.unpack_from("<H", page, special + 12)[0]
    return bool(flags & LEAF) and not flags & DELETED


def with_checksum(page: bytearray, number: int) -> bytearray:
    """Give a page with its checksum made right.

    Args:
        page: The page.
        number: Its number in the relation.

    Returns:
        The page.
    """
    struct.pack_into("<H", page, 8, 0)
    sums = list(_BASES)
    words = struct.unpack(f"<{PAGE // 4}I", page) + (0,) * (2 * _SUMS)
    for place, word in enumerate(words):
        mixed = sums[place % _SUMS] ^ word
        sums[place % _SUMS] = (mixed * _PRIME & _WORD) ^ (mixed >> 17)
    folded = 0
    for value in sums:
        folded ^= value
    struct.pack_into("<H", page, 8, (folded ^ number) % 65535 + 1)
    return page
