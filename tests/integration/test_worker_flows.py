"""The catalogue of the worker's tests: remediations of the target made of files, and odd flows."""

import os
import time
from pathlib import Path
from typing import ClassVar

from prefect import flow

from flows.help.reap_remediations import reap_remediations
from flows.help.recover_remediation import recover_remediation
from tasks.guardrails import systems
from tasks.guardrails.plan import Plan, Risk, Work
from tasks.guardrails.remediation import remediation
from tests import toy

FOLDER = Path(os.environ.get("WORKER_TEST_FOLDER", "/nowhere"))
if FOLDER.exists():  # in a worker; a test that only imports the flows has targets of its own
    systems.use_loader(toy.SYSTEMS.__getitem__)
    toy.SYSTEMS["toy"] = toy.FileSystem("toy", FOLDER)
_seen: list[str] = []


class WriteWhenLetGo(toy.WriteFile):
    """Writes a file, once another one that holds it is gone."""

    kind: ClassVar[str] = "toy.write_when_let_go"

    def apply(self, work: Work) -> str | None:
        """Say that it is here, and wait."""
        (FOLDER / f"reached-{self.name}").touch()
        while (FOLDER / f"hold-{self.name}").exists():
            time.sleep(0.05)
        return super().apply(work)


@remediation(guide="Toy / Held")
def held_change(target: str, risk: Risk = Risk.HARMLESS) -> Plan:
    """Write two files, each when it is let go.

    Args:
        target: The folder.
        risk: Risk of the plan.
    """
    assert target
    return Plan(
        title="Write when let go",
        risk=risk,
        changes=tuple(WriteWhenLetGo(name=name, after=f"new {name}") for name in "ab"),
    )


class NoteTime(toy.WriteFile):
    """Writes down when it is carried out."""

    kind: ClassVar[str] = "toy.note_time"

    def apply(self, work: Work) -> str | None:
        """Write the time beside."""
        (FOLDER / f"time-{self.name}").write_text(f"{time.time()}")
        return super().apply(work)


@remediation(guide="Toy / Timed")
def timed_change(target: str, word: str) -> Plan:
    """Write down when the first probe would look, then when the change is carried out.

    Args:
        target: The folder.
        word: Names the files.
    """
    assert target
    (FOLDER / f"time-probe-{word}").write_text(f"{time.time()}")
    change = NoteTime(name=f"change-{word}", after="done")
    return Plan(title="Note the time", risk=Risk.DISRUPTIVE, changes=(change,))


@flow(name="look-around", persist_result=False)
def look_around(word: str) -> None:
    """Write down what an earlier run left in this process, and leave something."""
    found = [os.environ.get("LEFT_BEHIND", ""), *_seen, Path.cwd().name == "left-behind"]
    with (FOLDER / "looked").open("a") as file:
        file.write(f"{word} {os.getpid()} {any(found)}\n")
    os.environ["LEFT_BEHIND"] = word
    _seen.append(word)
    (FOLDER / "left-behind").mkdir(exist_ok=True)
    os.chdir(FOLDER / "left-behind")


@flow(name="stay", persist_result=False)
def stay(name: str, seconds: float = 0, megabytes: int = 0) -> None:
    """Be here for a while, with some memory, and as long as a file holds it."""
    held = bytearray(megabytes * 1024**2)
    mine = FOLDER / f"here-{name}"
    mine.touch()
    with (FOLDER / "crowd").open("a") as file:
        file.write(f"{name} {len(list(FOLDER.glob('here-*')))}\n")
    time.sleep(seconds)
    while (FOLDER / f"hold-{name}").exists():
        time.sleep(0.05)
    mine.unlink()
    assert len(held) == megabytes * 1024**2


FLOWS = {
    one.name: one
    for one in (
        toy.toy_one_stage,
        held_change,
        timed_change,
        look_around,
        stay,
        recover_remediation,
        reap_remediations,
    )
}
