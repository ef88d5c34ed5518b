"""The plan of a clean-up: what may go of an engine's disk, each object with its way back."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from tasks.disk.checks import ContainersAreTheSame, ProjectIsWhole
from tasks.disk.images import RemoveBuiltImage, RemoveImage, RemoveSavedImage
from tasks.disk.removals import ClearBuildCache, RemoveContainer, RemoveNetwork, RemoveVolume
from tasks.disk.sizes import megabytes
from tasks.disk.unused import Fate, Rule, Verdict, judge
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import Change, Check, Finding, Limit, Work
from tasks.guardrails.probe import probe
from tasks.guardrails.words import counted
from tasks.platforms import targets
from tasks.platforms.disks import EngineStore

_SHOWN = 50
_RESERVE = 100_000_000  # bytes that stay free beside the saved images


@dataclass(frozen=True)
class Found:
    """What may go.

    Args:
        findings: What was found, and why everything else stays.
        changes: What is removed, in order.
        checks: What holds before and afterwards.
        limits: The room for what is saved.
        size: Bytes that come free, by what the engine says.
        saved: Bytes of images that are saved before.
        lost: What is lost for good; '' for nothing.
    """

    findings: tuple[Finding, ...]
    changes: tuple[Change, ...]
    checks: tuple[Check, ...]
    limits: tuple[Limit, ...]
    size: int
    saved: int
    lost: str


class RoomToSave(Limit):
    """Bytes free where images are saved to.

    Args:
        folder: The folder.
    """

    kind: ClassVar[str] = "disk.room_to_save"

    folder: Path

    @property
    def title(self) -> str:
        """What is limited."""
        return f"free bytes in {self.folder}"

    def measure(self, work: Work) -> float:  # noqa: ARG002 - it is a folder of this machine
        """Ask the file system."""
        return float(shutil.disk_usage(self.folder).free)


@probe
def find_unused(target: str, rule: Rule, remediation: str) -> Found:
    """Find what of an engine's disk nobody uses.

    Args:
        target: Name of the target.
        rule: What may go.
        remediation: Id of the remediation, for the names of files.

    Returns:
        Findings and changes.

    Raises:
        PreconditionFailed: The target has no engine, or images cannot be saved as asked.
    """
    store = targets.load(target).engine_store
    if rule.save_to:
        _insist_on_folder(Path(rule.save_to))
    seen = store.look()
    verdicts = judge(seen.items, rule, datetime.now(UTC), _Registries(store).have)
    goes = [one for one in verdicts if one.fate]
    lost = [one for one in goes if one.fate is Fate.LOSE]
    saved = sum(one.item.size for one in goes if one.fate is Fate.SAVE)
    return Found(
        findings=(
            _goes(goes),
            _stays([one for one in verdicts if not one.fate], rule),
            *(Finding(what=one, how="the labels of its containers") for one in seen.unread),
        ),
        changes=_changes(goes, rule, remediation),
        checks=(
            ContainersAreTheSame(services=store.services()),
            ProjectIsWhole(named=store.named()),
        ),
        limits=(_room(Path(rule.save_to), saved),) if saved else (),
        size=sum(one.item.own for one in goes),
        saved=saved,
        lost="; ".join(_loss(one) for one in lost),
    )


class _Registries:
    """Registries, each asked no more once it does not answer: that takes its time."""

    def __init__(self, store: EngineStore) -> None:
        self._store, self._mute = store, set[str]()

    def have(self, reference: str) -> bool:
        """Ask for an image, as name@sha256:..."""
        first = reference.partition("/")[0]
        registry = first if set(first) & {".", ":"} else ""
        if registry in self._mute:
            return False
        answer = self._store.can_be_pulled(reference)
        if answer is None:
            self._mute.add(registry)
        return bool(answer)


def _insist_on_folder(folder: Path) -> None:
    if not folder.is_absolute() or not folder.is_dir():
        raise PreconditionFailed(
            expected="a folder of this machine to save images to, by its whole path.",
            found=f"{folder}.",
            todo="Make it, or leave `save_to` empty.",
        )


def _room(folder: Path, saved: int) -> RoomToSave:
    return RoomToSave(folder=folder, at_least=saved + _RESERVE, unit="bytes")


def _loss(verdict: Verdict) -> str:
    item = verdict.item
    if item.kind == "container":
        return f"what {item.name} wrote beside volumes ({megabytes(item.own)} MB), and its log"
    return f"image {item.name} ({megabytes(item.size)} MB), which no registry gives back"


def _changes(goes: Sequence[Verdict], rule: Rule, remediation: str) -> tuple[Change, ...]:
    cached = [one.item for one in goes if one.fate is Fate.REBUILD]
    size = sum(one.size for one in cached)
    records = tuple(sorted(one.id for one in cached))
    return (
        *((ClearBuildCache(records=records, size=size),) if records else ()),
        *(_change(one, rule, remediation) for one in goes if one.fate is not Fate.REBUILD),
    )


def _change(verdict: Verdict, rule: Rule, remediation: str) -> Change:
    item = verdict.item
    what: dict[str, Any] = {
        "known": item.id,
        "name": item.name,
        "size": item.own,
        "since": item.since,
        "why": verdict.why,
    }
    if verdict.fate is Fate.AGAIN:
        remove = RemoveVolume if item.kind == "volume" else RemoveNetwork
        return remove(**what, made=item.made)
    if item.kind == "container":
        return RemoveContainer(**what)
    if verdict.fate is Fate.PULL:
        return RemoveImage(**what, tags=item.tags, reference=verdict.reference)
    if verdict.fate is Fate.SAVE:
        name = f"{item.id.removeprefix('sha256:')[:12]}-{remediation}.tar.zst"
        return RemoveSavedImage(**what, tags=item.tags, file=Path(rule.save_to) / name)
    return RemoveBuiltImage(**what, tags=item.tags)


def _goes(goes: Sequence[Verdict]) -> Finding:
    size = sum(one.item.own for one in goes)
    return Finding(
        what=f"{counted(len(goes), 'object')} used by nobody may go, {megabytes(size)} MB theirs "
        "alone.",
        how="the engine's objects, its containers, the compose files, the registries",
        columns=("object", "MB", "what becomes of it", "why") if goes else (),
        rows=tuple(
            (f"{one.item.kind} {one.item.name}", megabytes(one.item.own), str(one.fate), one.why)
            for one in goes[:_SHOWN]
        ),
    )


def _stays(stays: Sequence[Verdict], rule: Rule) -> Finding:
    asked = [one for one in stays if rule.covers(one.item)]
    others = len(stays) - len(asked)
    without = f" {counted(others, 'object')} without the label {rule.only_label} stay, too."
    ranked = sorted(asked, key=lambda one: (bool(one.item.used_by), -one.item.own))
    return Finding(
        what=f"{counted(len(asked), 'object stays', 'objects stay')}: first those that nobody "
        f"uses.{without if others else ''}",
        how="the engine's objects, its containers, the compose files",
        columns=("object", "MB", "why it stays") if asked else (),
        rows=tuple(
            (f"{one.item.kind} {one.item.name}", megabytes(one.item.own), one.why)
            for one in ranked[:_SHOWN]
        ),
    )
