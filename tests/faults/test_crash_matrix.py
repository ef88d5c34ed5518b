"""Every remediation of the catalogue, killed with -9 at the boundaries that it passes.

A sample of them each time, another one for each version of the code; all with `make faults`.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.docs_kinds import kinds_of_change
from flows.catalogue import load_all
from tasks.guardrails.remediation import Remediation
from tests.faults.grounds import ComposeGround, Ground, SandboxGround
from tests.faults.matrix import Reference, problems_of, reference
from tests.faults.sampling import GIVEN, sample
from tests.faults.scenarios import LEFT_OUT, SCENARIOS, STAYS
from tests.faults.scene import Scene
from tests.prefect_fixtures import Runs

# What changes nothing by its own hand is left out; an undo changes what others did.
REMEDIATIONS = {
    name: flow
    for name, flow in load_all().items()
    if isinstance(flow, Remediation) and (kinds_of_change(flow) or name == "undo_remediation")
}
_PAIRS, _SAMPLE = {"sandbox": 3, "compose": 1}, 2


def _pairs(platform: str) -> Iterator[tuple[str, str, str]]:
    """Give the scenarios and directions: backward where what it did can be taken back."""
    more = [name for name in SCENARIOS if ":" in name]
    for name in (*REMEDIATIONS, *more):
        flow = REMEDIATIONS[name.partition(":")[0]]
        if name in LEFT_OUT[platform]:
            continue
        yield platform, name, "forward"
        reverts = {kind.reverts for kind in kinds_of_change(flow)}
        if reverts and "impossible" not in reverts and name not in STAYS:
            yield platform, name, "backward"


def _chosen() -> Iterator[tuple[str, str, str]]:
    for platform, many in _PAIRS.items():
        pairs = list(_pairs(platform))
        yield from pairs if GIVEN else sample(pairs, many)


def ground_on(platform: str, request: pytest.FixtureRequest) -> Ground:
    """Give a fresh system on a platform."""
    system = request.getfixturevalue(f"fresh_{platform}")
    if platform == "sandbox":
        return SandboxGround(system)
    ground = ComposeGround(system)
    request.addfinalizer(ground.reset)  # its files are nobody else's to put back
    return ground


def attack(
    scene: Scene, known: Reference, boundaries: tuple[str, ...], direction: str, **armed: str
) -> None:
    """Kill a remediation at each of the chosen boundaries; every one has to end well."""
    found = {}
    for boundary in sample(boundaries, _SAMPLE):
        began = time.monotonic()
        found[boundary] = problems_of(scene, known, boundary, **armed)
        took = time.monotonic() - began
        record(scene, direction, len(boundaries), boundary, found[boundary], took)
    assert not any(found.values()), json.dumps({k: v for k, v in found.items() if v}, indent=1)


def record(
    scene: Scene,
    direction: str,
    among: int,
    boundary: str,
    problems: list[str],
    seconds: float,
) -> None:
    """Write a result down for `make faults`."""
    if path := os.environ.get("REMEDY_FAULTS_RESULTS"):
        line = {
            "platform": scene.ground.platform,
            "remediation": scene.scenario,
            "direction": direction,
            "among": among,
            "boundary": boundary,
            "problems": problems,
            "seconds": round(seconds, 1),
        }
        with Path(path).open("a") as file:
            file.write(json.dumps(line) + "\n")


@pytest.mark.timeout(7200)
@pytest.mark.parametrize(("platform", "name", "direction"), list(_chosen()))
def test_killed_at_a_boundary_it_ends_well(
    platform: str,
    name: str,
    direction: str,
    runs: Runs,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    """Whatever it was at, it ends remediated or undone, and nothing is left over."""
    flow = REMEDIATIONS[name.partition(":")[0]]
    scene = Scene(ground_on(platform, request), runs, flow, tmp_path, scenario=name)
    forward = reference(scene)
    assert forward.outcome == "Remediated", f"{name} has nothing to do: give it a scenario"
    applied = [one for one in forward.boundaries if one.startswith("after-apply:")]
    if direction == "forward":
        attack(scene, forward, forward.boundaries, direction)
        return
    known = replace(reference(scene, FAIL=applied[-1]), done=forward.after)
    assert known.outcome == "Undone"
    assert known.after.rows == known.before.rows
    undoing = known.boundaries[known.boundaries.index(applied[-1]) + 1 :]
    assert any(one.startswith("after-revert:") for one in undoing)
    attack(scene, known, undoing, direction, FAIL=applied[-1])
