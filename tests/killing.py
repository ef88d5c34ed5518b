"""A remediation that is killed in a process of its own, and what becomes of it then."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_API_URL

from flows.help.recover_remediation import recover_remediation
from tasks.guardrails import surface
from tasks.guardrails.case import Case
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.remediation import Remediation
from tests.approving import Approvers
from tests.prefect_fixtures import Runs


def killed(
    runs: Runs,
    flow: Remediation,
    settings: Mapping[str, Any],
    home: Path,
    fault: str,
    **parameters: object,
) -> Case:
    """Have a remediation approved, and killed with -9 while it acts.

    Args:
        runs: To start it with.
        flow: The remediation.
        settings: Fields of its target, a sandbox or a compose project.
        home: Where they may be written.
        fault: Where it is killed, as `faults` has it.
        parameters: Of the remediation.
    """
    platform = "compose" if "project_directory" in settings else "sandbox"
    file = home / "target.json"
    file.write_text(json.dumps(dict(settings), default=str))
    run, state = runs.start(flow, target=platform, **parameters)
    assert state is None
    Approvers(Ledger()).approve_gate(case := Case.read(Ledger(), runs.id_of(run)))
    assert surface.wake(str(run.id)) == ""
    path = f"{flow.planner.__module__}:{flow.planner.__name__}"
    more = {"PREFECT_API_URL": PREFECT_API_URL.value() or "", "REMEDY_FAULT": fault}
    ended = subprocess.run(
        [sys.executable, "-m", "tests.run_in_process", str(run.id), path, f"{platform}={file}"],
        env={**os.environ, **more},
        capture_output=True,
        check=False,
    )
    assert ended.returncode == -9, ended.stderr.decode()[-2000:]
    return case


def recovered(runs: Runs, case: Case) -> State[Any]:
    """Have a remediation recovered, with the approvals that this asks for."""
    run, state = runs.start(recover_remediation, remediation=case.id)
    return state or Approvers(Ledger()).approve_until_it_ends(runs, run)
