"""Start, stop, fill and break a sandbox: `python -m infra.sandbox up --home FOLDER`."""

import argparse
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from infra.sandbox import pristine
from infra.sandbox.damage import Damage, damage
from infra.sandbox.seed import seed
from infra.sandbox.services import Sandbox
from infra.sandbox.settings import SERVICES
from tasks.guardrails.errors import RemediationError

VERBS: dict[str, Callable[[Sandbox, argparse.Namespace], object]] = {
    "up": lambda sandbox, _: sandbox.up(),
    "down": lambda sandbox, _: sandbox.down(),
    "destroy": lambda sandbox, _: sandbox.destroy(),
    "initialise": lambda sandbox, _: sandbox.cluster.initialise(),
    "start": lambda sandbox, given: sandbox.services()[given.service].start(),
    "stop": lambda sandbox, given: sandbox.services()[given.service].stop(),
    "restart": lambda sandbox, given: sandbox.restart(given.service),
    "status": lambda sandbox, _: sandbox.status(),
    "target": lambda sandbox, _: sandbox.target_settings(),
    "seed": lambda sandbox, given: seed(sandbox, rows=given.rows),
    "keep": lambda sandbox, _: pristine.keep(sandbox),
    "reset": lambda sandbox, _: pristine.reset(sandbox),
    "damage": lambda sandbox, given: damage(sandbox, Damage(given.kind)).detail,
}


def main() -> None:
    """Read the command line, and do it."""
    parser = argparse.ArgumentParser(prog="python -m infra.sandbox", description=__doc__)
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("--home", type=Path, required=True, help="folder of the sandbox")
    parser.add_argument("--programs", type=Path, help="folder of PostgreSQL's programs")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows to fill in (seed)")
    parser.add_argument("--service", choices=SERVICES, help="what to start, stop or restart")
    parser.add_argument("--kind", choices=[kind.value for kind in Damage], help="what to damage")
    given = parser.parse_args()
    if given.programs:
        os.environ["REMEDY_POSTGRES_PROGRAMS"] = str(given.programs)
    try:
        shown = VERBS[given.verb](Sandbox(given.home), given)
    except RemediationError as error:
        sys.exit(str(error))
    if shown is not None:
        sys.stdout.write(json.dumps(shown, indent=2) + "\n")


if __name__ == "__main__":
    main()
