"""A `.env` file is edited as a careful person would."""

from io import StringIO
from pathlib import Path

import pytest
from dotenv import dotenv_values
from hypothesis import given
from hypothesis import strategies as st

from tasks.guardrails.errors import BadInput, PreconditionFailed
from tasks.platforms.settings_file import SettingsFile

TEXT = """\
# Settings, by hand
export POSTGRES_USER=planner  # who
POSTGRES_PASSWORD = 'old one'

#POSTGRES_PASSWORD=older
QUOTED="a b"
EMPTY=
LAST=x"""


@pytest.fixture
def file(tmp_path: Path) -> SettingsFile:
    """A file with all that people write."""
    path = tmp_path / ".env"
    path.write_text(TEXT)
    path.chmod(0o640)
    return SettingsFile(path)


def test_comments_order_and_quotes_stay(file: SettingsFile) -> None:
    """Only the values are others; owner and mode stay."""
    file.change({"POSTGRES_USER": "other", "POSTGRES_PASSWORD": "n-e_w", "EMPTY": "1", "NEW": "2"})
    expected = (
        TEXT.replace("=planner ", "=other ")
        .replace("'old one'", "'n-e_w'")
        .replace("EMPTY=", "EMPTY=1")
    )
    assert file.path.read_text() == expected + "\nNEW=2\n"
    assert file.path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in file.path.parent.iterdir()] == [".env"]


def test_changed_back_it_is_the_same_file(file: SettingsFile) -> None:
    """Byte for byte."""
    before = file.read()
    names = ("POSTGRES_USER", "POSTGRES_PASSWORD", "QUOTED", "EMPTY", "LAST")
    file.change(dict.fromkeys(names, "other"))
    file.change({name: before[name] for name in names})
    assert file.path.read_text() == TEXT


def test_put_back_it_is_the_same_file_whatever_was_in_it(file: SettingsFile) -> None:
    """Quotes, signs and a missing end of line; twice is fine."""
    odd = TEXT.replace("'old one'", '"it\'s"').replace("LAST=x", "LAST=S3cret!$")
    file.path.write_text(odd)
    written = {"POSTGRES_PASSWORD": "new", "LAST": "new", "MISSING": "new"}
    old = {"POSTGRES_PASSWORD": "it's", "LAST": "S3cret!$"}
    file.change(written)
    for _ in range(2):
        file.put_back(odd, written, old)
        assert file.path.read_text() == odd


def test_put_back_spares_what_others_have_edited(file: SettingsFile) -> None:
    """Only what was changed goes back."""
    file.change({"LAST": "new"})
    file.path.write_text(file.path.read_text().replace('"a b"', '"by hand"'))
    file.put_back(TEXT, {"LAST": "new"}, {"LAST": "x"})
    assert file.read() == {**dotenv_values(stream=StringIO(TEXT)), "QUOTED": "by hand"}


def test_line_ends_of_windows_stay(file: SettingsFile) -> None:
    """An editor of another system wrote it."""
    file.path.write_bytes(b"A=1\r\nB=2\r\n")
    file.change({"A": "3"})
    assert file.path.read_bytes() == b"A=3\r\nB=2\r\n"


def test_a_link_stays_a_link(file: SettingsFile, tmp_path: Path) -> None:
    """What it points at is edited."""
    link = tmp_path / "link"
    link.symlink_to(file.path)
    SettingsFile(link).change({"LAST": "y"})
    assert link.is_symlink()
    assert file.read()["LAST"] == "y"


@pytest.mark.parametrize("value", ["it's", 'a"b', "a\\b", "a\nb"])
def test_what_cannot_stand_there_is_refused_unseen(file: SettingsFile, value: str) -> None:
    """The file is as it was, and the value is in no message."""
    with pytest.raises(BadInput, match="LAST") as caught:
        file.change({"EMPTY": "1", "LAST": value})
    assert value not in str(caught.value)
    assert file.path.read_text() == TEXT


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """With the field of the target to correct."""
    with pytest.raises(PreconditionFailed, match="environment_file"):
        SettingsFile(tmp_path / "none").read()


@given(
    value=st.text(
        st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs")), max_size=20
    ).filter(lambda text: text.isprintable() and not set(text) & set("'\"\\"))
)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    """By us and by the library that the application uses."""
    file = SettingsFile(tmp_path_factory.mktemp("settings") / ".env")
    file.path.write_text(TEXT)
    file.change({"POSTGRES_USER": value, "POSTGRES_PASSWORD": value, "QUOTED": value, "Z": value})
    read = dotenv_values(file.path, interpolate=False)
    for name in ("POSTGRES_USER", "POSTGRES_PASSWORD", "QUOTED", "Z"):
        assert file.read()[name] == read[name] == value
