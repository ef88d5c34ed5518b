"""A target made of files, so that the engine is tested apart from any real system."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar

from tasks.guardrails import systems
from tasks.guardrails.errors import PreconditionFailed, Transient
from tasks.guardrails.plan import (
    Answer,
    Change,
    Check,
    Finding,
    Limit,
    Loss,
    Observed,
    Plan,
    Reverts,
    Risk,
    Stage,
    StageOutline,
    Standing,
    Verdict,
    Watch,
    Work,
)
from tasks.guardrails.remediation import remediation


class FileSystem:
    """The system: a folder."""

    def __init__(self, name: str, folder: Path) -> None:
        """Know the folder."""
        self.name, self.folder = name, folder
        self.address = str(folder)

    def fingerprint(self) -> str:
        """The configuration is the address."""
        return self.address

    def identity(self) -> dict[str, str]:
        """The system says who it is by a file."""
        path = self.folder / "identity"
        return {"identity": path.read_text() if path.exists() else "toy"}

    def end_older(self, token: int) -> list[str]:  # noqa: ARG002 - files have no sessions
        """There is nothing to end."""
        return []


SYSTEMS: dict[str, FileSystem] = {}


def folder(work: Work) -> Path:
    """Give the folder of the target at work."""
    loaded = systems.load(work.target)
    assert isinstance(loaded, FileSystem)
    return loaded.folder


class WriteFile(Change):
    """Writes a file that did not exist or had another text."""

    kind: ClassVar[str] = "toy.write_file"

    name: str
    before: str = ""
    after: str

    @property
    def title(self) -> str:
        """Say what is written."""
        return f"write {self.name}"

    @property
    def objects(self) -> tuple[str, ...]:
        """The file."""
        return (f"file {self.name}",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both texts."""
        return self.before, self.after

    def observe(self, work: Work) -> Observed:
        """Read the file."""
        path = folder(work) / self.name
        text = path.read_text() if path.exists() else ""
        standing = {self.before: Standing.BEFORE, self.after: Standing.AFTER}
        return Observed(standing.get(text, Standing.OTHER), f"{self.name} reads {text!r}")

    def apply(self, work: Work) -> str | None:
        """Write it, unless a file says to fail."""
        for spoilt in folder(work).glob("spoil-*"):  # somebody else is at work meanwhile
            other = folder(work) / spoilt.name.removeprefix("spoil-")
            if other.exists():
                other.write_text("spoilt")
        if (folder(work) / f"fail-{self.name}").exists():
            message = "the disk is on fire"
            raise OSError(message)
        (folder(work) / self.name).write_text(self.after)
        while (folder(work) / f"hold-{self.name}").exists():
            time.sleep(0.05)
        return None

    def revert(self, work: Work) -> str | None:
        """Write what was before, unless a file says to fail."""
        if (folder(work) / f"keep-{self.name}").exists():
            message = "the file is stuck"
            raise OSError(message)
        for spoilt in folder(work).glob("undo-spoils-*"):
            (folder(work) / spoilt.name.removeprefix("undo-spoils-")).write_text("spoilt")
        (folder(work) / self.name).write_text(self.before)
        return None

    def undo_loss(self, work: Work) -> Loss | None:
        """Lose as many rows as a file says that others wrote."""
        path = folder(work) / f"loss-{self.name}"
        if not path.exists():
            return None
        if path.read_text() == "unreadable":
            raise PreconditionFailed(expected="rows.", found="a damaged page.", todo="Look.")
        return Loss(float(path.read_text()), "rows", f"{path.read_text()} rows would be lost.")


class RemoveForEver(WriteFile):
    """A change that cannot be taken back."""

    kind: ClassVar[str] = "toy.remove_for_ever"
    reverts: ClassVar[Reverts] = "impossible"


class SendMessage(WriteFile):
    """A change that leaves nothing to see."""

    kind: ClassVar[str] = "toy.send_message"
    at_most_once: ClassVar[bool] = True

    def observe(self, work: Work) -> Observed:
        """Look at the mark, which a test may remove."""
        path = folder(work) / self.name
        sent = path.exists() and path.read_text() == self.after
        return Observed(Standing.AFTER if sent else Standing.BEFORE, f"sent: {sent}")

    def apply(self, work: Work) -> str | None:
        """Send it, unless a file says that no answer comes."""
        with (folder(work) / "attempts").open("a") as attempts:
            attempts.write("x")
        if (folder(work) / "no-answer").exists():
            raise Transient(expected="an answer.", found="none came.", todo="Ask.")
        return super().apply(work)


class Ring(WriteFile):
    """A change that leaves nothing to see: only that it was begun says that it was done."""

    kind: ClassVar[str] = "toy.ring"
    leaves_no_trace: ClassVar[bool] = True

    def observe(self, work: Work) -> Observed:
        """Know only whether it was begun, and how often it rang since."""
        rung = folder(work) / self.name
        standing = Standing.AFTER if work.begun_at and rung.exists() else Standing.BEFORE
        return Observed(standing, f"begun at {work.begun_at}")

    def revert(self, work: Work) -> str | None:
        """Ring once more, and forget."""
        (folder(work) / f"{self.name}-again").touch()
        (folder(work) / self.name).unlink(missing_ok=True)
        return None


