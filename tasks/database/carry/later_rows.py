"""Rows of a kept database that are later than the backup that was restored in its place.

The restored database has the backup's version of a row where the row is older than the swap
(xmin). What the kept one has besides was written after the backup, by its updated_at.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from psycopg import sql

from tasks.database.carry.carried_before import JOURNAL, find_landed, read_landed
from tasks.database.carry.kept_rows import (
    CHANGED_IN_BOTH,
    Compared,
    Later,
    Left,
    Source,
    is_newer,
)
from tasks.database.carry.table_shapes import CREATED, UPDATED, VERSION, Shape, read_shapes
from tasks.database.copies.differences import Pair, paired, read_buckets
from tasks.database.copies.row_hashes import Hashes, make_hashes, read_columns
from tasks.guardrails.errors import RemediationError, Transient
from tasks.platforms.protocols import Connection, Database

_NAMES_LARGE = "names a large object, which is not carried over"
_NO_MOMENT = f"differs, and there is no {UPDATED} that says which is later"
_SAME_MOMENT = f"differs, but its {UPDATED} is not later: damaged, or written past the application"
_OLDER = f"differs, and live's {VERSION} is higher"
_UNCLEAR = (
    "not in live: deleted there since the restore, or written after the backup; nothing says which"
)
_CARRIED = "was carried over before, and deleted since"
_DELETED = f"not in live: deleted there since the restore, as it was made ({CREATED}) before "
_DELETED += "the backup"


def compare_kept(database: Database, source: Source) -> Compared:
    """Compare all tables of a kept database with the live one.

    Args:
        database: The database under care.
        source: Both databases; the kept one has to be open.

    Returns:
        What is later in the kept one, table by table.
    """
    found, unread = [], {}
    with paired(database, source.kept, source.live) as pair:
        old, new = read_shapes(pair.live), read_shapes(pair.side)
        landed = find_landed(pair.live, source.kept)
        for shown in sorted(old):
            if JOURNAL.fullmatch(old[shown].schema) or old[shown].name == source.revision_table:
                continue
            if why := _incomparable(old[shown], new.get(shown)):
                unread[shown] = why
                continue
            try:
                later = _compare(pair, new[shown], source, landed)
                if (later.new or later.changed) and not new[shown].writable:
                    unread[shown] = "rows differ, and the owner of live may not write it"
                    # Still listed: nothing of other tables is to be attached to these.
                    found.append(Later(later.shape, left=later.left, uncertain=later.uncertain))
                else:
                    found.append(later)
            except Transient:
                raise  # a lock or a lost connection says nothing about the rows
            except RemediationError as error:  # the damage for which it was restored
                unread[shown] = f"cannot be read: {error.found}"
    told = [one for one in found if one.new or one.changed or one.left or one.gone]
    return Compared(tuple(told), unread)


def _incomparable(old: Shape, new: Shape | None) -> str:
    if new is None:
        return "is not in live"
    differ = sorted(
        name
        for name in {*old.types, *new.types}
        if old.types.get(name) != new.types.get(name) or (name in old.key) != (name in new.key)
    )
    if differ:
        return f"other columns than in live: {', '.join(differ)}"
    return "" if new.key else "has no primary key"


def _compare(
    pair: Pair, shape: Shape, source: Source, landed: Mapping[str, Sequence[sql.Identifier]]
) -> Later:
    there, here = (read_columns(one, shape.schema, shape.name) for one in (pair.live, pair.side))
    hashes = make_hashes(there, here, pair.live.info.server_version)
    ours, theirs = pair.both(lambda session: read_buckets(session, shape.table, hashes))
    differ = [one for one in ours.keys() | theirs.keys() if ours.get(one) != theirs.get(one)]
    if not differ:
        return Later(shape)
    newer = is_newer("t", source.xid, source.back)
    kept = _read(pair.live, shape, hashes, differ, sql.SQL("false"))
    live = _read(pair.side, shape, hashes, differ, newer)
    missing = sorted(kept.keys() - live.keys())
    # Where every row of the backup still stands in live nothing was deleted there since.
    intact = bool(missing) and _older(pair.side, shape, newer) == source.rows.get(shape.shown)
    new: list[str] = []
    changed: list[str] = []
    left: list[Left] = []
    uncertain: list[str] = []
    carried = read_landed(pair.live, shape, landed, missing) if missing else frozenset()
    for key in missing:
        why = _CARRIED if key in carried else ""
        why = why or _why_not_new(kept[key], source.taken, intact=intact)
        new += [] if why else [key]
        left += [Left(shape.shown, key, why)] if why else []
    for key in sorted(kept.keys() & live.keys()):
        if kept[key]["hash"] != live[key]["hash"]:
            why = _why_not_changed(kept[key], live[key])
            made = (kept[key]["created"], live[key]["created"])
            uncertain += [key] if why == CHANGED_IN_BOTH and not _is_one(*made) else []
            changed += [] if why else [key]
            left += [Left(shape.shown, key, why)] if why else []
    gone = sum(not live[key]["newer"] for key in live.keys() - kept.keys())
    return Later(shape, tuple(new), tuple(changed), tuple(left), gone, tuple(uncertain))


def _is_one(kept: float | None, live: float | None) -> bool:
    """Say whether rows of one key were made at one moment, so are one row."""
    return kept is not None and kept == live


def _why_not_new(row: Mapping[str, Any], taken: datetime | None, *, intact: bool) -> str:
    if row["large"]:
        return _NAMES_LARGE
    if intact:
        return ""
    if row["created"] is None or taken is None:
        return _UNCLEAR
    return "" if row["created"] > taken.timestamp() else _DELETED


def _why_not_changed(kept: Mapping[str, Any], live: Mapping[str, Any]) -> str:
    if live["newer"]:
        return CHANGED_IN_BOTH
    if kept["large"]:
        return _NAMES_LARGE
    if kept["updated"] is None or live["updated"] is None:
        return _NO_MOMENT
    if kept["updated"] <= live["updated"]:
        return _SAME_MOMENT
    return _OLDER if (kept["version"] or 0) < (live["version"] or 0) else ""


def _read(
    session: Connection, shape: Shape, hashes: Hashes, buckets: list[int], newer: sql.Composable
) -> dict[str, dict[str, Any]]:
    """Read what is told of the rows in some buckets, by key."""
    large: sql.Composable = sql.SQL("false")
    if shape.large:
        large = sql.SQL(
            "EXISTS (SELECT FROM pg_largeobject_metadata m WHERE m.oid IN ({}))"
        ).format(shape.listed("t", shape.large))
    rows = session.execute(
        sql.SQL(
            """SELECT {} AS key, {} AS hash, {} AS updated, {} AS created, {} AS version,
                 {} AS newer, {} AS large
               FROM ONLY {} AS t WHERE {} IN (SELECT unnest({}::int4[]))"""
            # Not as a parameter: a name with a % in it would be read as one.
        ).format(
            hashes.shown,
            hashes.row,
            _seconds(shape, UPDATED),
            _seconds(shape, CREATED),
            sql.Identifier(VERSION) if shape.versioned else sql.SQL("NULL::int8"),
            newer,
            large,
            shape.table,
            hashes.bucket,
            buckets,
        )
    ).fetchall()
    return {row["key"]: row for row in rows}


def _seconds(shape: Shape, name: str) -> sql.Composable:
    """Write a moment as seconds since 1970; without a zone it is UTC, as the session's."""
    if name not in shape.moments:
        return sql.SQL("NULL::float8")
    return sql.SQL("extract(epoch FROM {}::timestamptz)::float8").format(sql.Identifier(name))


def _older(session: Connection, shape: Shape, newer: sql.Composable) -> int:
    row = session.execute(
        sql.SQL("SELECT count(*) FILTER (WHERE NOT {}) AS n FROM ONLY {} AS t").format(
            newer, shape.table
        )
    ).fetchone()
    return int(row["n"]) if row else -1
