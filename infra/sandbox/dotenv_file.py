"""The `.env` of the sandbox's application: what its processes are started with."""

from collections.abc import Mapping
from pathlib import Path

from tasks.platforms.settings_file import SettingsFile

_SECTIONS = {
    "Signs tokens; whoever has it is everybody.": ("SECRET_KEY",),
    "Database": (
        "POSTGRES_SERVER",
        "POSTGRES_PORT",
        "POSTGRES_DB",
        "POSTGRES_USER",
        "POSTGRES_PASSWORD",
    ),
    "Cache": ("REDIS_HOST", "REDIS_PORT", "REDIS_DB", "REDIS_PASSWORD"),
    "How it runs": ("ENVIRONMENT", "LOG_LEVEL"),
}


def render(environment: Mapping[str, str]) -> str:
    """Write settings as a person would: in sections, with comments."""
    text = "# Settings of Planner. Each of its processes reads them when it starts.\n"
    for title, names in _SECTIONS.items():
        text += f"\n# {title}\n" + "".join(f"{name}={environment[name]}\n" for name in names)
    return text


def write(path: Path, environment: Mapping[str, str]) -> None:
    """Write the file; only its owner reads it."""
    path.touch(mode=0o600)
    path.write_text(render(environment))


def read(path: Path) -> dict[str, str]:
    """Read the file; nothing where the sandbox was never started."""
    return SettingsFile(path).read() if path.exists() else {}
