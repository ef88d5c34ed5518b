"""Where PostgreSQL of another version comes from."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from infra.testbed.postgresql.packages import Package, insist_on_digest, provide
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.postgresql_programs import find_programs, major_version


def test_what_is_installed_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever programs are given for a test, the installed ones of that version are found."""
    monkeypatch.delenv("REMEDY_POSTGRES_PROGRAMS", raising=False)
    installed = find_programs()
    monkeypatch.setenv("REMEDY_POSTGRES_PROGRAMS", str(tmp_path))
    assert provide(major_version(installed), tmp_path) == installed
    assert list(tmp_path.iterdir()) == []


def test_a_version_without_a_package_is_refused(tmp_path: Path) -> None:
    """Neither installed nor packaged: told, with the versions that are known."""
    with pytest.raises(PreconditionFailed, match=r"packages are known of \[13, 14, 16, 18\]"):
        provide(99, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_another_file_is_not_run(tmp_path: Path) -> None:
    """A package is used with its own digest only."""
    file = tmp_path / "package.tgz"
    file.write_bytes(b"as it was")
    package = Package("p", "1", hashlib.sha256(b"as it was").hexdigest(), "bin")
    insist_on_digest(file, package)
    with pytest.raises(PreconditionFailed, match="It was not unpacked"):
        insist_on_digest(file, replace(package, digest="0" * 64))
