"""Whether a database's data holds together: pages, rows, indexes, keys, sequences, files."""

from tasks.database.indexes.amcheck import State, verify_indexes
from tasks.database.indexes.catalogue import find_changed_collations, list_indexes
from tasks.database.indexes.findings import describe_collations, describe_indexes
from tasks.database.integrity.foreign_keys import ForeignKey, verify_foreign_keys
from tasks.database.integrity.heaps import count_checksum_failures, verify_tables
from tasks.database.integrity.left_files import find_left_files
from tasks.database.integrity.numbered_columns import Numbered, verify_sequences
from tasks.guardrails.plan import Finding
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets

_SHOWN = 50
_LOOK_AGAIN = (
    "For what was not looked at: grant the maintenance user what it lacks (SELECT, or membership "
    "in pg_read_all_data), or run it again when there is less traffic."
)
_REBUILD = "rebuild_indexes"
_RESTORE = "restore_from_backup"


@probe
def verify_pages(target: str) -> tuple[Finding, ...]:
    """Look at every row of tables and materialised views, and at what is counted of checksums.

    Args:
        target: Name of the target.

    Returns:
        Findings, with what to run.
    """
    database = targets.load(target).database
    tables = verify_tables(database)
    with database.connect() as session:
        on, failures = count_checksum_failures(session)
    damaged = [one for one in tables if one.damage]
    run = [] if all(one.made_by_query for one in damaged) else [_RESTORE]
    run += [
        f"REFRESH MATERIALIZED VIEW {one.identifier.as_string()};  -- readers wait meanwhile"
        for one in damaged
        if one.made_by_query
    ]
    unread = [one for one in tables if one.unread]
    told = "pages have checksums" if on else "pages have no checksums, so that not all is seen"
    if failures:
        told += f", and the server has counted {counted(failures, 'failure')} of them"
    views = " and materialised views" if any(one.made_by_query for one in tables) else ""
    rows = [(one.table, one.damage or f"not looked at: {one.unread}") for one in damaged + unread]
    return (
        Finding(
            what=f"Of {counted(len(tables), 'table')}{views} {len(damaged) or 'none'} "
            f"{'are' if len(damaged) > 1 else 'is'} damaged{_unread(len(unread))}; {told}.",
            how="amcheck: verify_heapam with TOAST; data_checksums, pg_stat_database",
            columns=("table", "what was seen") if rows else (),
            rows=tuple(rows[:_SHOWN]),
            patch=_patch("\n".join(run), looked_at=not unread),
        ),
    )


def _patch(patch: str, *, looked_at: bool) -> str:
    return "\n".join(one for one in (patch, "" if looked_at else _LOOK_AGAIN) if one)


def _unread(many: int) -> str:
    return f", {many} could not be looked at" if many else ""


@probe
def verify_all_indexes(target: str) -> tuple[Finding, ...]:
    """Verify the order of every index, and that each row of its table is in it.

    Args:
        target: Name of the target.

    Returns:
        Findings, with what to run.
    """
    database = targets.load(target).database
    with database.connect() as session:
        indexes, changed = list_indexes(session), find_changed_collations(session)
    verified = verify_indexes(database, indexes, lambda _done, _detail: None)
    damaged = any(one.state is State.DAMAGED for one in verified)
    return (
        describe_indexes(verified, patch=_REBUILD if damaged else ""),
        *describe_collations(changed),
    )


@probe
def verify_keys(target: str) -> tuple[Finding, ...]:
    """Look for rows that point at nothing, and for sequences that stand behind their columns.

    Args:
        target: Name of the target.

    Returns:
        Findings, with what to run.
    """
    database = targets.load(target).database
    keys = verify_foreign_keys(database)
    broken = [one for one in keys if one.orphans]
    told = [
        *broken,
        *(one for one in keys if not one.orphans and (one.unread or not one.validated)),
    ]
    unread = sum(bool(one.unread) for one in keys)
    return (
        Finding(
            what=f"Of {counted(len(keys), 'foreign key')} {len(broken) or 'none'} "
            f"{'have' if len(broken) > 1 else 'has'} rows that point at nothing"
            f"{_unread(unread)}.",
            how="an anti-join for each that uses no index",
            columns=("foreign key", "from", "to", "what was seen") if told else (),
            rows=tuple((one.name, one.table, one.points_at, _said(one)) for one in told[:_SHOWN]),
            patch=_patch(
                f"{_RESTORE}, or decide for each row whether it goes or what it points at"
                if broken
                else "",
                looked_at=not unread,
            ),
        ),
        *_describe_sequences(verify_sequences(database)),
    )


def _describe_sequences(columns: list[Numbered]) -> tuple[Finding, ...]:
    behind = [one for one in columns if one.greatest is not None]
    unread = [one for one in columns if one.unread]
    if not (behind or unread):
        return ()
    # One sequence may number several columns: it has to pass all of them.
    furthest: dict[str, int] = {}
    for one in behind:
        most = one.greatest or 0
        before = furthest.get(one.sequence, most)
        furthest[one.sequence] = max(before, most) if one.up else min(before, most)
    return (
        Finding(
            what=f"{counted(len(furthest), 'sequence')} behind a column that is numbered by it: "
            f"inserts fail on a key that is there{_unread(len(unread))}."
            if furthest
            else f"No sequence is behind a column that is numbered by it{_unread(len(unread))}.",
            how="last_value and the greatest value of the column",
            columns=("sequence", "column", "greatest value"),
            rows=(
                *((one.sequence, one.column, str(one.greatest)) for one in behind[:_SHOWN]),
                *(
                    (one.sequence, one.column, f"not looked at: {one.unread}")
                    for one in unread[:_SHOWN]
                ),
            ),
            patch=_patch(
                "\n".join(f"SELECT setval('{name}', {most});" for name, most in furthest.items()),
                looked_at=not unread,
            ),
        ),
    )


def _said(key: ForeignKey) -> str:
    if key.unread:
        return f"not looked at: {key.unread}"
    if not key.orphans:
        return "NOT VALID: rows of before are unchecked by the server; all point at something"
    return f"{counted(key.orphans, 'row')}, as {', '.join(key.columns)} = {key.examples[0]}"


@probe
def find_files_left(target: str) -> tuple[Finding, ...]:
    """Look for files that belong to nothing any more.

    Args:
        target: Name of the target.

    Returns:
        A finding where there are some, or where they cannot be seen.
    """
    database = targets.load(target).database
    with database.connect() as session:
        left, unseen = find_left_files(session)
    how = "pg_ls_dir of the database's folders beside pg_relation_filepath"
    if unseen:
        return (
            Finding(
                what=f"Files left behind cannot be looked for: {unseen.found.rstrip('.')}.",
                how=how,
                patch=unseen.todo,
            ),
        )
    if not left:
        return ()
    return (
        Finding(
            what=f"{counted(len(left), 'file')} of {sum(one.size for one in left) / 1e6:.0f} MB "
            "belong to no table and no index: a server that ended in the middle has left them.",
            how=how,
            columns=("file", "bytes"),
            rows=tuple((one.path, f"{one.size:,}") for one in left[:_SHOWN]),
            patch="Have them looked at by somebody who knows the server; they hold no live row. "
            "restore_from_backup leaves them behind with the old database.",
        ),
    )
