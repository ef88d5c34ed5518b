"""`remedy ledger`: the record of everything that was done."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from deployments.cli.errors import Exit
from deployments.cli.lookup import find_case
from deployments.cli.numbers import Count
from deployments.cli.output import AsJson, emit, tell
from deployments.cli.proving import As, Code, authenticate
from tasks.guardrails import key_rotation, ledger_setup
from tasks.guardrails.entries import Entry
from tasks.guardrails.errors import BadInput
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.verify import stream
from tasks.guardrails.verify import verify as walk
from tasks.guardrails.words import moment

app = App(name="ledger", help="The record of everything that was done.", help_format="markdown")
_LONGEST = 140  # two lines of a terminal


@app.command
def verify(*, as_json: AsJson = False) -> int:
    """Walk the whole chain, and compare it with the anchors.

    Names the first entry that is not what was written, and why. Exit code 9 where there is
    one.
    """
    found = walk(Ledger())
    style = "green" if found.is_sound else "bold red"
    data = {**asdict(found), "sound": found.is_sound, "sentence": found.sentence()}
    emit(data, Text(found.sentence(), style=style), as_json=as_json)
    if found.foreign_anchors:
        tell(f"{found.foreign_anchors} lines among the anchors are not signed by us.")
    return Exit.OK.value if found.is_sound else Exit.NOT_VERIFIED.value


@app.command
def show(
    run: Annotated[str, Parameter(help="Only entries of this remediation.")] = "",
    /,
    *,
    kind: Annotated[
        tuple[str, ...], Parameter(negative="", help="Only entries of this kind; may be repeated.")
    ] = (),
    last: Annotated[Count, Parameter(help="How many of the newest; 0 for all.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Show entries of the ledger, oldest first."""
    ledger = Ledger()
    remediation = find_case(ledger, run).id if run else None
    found = ledger.entries(remediation=remediation, kinds=kind)
    found = found[-last:] if last else found
    shown = Group(*(line for entry in found for line in _shown(entry)))
    emit([_data(entry) for entry in found], shown, as_json=as_json)


@app.command
def export(
    file: Annotated[Path | None, Parameter(help="Where to; standard output if not given.")] = None,
    /,
    *,
    after: Annotated[Count, Parameter(help="Only entries behind this sequence number.")] = 0,
) -> None:
    """Write the ledger as JSON lines: all that is needed to verify it elsewhere."""
    ledger = Ledger()
    if file is None:
        for entry in stream(ledger, after):
            sys.stdout.write(_line(entry))
        return
    try:
        count = _export(ledger, file, after)
    except (OSError, ValueError) as error:
        raise BadInput(
            expected="a file that can be written.", found=f"{error}.", todo="Name another one."
        ) from error
    tell(f"{count} entries in {file}")


@app.command
def install(
    *,
    owner_url: Annotated[
        str, Parameter(help="URL of a role that may create tables; used for this only.")
    ],
    writer: Annotated[str, Parameter(help="Role that the engine connects as: it owns nothing.")],
) -> None:
    """Install the ledger on PostgreSQL, for a writer that cannot take anything back.

    A password goes by PGPASSWORD or ~/.pgpass: everybody on the machine reads a command line.
    """
    if _has_password(owner_url):
        raise BadInput(
            expected="--owner-url without a password: everybody here reads a command line.",
            found="one with it.",
            todo="Set PGPASSWORD or write ~/.pgpass, and choose another password.",
        )
    ledger_setup.install(owner_url, writer)
    tell(f"installed; set REMEDY_LEDGER_URL to the URL of {writer}")


@app.command
def rotate_key(*, as_: As, code: Code = "", as_json: AsJson = False) -> None:
    """Replace the key that signs the ledger and encrypts the approvers' secrets.

    Authenticators work on; recovery codes are void. What the old key has signed still verifies,
    what it signs from now on does not. Whoever is at work with the old key records nothing more
    and has to be started anew. Where REMEDY_LEDGER_KEY is set, the new value is written to a
    file that only its owner reads.
    """
    ledger = Ledger()
    who, mark = authenticate(ledger, as_, code)
    done = key_rotation.rotate(ledger, who, mark)
    emit({**asdict(done), "sentence": done.sentence()}, Text(done.sentence()), as_json=as_json)


def _has_password(url: str) -> bool:
    try:
        return bool(make_url(url).password)
    except (ArgumentError, ValueError):
        return False  # it is no URL at all, which is said by who uses it


def _line(entry: Entry) -> str:
    # As it stands there, whatever somebody put in the place of text.
    return json.dumps(vars(entry), ensure_ascii=False, default=repr) + "\n"


def _export(ledger: Ledger, file: Path, after: int) -> int:
    draft = file.with_name(f".{file.name}.new")
    count = 0
    with draft.open("w") as out:
        for entry in stream(ledger, after):
            out.write(_line(entry))
            count += 1
    draft.replace(file)
    return count


def _shown(entry: Entry) -> Iterator[RenderableType]:
    """Show an entry in two lines, as a column of facts is too narrow in a terminal."""
    about = f"{entry.seq:>5}  {moment(entry.when)}  {entry.kind}"
    yield Text(" ".join(filter(None, (about, entry.remediation, "by", entry.actor))))
    cut = entry.body if len(entry.body) <= _LONGEST else entry.body[: _LONGEST - 3] + "..."
    yield Padding(Text(cut, style="dim", overflow="fold"), (0, 0, 0, 7))


def _data(entry: Entry) -> dict[str, object]:
    return {**vars(entry), "body": entry.facts}
