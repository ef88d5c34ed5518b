"""A section of flows beside the real ones, for files that cannot be imported."""

from pathlib import Path
from uuid import uuid4

import pytest

import flows
from tasks.guardrails import remediation


def make_section(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Add an empty section, until the test ends.

    Returns:
        Its folder, under a name that no other test has: what was imported stays imported.
    """
    section = folder / f"broken_{uuid4().hex[:8]}"
    section.mkdir()
    (section / "__init__.py").touch()
    monkeypatch.setattr(flows, "__path__", [*flows.__path__, str(folder)])
    monkeypatch.setattr(remediation, "_catalogue", remediation.catalogue())
    return section
