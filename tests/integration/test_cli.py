"""The command without a platform: exit codes, the four parts of errors, people and rules."""

import json
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pyotp
import pytest

from deployments.cli.app import call
from deployments.cli.starting import read_parameters
from tasks.guardrails.errors import BadInput
from tests.integration.test_services_fixtures import remedy

FOUR = ("Expected:", "Found:", "State:", "Do next:")


class Command:
    """The command in this process: fast, and without Prefect where it needs none."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        """Know where output goes."""
        self._capsys = capsys
        self._used: dict[str, int] = {}

    def __call__(self, *words: str) -> tuple[int, str, str]:
        """Run it; gives exit code, output and errors."""
        self._capsys.readouterr()
        code = call(list(words))
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def data(self, *words: str) -> Any:  # noqa: ANN401 - JSON
        """Run it with --json."""
        code, out, err = self(*words, "--json")
        assert code == 0, err
        return json.loads(out)

    def code(self, secret: str) -> str:
        """Give a code of a secret that was not used yet, and that is good for half a minute."""
        while True:
            # The one before is good for now as well, but only until the next step begins.
            step = max(int(time.time()) // 30, self._used.get(secret, 0) + 1)
            if step <= int(time.time()) // 30 + 1:
                self._used[secret] = step
                return pyotp.TOTP(secret).at(step * 30)
            time.sleep(0.5)


@pytest.fixture
def command(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Command:
    """Give the command with a home of its own, and no Prefect anywhere."""
    assert home
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return Command(capsys)


@pytest.mark.parametrize(
    ("words", "code", "found"),
    [
        (("no-such-command",), 2, "no-such-command"),
        (("run", "x"), 2, "--target"),
        (("show", "nothing"), 7, "neither"),
        (("run", "restore-from-backup", "--target", "x"), 7, "neither"),
        (("run", "x", "--target", "x", "--param", "nonsense"), 2, "nonsense"),
        (("lease", "release", "x", "--reason", "y"), 2, "never taken"),
        (("policy", "set", "*", "nothing=1", "--as", "x", "--code", "1"), 2, "nothing"),
        (("policy", "set", "*", "harmless=1", "--as", "x", "--code", "1"), 3, "wrong"),
        (("approver", "revoke", "x", "--reason", "y", "--as", "x", "--code", "1"), 3, "wrong"),
        (("ledger", "show", "zzz"), 7, "neither"),
    ],
)
def test_errors_have_four_parts_and_a_code(
    command: Command, words: tuple[str, ...], code: int, found: str
) -> None:
    """An error says what was expected, found, how things stand and what to do; no traceback."""
    got, _, errors = command(*words)
    assert (got, [part for part in FOUR if part not in errors]) == (code, []), errors
    assert found in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize(("value", "column"), [("not: shown", 26), ("*shown", 23)])
def test_a_file_that_is_no_yaml_is_told_without_its_values(
    command: Command, home: Path, value: str, column: int
) -> None:
    """The place is named; the line, which may hold a password, is not repeated."""
    file = home / "target.yaml"
    file.write_text(f"url: http://x\nmaintenance_password: {value}\n")
    code, said, errors = command("target", "add", "x", "--platform", "sandbox", "--from", str(file))
    assert code == 2, errors
    assert f"line 2, column {column}" in errors
    assert "shown" not in said + errors


def test_a_traceback_only_on_demand(home: Path) -> None:
    """REMEDY_TRACEBACK=1 shows where an error came from."""
    (home / "services.json").write_text("{}")
    quiet = remedy(home, "status")
    assert (quiet.returncode, "Traceback" in quiet.stderr) == (1, False)
    assert "ValidationError" in quiet.stderr
    loud = remedy(home, "status", REMEDY_TRACEBACK="1")
    assert "Traceback" in loud.stderr


def test_help_loads_no_prefect(home: Path) -> None:
    """The command starts without Prefect, which costs seconds."""
    done = remedy(home, "--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0
    assert "import time:" in done.stderr
    assert "| prefect" not in done.stderr
    listed = remedy(home, "runs", PYTHONPROFILEIMPORTTIME="1")
    assert listed.returncode == 0
    assert "No remediation yet" in listed.stdout


def test_the_first_approver_is_free_and_later_ones_are_not(command: Command) -> None:
    """The first gets the role policy; later ones are added by somebody who has it."""
    dana = command.data("approver", "add", "dana")
    assert dana["roles"] == ["approve", "policy"]
    assert len(dana["recovery_codes"]) == 8
    code, _, errors = command("approver", "add", "riley")
    assert (code, "--as" in errors) == (2, True)
    riley = command.data(
        "approver", "add", "riley", "--as", "dana", "--code", command.code(dana["secret"])
    )
    assert riley["roles"] == ["approve"]
    code, _, errors = command(
        "approver", "add", "mallory", "--as", "riley", "--code", command.code(riley["secret"])
    )
    assert (code, "role 'policy'" in errors) == (3, True)
    assert [one["name"] for one in command.data("approver", "list")] == ["dana", "riley"]


def test_secrets_are_shown_once_as_a_picture(command: Command) -> None:
    """The terminal shows a QR code, the secret and the recovery codes."""
    code, shown, _ = command("approver", "add", "dana")
    assert code == 0
    assert "█" in shown
    assert "Recovery codes" in shown
    _, listed, _ = command("approver", "list")
    assert shown.split("secret:")[1].split()[0] not in listed


def test_the_last_policy_maker_stays(command: Command) -> None:
    """Nobody could change a policy any more."""
    dana = command.data("approver", "add", "dana")
    used = ("--as", "dana", "--code", command.code(dana["secret"]))
    code, _, errors = command("approver", "revoke", "dana", "--reason", "left", *used)
    assert (code, "the only one" in errors) == (2, True)
    command.data("approver", "add", "riley", "--role", "policy", *used)
    again = ("--as", "dana", "--code", command.code(dana["secret"]))
    assert command("approver", "revoke", "dana", "--reason", "left", *again)[0] == 0
    assert command.data("approver", "list")[0]["revoked"]


def test_a_policy_is_set_by_who_may(command: Command) -> None:
    """It is in the ledger afterwards, with its version."""
    dana = command.data("approver", "add", "dana")
    used = ("--as", "dana", "--code", command.code(dana["secret"]))
    assert command.data("policy", "set", "shop", "harmless=1", *used)["harmless"] == 1
    shown = command.data("policy", "show", "shop")
    assert (shown["harmless"], shown["version"] > 0) == (1, True)
    assert command.data("policy", "show")["harmless"] == 0
    code, _, errors = command("policy", "set", "shop", "harmless=2", *used)
    assert (code, "used before" in errors) == (3, True)


def test_a_code_is_not_taken_from_a_pipe(home: Path) -> None:
    """Without a terminal and without --code the command says so, and waits for nothing."""
    assert remedy(home, "approver", "add", "dana").returncode == 0
    done = remedy(home, "approver", "add", "riley", "--as", "dana")
    assert done.returncode == 2
    assert "--code" in done.stderr


def test_a_code_is_taken_from_a_pipe_that_is_named(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--code=-` reads a line: among the processes of the machine there is no code to read."""
    dana = command.data("approver", "add", "dana")
    monkeypatch.setattr("sys.stdin", StringIO(f"{command.code(dana['secret'])}\n"))
    assert command.data("approver", "add", "riley", "--as", "dana", "--code=-")
    code, _, errors = command("approver", "add", "mallory", "--as", "dana", "--code=-")
    assert (code, "wrong" in errors) == (3, True), errors


