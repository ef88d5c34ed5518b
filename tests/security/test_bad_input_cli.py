"""Every command of `remedy` with every kind of nonsense: an answer that a person can read."""

import enum
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from cyclopts import App
from cyclopts.argument import Argument
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prefect.settings import PREFECT_API_URL

from deployments.cli.app import app, call
from deployments.cli.errors import MEANINGS, Exit
from infra.sandbox import load
from infra.sandbox.database_server import DatabaseServer
from infra.sandbox.processes import Service
from tasks.guardrails.errors import PreconditionFailed
from tests import hostile

FOUR = ("Expected:", "Found:", "State:", "Do next:")
# These say something beside an error: how things stand, or that it took too long.
ANSWERS = {Exit.OK, Exit.UNPROVED, Exit.NOT_VERIFIED, Exit.TIMEOUT}
# What a command makes by being called at all: the ledger with its key, what Prefect's client keeps.
OWN = {"ledger.db", "ledger.db-shm", "ledger.db-wal", "ledger.db.lock", "keys", "prefect"}
OWN |= {"services.lock", "services.json", "sandbox"}


def commands(at: App = app, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    """Give every command with the words that name it."""
    for name in at:
        if name.startswith("-"):
            continue
        found = at[name]
        if found.default_command is not None:
            yield (*path, name), found
        yield from commands(found, (*path, name))


COMMANDS = dict(commands())


def values(argument: Argument, canary: Path) -> st.SearchStrategy[str]:
    """Give values of an argument: nonsense, and now and then a good one."""
    hint: Any = argument.hint
    words = hostile.words(canary)
    if Path in (hint, *get_args(hint)):
        return words.filter(lambda one: not one.startswith("/"))  # it would be written there
    if hint in (int, float):
        return st.sampled_from(hostile.NUMBERS) | words
    good = [str(one) for part in (hint, *get_args(hint)) for one in _choices(part)]
    return words | st.sampled_from(good) if good else words


def _choices(hint: Any) -> list[Any]:  # noqa: ANN401 - any type
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return [one.value for one in hint]
    return [one for one in get_args(hint) if isinstance(one, str)]


@st.composite
def lines(draw: st.DrawFn, path: tuple[str, ...], canary: Path) -> list[str]:
    """Give a command line: what has to be given always, what may be sometimes."""
    options: list[str] = []
    positional: list[str] = []
    for argument in COMMANDS[path].assemble_argument_collection():
        name = argument.names[0]
        if name == "*" or not (argument.required or draw(st.booleans())):
            continue
        if argument.hint is bool:
            options.append(draw(st.sampled_from([name, f"{name}=x", f"{name}="])))
            continue
        value = draw(values(argument, canary))
        if name.startswith("-"):
            options += draw(st.sampled_from([[f"{name}={value}"], [name, value]]))
        else:
            positional.append(value)
    end = draw(st.sampled_from([["--"], []])) if positional else []
    return [*path, *options, *end, *positional]


@pytest.fixture
def place(
    prefect_server: None,  # noqa: ARG001 - it has to run
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Give a folder to run commands in, where no server is ever started."""
    inner = tmp_path / "deep" / "inner"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    monkeypatch.setenv("REMEDY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value() or "")
    monkeypatch.setenv("COLUMNS", "200")

    def broken(*_: object, **__: object) -> None:
        raise PreconditionFailed(expected="a server.", found="none starts here.", todo="None.")

    monkeypatch.setattr(DatabaseServer, "make", broken)
    monkeypatch.setattr(Service, "start", broken)
    monkeypatch.setattr(load, "LOGIN_WITHIN_SECONDS", 0.5)  # nobody answers there
    return inner


def test_the_commands_are_found() -> None:
    """A new command is tried without being named here."""
    assert {("run",), ("ledger", "export"), ("sandbox", "load")} <= COMMANDS.keys()
    assert len(COMMANDS) > 25


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_nonsense_is_answered(
    path: tuple[str, ...], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A documented exit code, one message without a traceback, and nothing written elsewhere."""
    home, canary = Path(os.environ["REMEDY_HOME"]), place / "canary"

    @settings(
        max_examples=12,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(line=lines(path, canary))
    def answered(line: list[str]) -> None:
        capsys.readouterr()
        code = call(line)
        said = capsys.readouterr()
        assert code in MEANINGS, line
        assert code != Exit.DEFECT, (line, said.err)
        assert "Traceback" not in said.out + said.err, line
        if code not in ANSWERS:
            assert [part for part in FOUR if said.err.count(part) != 1] == [], (line, said.err)
        assert "\x1b[2J" not in said.out + said.err, line
        assert not canary.exists(), line
        written = {one.relative_to(place.parents[1]).parts for one in place.parents[1].rglob("*")}
        beyond = {parts for parts in written if parts[:2] not in {("home", own) for own in OWN}}
        if path == ("ledger", "export"):  # a file here is what it is for
            beyond = {parts for parts in beyond if parts[:2] != ("deep", "inner")}
        assert beyond <= {("home",), ("deep",), ("deep", "inner")}, line

    answered()
    assert not (home / "canary").exists()
