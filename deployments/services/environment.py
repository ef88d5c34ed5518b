"""The variables by which everything of the project finds Prefect and the home."""

import os
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from deployments.services import password
from deployments.services.settings import PlatformSettings
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.settings import settings

CODE = Path(__file__).resolve().parents[2]
# What Prefect would tell its makers, or load from them.
QUIET = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
}


def home_folder() -> Path:
    """Give REMEDY_HOME as an absolute path; whoever starts in another folder means the same."""
    return settings().home.absolute()


def settings_file(home: Path) -> Path:
    """Give the file that tells where the platform under a home listens."""
    return home / "services.json"


def environment(home: Path, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Give the variables of a client: of the CLI, a flow run, a test.

    Args:
        home: REMEDY_HOME.
        given: The environment so far. PREFECT_API_URL in it (a remote API) is kept.

    Returns:
        PREFECT_* and REMEDY_* variables to set.

    Raises:
        PreconditionFailed: There is neither a platform under the home nor a remote API.
    """
    given = os.environ if given is None else given
    if is_remote(given):
        return _common(home, given)
    local = PlatformSettings.load(settings_file(home))
    if local is None:
        raise PreconditionFailed(
            expected="a Prefect API: one under REMEDY_HOME, or PREFECT_API_URL.",
            found=f"no {settings_file(home)}, and PREFECT_API_URL is not set.",
            todo="Run `remedy up`, or set PREFECT_API_URL to the API to use.",
        )
    return local_environment(home, local, given)


def local_environment(
    home: Path, local: PlatformSettings, given: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Give the variables of a client of the platform under a home, whatever else is set."""
    given = os.environ if given is None else given
    addresses = {"PREFECT_API_URL": local.api_url, "PREFECT_UI_URL": local.ui_url}
    known = {"PREFECT_API_AUTH_STRING": password.read(home)} if local.is_exposed else {}
    return {**_common(home, given), **addresses, **known}


def _common(home: Path, given: Mapping[str, str]) -> dict[str, str]:
    return {
        **QUIET,
        "REMEDY_HOME": str(home),
        "REMEDY_CODE": str(CODE),
        "PREFECT_HOME": given.get("PREFECT_HOME", str(home / "prefect")),
    }


def is_remote(given: Mapping[str, str] | None = None) -> bool:
    """Say whether PREFECT_API_URL names the API to use."""
    return bool((os.environ if given is None else given).get("PREFECT_API_URL"))


def enter(goal: MutableMapping[str, str] | None = None) -> None:
    """Set the client's variables in this process; before Prefect is imported."""
    goal = os.environ if goal is None else goal
    goal.update(environment(home_folder(), goal))
