"""Files from which targets are added: the example of the docs, and slips in one."""

import io
from pathlib import Path

import pytest
import yaml
from prefect.blocks.core import Block

from deployments.cli import targets as command
from infra.testbed.compose.system import ComposeSystem
from tasks.application.answers import ApplicationAnswers
from tasks.guardrails.errors import BadInput
from tasks.guardrails.plan import Verdict, Work
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tests.prefect_fixtures import Runs

EXAMPLE = Path(__file__).parents[2] / "docs" / "targets" / "compose.yaml"
# What every project has otherwise.
OWN = (
    *("project_directory", "project_name", "url", "engine_url", "compose_environment"),
    *("compose_command", "maintenance_user", "maintenance_password", "backups_directory"),
    *("secrets_directory", "probe_secret"),
)


def add(name: str, file: Path) -> None:
    """Add a target as the command does."""
    command.add(name, platform="compose", file=file)


def test_the_example_proves_a_project(
    runs: Runs, fresh_compose: ComposeSystem, tmp_path: Path, home: Path
) -> None:
    """With a project's own addresses and passwords in it, its probe logs in, reads and writes."""
    assert runs
    assert home
    settings = fresh_compose.target_settings()
    file = tmp_path / "target.yaml"
    file.write_text(
        yaml.safe_dump(yaml.safe_load(EXAMPLE.read_text()) | {one: settings[one] for one in OWN})
    )
    add("example", file)
    saved = Block.load("compose-target/example")
    assert isinstance(saved, ComposeTarget)
    targets.give(saved)
    answer = ApplicationAnswers().ask(Work(target="example", remediation="r1"))
    assert answer.verdict is Verdict.HELD, answer
    assert "a row written, read back and deleted" in answer.detail


def test_a_field_that_no_form_has_is_a_slip(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not taken for a default: the field that was meant is named, and nothing is saved."""
    assert runs
    text = EXAMPLE.read_text().replace("probe_account:", "probe_acount:")
    file = tmp_path / "target.yaml"
    file.write_text(text)
    with pytest.raises(BadInput, match=r"probe_acount \(is it probe_account\?\)"):
        add("slip", file)
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    with pytest.raises(BadInput, match="is it probe_account"):
        add("slip", Path("-"))
    with pytest.raises(ValueError, match="slip"):
        Block.load("compose-target/slip")
    for other in ("- a list\n", "a word\n", ""):
        file.write_text(other)
        with pytest.raises(BadInput, match="fields"):
            add("slip", file)