class NothingIsDown(Watch):
    """A system that serves nobody while there is a file named 'down'."""

    kind: ClassVar[str] = "toy.nothing_is_down"

    @property
    def title(self) -> str:
        """Whom it asks."""
        return "the folder"

    @contextmanager
    def opened(self, work: Work) -> Iterator[Callable[[], str]]:
        """Give a look for the file; without a folder named 'probe' it cannot be asked."""
        if not (folder(work) / "probe").exists():
            raise PreconditionFailed(expected="a probe.", found="there is none", todo="Make it.")

        def look() -> str:
            if not (folder(work) / "down").exists():
                return ""
            with (folder(work) / "seen-down").open("a") as seen:
                seen.write("x")
            return "it is down"

        yield look


class FileReads(Check):
    """Claims that a file reads as it should; 'busy' in it means that it cannot be asked."""

    kind: ClassVar[str] = "toy.file_reads"

    name: str
    text: str

    @property
    def title(self) -> str:
        """The claim."""
        return f"{self.name} reads {self.text!r}"

    def ask(self, work: Work) -> Answer:
        """Read the file."""
        path = folder(work) / self.name
        text = path.read_text() if path.exists() else ""
        if text == "busy":
            return Answer(Verdict.NOT_ASKED, "busy")
        held = text == self.text
        return Answer(Verdict.HELD if held else Verdict.NOT_HELD, f"it reads {text!r}")


class CountAtMost(Limit):
    """Limits the number that a file holds."""

    kind: ClassVar[str] = "toy.count_at_most"

    @property
    def title(self) -> str:
        """What is limited."""
        return "rows lost"

    def measure(self, work: Work) -> float:
        """Read the number."""
        path = folder(work) / "count"
        return float(path.read_text()) if path.exists() else 0


Parameters = dict[str, Any]


@remediation(guide="Toy / One stage")
def toy_one_stage(
    target: str,
    risk: Risk = Risk.HARMLESS,
    names: list[str] = ["a", "b"],  # noqa: B006 - Prefect copies parameters
    check: str | None = None,
    check_file: str = "proof",
) -> Plan:
    """Write some files.

    Args:
        target: The folder.
        risk: Risk of the stage.
        names: Files to write.
        check: Text that the checked file must hold; nothing asks nothing.
        check_file: The file that is checked.
    """
    loaded = systems.load(target)
    assert isinstance(loaded, FileSystem)
    count = loaded.folder / "count"
    return Plan(
        title="Write files",
        risk=risk,
        findings=(Finding(what="files are missing", how="a look"),),
        changes=tuple(WriteFile(name=name, after=f"new {name}") for name in names),
        checks=(FileReads(name=check_file, text=check),) if check is not None else (),
        watches=(NothingIsDown(),),
        limits=(
            (CountAtMost(at_most=float(count.read_text()), unit="rows"),) if count.exists() else ()
        ),
    )


@remediation(guide="Toy / Two stages")
def toy_two_stages(
    target: str, second_risk: Risk = Risk.DISRUPTIVE, check_file: str = "proof", check: str = "ok"
) -> Plan:
    """Write a copy beside, then swap it in.

    Args:
        target: The folder.
        second_risk: Risk of the second stage as it turns out.
        check_file: The file that is checked.
        check: Text that it must hold.
    """
    assert second_risk
    assert check_file
    assert target + check
    return Plan(
        name="prepare",
        title="Write a copy",
        risk=Risk.HARMLESS,
        changes=(WriteFile(name="copy", after="new"),),
        later=(
            StageOutline(
                name="swap", title="Swap", risk=Risk.DISRUPTIVE, kinds=("toy.write_file",)
            ),
        ),
    )


@toy_two_stages.stage("swap")
def swap(
    earlier: tuple[Stage, ...], target: str, second_risk: Risk, check_file: str, check: str
) -> Stage:
    """Plan the swap from what the first stage left."""
    loaded = systems.load(target)
    assert isinstance(loaded, FileSystem)
    assert earlier[0].name == "prepare"
    copy = (loaded.folder / "copy").read_text()
    return Stage(
        name="swap",
        title="Swap",
        risk=second_risk,
        changes=(WriteFile(name="live", after=f"swapped {copy}"),),
        checks=(FileReads(name=check_file, text=check),),
    )


@remediation(guide="Toy / Message")
def toy_message(target: str) -> Plan:
    """Send a message at most once.

    Args:
        target: The folder.
    """
    assert target
    return Plan(
        title="Send", risk=Risk.HARMLESS, changes=(SendMessage(name="message", after="sent"),)
    )


@remediation(guide="Toy / Ring")
def toy_ring(target: str) -> Plan:
    """Ring.

    Args:
        target: The folder.
    """
    assert target
    return Plan(title="Ring", risk=Risk.HARMLESS, changes=(Ring(name="bell", after="rung"),))


def now() -> datetime:
    """Give the time with its zone."""
    return datetime.now().astimezone()
