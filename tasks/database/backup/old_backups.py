"""Which backups of a target may go, so that what is needed for a restore stays."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache, partial

from tasks.database.backup.archive import read_stamp
from tasks.database.backup.backups import Backup, detect_format, find_backups, time_of
from tasks.database.backup.manifest import SUFFIX, checksum, read_manifest
from tasks.database.backup.retention import (
    DestroyDiscarded,
    DiscardBackup,
    Retention,
    box_name,
    choose_kept,
    find_sound,
    is_over,
    maker_of,
)
from tasks.database.backup.staying import keep_sound
from tasks.guardrails.case import Case
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.plan import Change, Check, Finding, Limit
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.protocols import Backups, StoredBackup

_SHOWN = 50
_NOT_OURS = "no: no remediation of this target made it"
_UNNAMED = "it does not say of which database it is"


@dataclass(frozen=True)
class Found:
    """What may go.

    Args:
        findings: What was found, for the plan.
        changes: What is moved into the trash, then what is destroyed there.
        limits: The sound ones that stay, before others go.
        checks: The same, afterwards.
        discarded: How many are moved.
        destroyed: Bytes that are destroyed.
        notes: What comes free now, and what on which date.
    """

    findings: tuple[Finding, ...]
    changes: tuple[Change, ...]
    limits: tuple[Limit, ...]
    checks: tuple[Check, ...]
    discarded: int
    destroyed: int
    notes: tuple[str, ...]


@probe
def find_old_backups(target: str, rule: Retention, trash_days: int, remediation: str) -> Found:
    """Find the backups that may go.

    Args:
        target: Name of the target.
        rule: What is kept.
        trash_days: Days for which what goes stays in the trash.
        remediation: Id of the remediation, for the name of the box.

    Returns:
        Findings and changes; none that would leave fewer sound backups than the rule says.

    Raises:
        PreconditionFailed: No backup is proved to be restorable; nothing may go then.
    """
    system = targets.load(target)
    now = datetime.now(UTC)
    files = system.backups.list()
    proved = {one.name.removesuffix(SUFFIX) for one in files if one.name.endswith(SUFFIX)}
    listed = [one for one in find_backups(system.backups) if _is_backup(system.backups, one.name)]
    foreign = _find_foreign(system.backups, listed, proved, system.database.name)
    entries = [one for one in listed if one.name not in foreign]
    away = system.backups.discarded()
    ours = {box for box in away if Case.read(Ledger(), maker_of(box)).target == target}
    over = {box: names for box, names in away.items() if box in ours and is_over(box, now)}
    table = system.migrations.version_table if system.migrations else "alembic_version"
    stands = cache(partial(_is_as_proved, system.backups, proved))
    kept = choose_kept(entries, stands, rule, now)
    goes = [entry for entry in entries if entry.name not in kept]
    sound: list[Backup] = []
    others: list[Backup] = []
    if goes or over:
        sound, others = find_sound(system.database, system.backups, entries, rule.sound, table)
        _insist_on_proof(sound, others)
    if len(sound) < rule.sound:
        over = {}  # what lies in the trash may be needed yet
    unsound = [one for one in others if one.problem]
    unnamed = [one for one in others if not one.problem][: rule.sound - len(sound)]
    spared = {
        **{one.name: f"one of the {rule.sound} newest sound ones" for one in sound},
        **{one.name: f"{_UNNAMED}: stays while there are fewer sound ones" for one in unnamed},
    }
    goes = [entry for entry in goes if entry.name not in spared]
    until = now + timedelta(days=trash_days)
    box = box_name(until, remediation)
    limits, check = keep_sound(sound)
    verdicts = {
        **{entry.name: "into the trash" for entry in goes},
        **spared,
        **kept,
        **foreign,
        **{one.name: f"{kept.get(one.name, 'goes')}; not sound: {one.problem}" for one in unsound},
    }
    destroyed = sum(sum(names.values()) for names in over.values())
    return Found(
        findings=(
            _overview(listed, verdicts, len(goes)),
            *([_trash(away, ours, over, rule, len(sound))] if away else []),
        ),
        changes=(
            *(
                DiscardBackup(name=entry.name, size=entry.size, box=box, until=until)
                for entry in goes
            ),
            *(
                DestroyDiscarded(box=name, names=tuple(names), size=sum(names.values()))
                for name, names in over.items()
            ),
        ),
        limits=limits if goes or over else (),
        checks=(check,) if goes or over else (),
        discarded=len(goes),
        destroyed=destroyed,
        notes=(_tell_freed(destroyed, sum(entry.size for entry in goes), until),),
    )


def _insist_on_proof(sound: list[Backup], others: list[Backup]) -> None:
    """Make sure that the newest sound backup was restored once: its manifest says so."""
    if sound and sound[0].manifest:
        return
    found = "; ".join(f"{one.name}: {one.problem or _UNNAMED}" for one in others[:5])
    if sound:
        found = f"{sound[0].name}, which nobody has restored yet"
    raise PreconditionFailed(
        expected="the newest sound backup to be proved by a restore before any other goes.",
        found=f"{found or 'no backup at all'}.",
        state="Every backup is where it was.",
        todo="Take one that is proved: remedy run back-up-database; then run again.",
    )


def _overview(entries: list[StoredBackup], verdicts: dict[str, str], goes: int) -> Finding:
    return Finding(
        what=f"{counted(len(entries), 'backup')} in the store, {counted(goes, 'goes', 'go')}.",
        how="the store's list; the newest were read to their end",
        columns=("backup", "time (UTC)", "MB", "what becomes of it") if entries else (),
        rows=tuple(
            (
                entry.name,
                f"{time_of(entry)[0]:%Y-%m-%d %H:%M}",
                f"{entry.size / 1e6:.1f}",
                verdicts.get(entry.name, ""),
            )
            for entry in entries[:_SHOWN]
        ),
    )


def _is_backup(store: Backups, name: str) -> bool:
    """Say whether an entry reads like a backup: no link, no notes that somebody has left."""
    with store.local(name) as path:
        return not path.is_symlink() and detect_format(path)[0] != "unknown"


def _is_as_proved(store: Backups, proved: set[str], name: str) -> bool:
    """Say whether a backup is still what its manifest vouches for."""
    if name not in proved:
        return False
    with store.local(name + SUFFIX) as path:
        manifest = read_manifest(path)
    with store.local(name) as path:
        return manifest is not None and manifest.sha256 == checksum(path)


def _tell_freed(now: int, later: int, until: datetime) -> str:
    freed = f"{now / 1e6:.1f} MB come free now"
    if not later:
        return freed
    return (
        f"{freed}; {later / 1e6:.1f} MB go into the trash, which lies in the same store: a run of "
        f"clean_up_backups after {until:%Y-%m-%d %H:%M} UTC frees them"
    )


def _find_foreign(
    store: Backups, entries: list[StoredBackup], proved: set[str], ours: str
) -> dict[str, str]:
    """Say of which database those are whose manifest or archive names another one."""
    foreign: dict[str, str] = {}
    for name in (entry.name for entry in entries):
        with store.local(name) as path:
            is_archive = detect_format(path)[0] in {"custom", "directory"}
            named = {read_stamp(path).get("database", "")} if is_archive else set[str]()
        if name in proved:
            with store.local(name + SUFFIX) as path:
                named |= {manifest.database} if (manifest := read_manifest(path)) else set()
        if others := sorted(named - {"", ours}):
            foreign[name] = f"of another database ({', '.join(others)}): stays"
    return foreign


def _trash(
    away: dict[str, dict[str, int]],
    ours: set[str],
    over: dict[str, dict[str, int]],
    rule: Retention,
    sound: int,
) -> Finding:
    kept = f" There are {sound} sound backups and not {rule.sound}: none is destroyed."
    return Finding(
        what=f"{counted(len(away), 'box is', 'boxes are')} in the trash; {len(over)} may go."
        + (kept if sound < rule.sound else ""),
        how="the store's trash; by whom each box was made, from the ledger",
        columns=("box", "files", "MB", "goes"),
        rows=tuple(
            (
                box,
                str(len(names)),
                f"{sum(names.values()) / 1e6:.1f}",
                "yes" if box in over else "no" if box in ours else _NOT_OURS,
            )
            for box, names in away.items()
        ),
    )
