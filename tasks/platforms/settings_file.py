"""The application's settings in a `.env` file, edited as a careful person would.

Source: python-dotenv, "File format".
"""

import re
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from dotenv import dotenv_values
from dotenv.parser import parse_stream

from tasks.guardrails.errors import BadInput, PreconditionFailed
from tasks.platforms.whole_files import write_whole

# Name and '=', the value with its quotes, what follows it.
_LINE = re.compile(
    r"""(?P<name>\s*(?:export[ \t]+)?(?:'[^']+'|[^=\#\s]+)[ \t]*=[ \t]*)"""
    r"""(?:'(?P<single>(?:[^'\\]|\\.)*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<bare>[^\r\n]*?))"""
    r"""(?P<rest>[ \t]*(?:[ \t]\#[^\r\n]*)?(?:\r\n|\n|\r|\Z))""",
    re.DOTALL,
)
_BARE = re.compile(r"[A-Za-z0-9_.,/:@%+=~-]*")


class SettingsFile:
    """A `.env` file; comments, order and quotes stay as they are.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        """Keep where it is; reads nothing."""
        self.path = path

    def read(self) -> dict[str, str]:
        """Read the settings.

        Returns:
            Value by name.

        Raises:
            PreconditionFailed: The file cannot be read.
        """
        values = dotenv_values(stream=StringIO(self.text()), interpolate=False)
        return {name: value for name, value in values.items() if value is not None}

    def change(self, settings: Mapping[str, str]) -> None:
        """Change some settings, whole or not at all; owner and mode of the file stay.

        Args:
            settings: New value by name; one that is not there yet comes to the end.

        Raises:
            BadInput: A value has characters that cannot stand there; nothing is changed.
            PreconditionFailed: The file cannot be read or written.
        """
        self._write(self._edited(self.text(), settings))

    def put_back(self, text: str, written: Mapping[str, str], old: Mapping[str, str]) -> None:
        """Take a change back, byte for byte where nothing else was edited since.

        Args:
            text: What the file was before the change.
            written: What was changed.
            old: The values of before, for a file that somebody has edited since.

        Raises:
            BadInput: Somebody has edited it, and an old value cannot be written beside that.
            PreconditionFailed: The file cannot be read or written.
        """
        now = self.text()
        if now == text:
            return
        self._write(text if now == self._edited(text, written) else self._edited(now, old))

    def _edited(self, text: str, settings: Mapping[str, str]) -> str:
        for name, value in settings.items():
            if not value.isprintable() or set(value) & set("'\"\\"):
                raise BadInput(
                    expected=f"a value of {name} without quotes, backslashes and line breaks.",
                    found="one that has some; its value is not shown.",
                    todo="Choose another value.",
                )
        edited, missing = "", dict(settings)
        for binding in parse_stream(StringIO(text)):
            line, name = binding.original.string, binding.key or ""
            if name in settings and not binding.error:
                line = self._line(line, settings[name])
                missing.pop(name, None)
            edited += line
        if missing and edited and not edited.endswith(("\n", "\r")):
            edited += "\n"
        return edited + "".join(f"{name}={_quoted(value)}\n" for name, value in missing.items())

    def _line(self, line: str, value: str) -> str:
        found = _LINE.fullmatch(line)
        if found is None:
            raise PreconditionFailed(
                expected=f"lines of the form NAME=VALUE in {self.path}.",
                found=f"{line.partition('=')[0].strip()} is written in another way.",
                todo="Write it as NAME=VALUE, then run again.",
            )
        if found["single"] is not None:
            value = f"'{value}'"
        elif found["double"] is not None:
            value = f'"{value}"'
        else:
            value = _quoted(value)
        return found["name"] + value + found["rest"]

    def text(self) -> str:
        """Give the file's text.

        Raises:
            PreconditionFailed: The file cannot be read.
        """
        try:
            # As bytes: reading as text would turn the line ends of Windows into ours.
            return self.path.read_bytes().decode()
        except (OSError, UnicodeDecodeError) as error:
            raise self._told(error) from error

    def _write(self, text: str) -> None:
        try:
            write_whole(self.path, text.encode())
        except OSError as error:
            raise self._told(error) from error

    def _told(self, error: OSError | UnicodeDecodeError) -> PreconditionFailed:
        return PreconditionFailed(
            expected=f"to read and write the application's settings in {self.path}.",
            found=f"{type(error).__name__}: {getattr(error, 'strerror', '') or 'not UTF-8'}.",
            state="The file is as it was.",
            todo="Correct `environment_file` of the target, or the file's rights.",
        )


def _quoted(value: str) -> str:
    return value if _BARE.fullmatch(value) else f"'{value}'"