def test_parameters_are_json_where_they_can_be() -> None:
    """Numbers, booleans and lists keep their types; anything else is text."""
    read = read_parameters(("max-rows-lost=5", "backup=newest", 'names=["a"]', "on=true"))
    assert read == {"max_rows_lost": 5, "backup": "newest", "names": ["a"], "on": True}
    with pytest.raises(BadInput):
        read_parameters(("=5",))
    assert read_parameters((f"n={2**63 - 1}",)) == {"n": 2**63 - 1}


@pytest.mark.parametrize(
    "number", [str(2**63), "9" * 25, "-" + "9" * 5000, "[1, 99999999999999999999]"]
)
def test_a_number_that_prefect_cannot_list_is_refused(number: str) -> None:
    """With one among the parameters of a run no list of runs is answered any more."""
    with pytest.raises(BadInput, match="64 bits"):
        read_parameters((f"n={number}",))


def test_ctrl_c_says_what_goes_on(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An interrupted command has its exit code, and says that it stopped nothing."""
    assert home

    def interrupted() -> None:
        raise KeyboardInterrupt

    # Not the command itself, which the tree may have looked up before.
    monkeypatch.setattr("deployments.cli.doctor.look", interrupted)
    assert call(["doctor"]) == 130
    assert capsys.readouterr().err == "Interrupted; what was started goes on.\n"


def test_doctor_says_what_is_there(command: Command) -> None:
    """Every line has an answer; what is not fine says how to get it."""
    code, out, _ = command("doctor", "--json")
    found = json.loads(out)
    assert code in (0, 11)
    assert {"Python", "PostgreSQL programs", "disk", "Prefect API"} <= {o["what"] for o in found}
    assert all(one["cure"] for one in found if one["answer"] == "missing")
