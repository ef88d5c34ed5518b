"""A clean-up of an engine's disk whose process is killed with -9, and recovered."""

import json
import os
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL

from flows.database.clean_up_docker import clean_up_docker
from flows.help.recover_remediation import recover_remediation
from infra.testbed.compose.system import ComposeSystem
from tasks.guardrails import surface
from tasks.guardrails.case import Case
from tasks.guardrails.holders import holders
from tasks.guardrails.ledger import Ledger
from tasks.platforms import targets
from tasks.platforms.compose.target import ComposeTarget
from tests.approving import Approvers
from tests.faults.sampling import sample
from tests.leftovers import Leftovers
from tests.prefect_fixtures import Runs

_SAVED = "disk.remove_saved_image"
_FAIL = " FAIL=after-apply:disk.remove_volume"  # the last of the changes: all is undone
FAULTS = [
    f"KILL=before-apply:{_SAVED}",
    "KILL=engine.save_image:written",
    f"KILL={_SAVED}:saved",
    "KILL=engine.remove_image:untagged",
    "KILL=engine.remove_image:untagged#2",
    f"KILL=after-apply:{_SAVED}",
    "KILL=after-apply:disk.remove_network",
    "KILL=after-apply:disk.remove_volume",
    "KILL=before-entry:stage_done",
    f"KILL=after-revert:disk.remove_network{_FAIL}",
    f"KILL={_SAVED}:loaded{_FAIL}",
    f"KILL=after-revert:{_SAVED}{_FAIL}",
]


def in_a_process(run: str, target: Path, fault: str) -> int:
    """Execute a run in a process of its own; give how it ended."""
    flow = "flows.database.clean_up_docker:clean_up_docker"
    environment = {"PREFECT_API_URL": PREFECT_API_URL.value() or "", "REMEDY_FAULT": fault}
    return subprocess.run(
        [sys.executable, "-m", "tests.run_in_process", run, flow, f"compose={target}"],
        env={**os.environ, **environment},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=False,
    ).returncode


@pytest.mark.parametrize("fault", sample(FAULTS, 2))
def test_killed_it_is_recovered(
    fault: str, runs: Runs, fresh_compose: ComposeSystem, home: Path, tmp_path: Path
) -> None:
    """It ends done, with every image in its file, or undone, with all as it was and no file."""
    settings, target, folder = fresh_compose.target_settings(), home / "target.json", home / "saved"
    target.write_text(json.dumps(settings))
    targets.give(ComposeTarget(**settings))
    folder.mkdir()
    with closing(fresh_compose.project.engine.client()) as client:
        left = Leftovers(client)
        try:
            image = left.image(f"leftover:{left.mark}")
            assert image.tag("leftover", f"{left.mark}-too")
            left.network()
            left.volume()
            before = left.there()
            run, state = runs.start(
                clean_up_docker,
                target=fresh_compose.settings.name,
                older_than_days=0,
                built_here=True,
                save_to=str(folder),
                only_label=left.label,
            )
            assert state is None
            ledger = Ledger()
            case = Case.read(ledger, runs.id_of(run))
            changes = case.stages[0].stage.changes
            assert {getattr(one, "known", "") for one in changes} <= before  # nobody else's
            assert changes[-1].kind == "disk.remove_volume"
            Approvers(ledger).approve_gate(case)
            assert surface.wake(str(run.id)) == ""
            trace = f" TRACE={tmp_path / 'trace'}"
            assert in_a_process(str(run.id), target, fault + trace) == -9
            outcome = recover(runs, ledger, case.id)
            there, files = left.there(), len(list(folder.iterdir()))
            if outcome == "Remediated":
                assert (there, files) == (set(), 1)
            else:
                assert outcome == "Undone"
                assert (there, files) == (before, 0)
                tags = client.images.get(str(image.id)).tags
                assert sorted(tags) == [f"leftover:{left.mark}", f"leftover:{left.mark}-too"]
            assert not any(one.is_live and not one.is_dead for one in holders(ledger))
        finally:
            left.clear()


def recover(runs: Runs, ledger: Ledger, remediation: str) -> str:
    """Recover a remediation, with the approvals that it asks for."""
    run, state = runs.start(recover_remediation, remediation=remediation)
    if state is None:
        state = Approvers(ledger).approve_until_it_ends(runs, run)
    return str(state.name)
