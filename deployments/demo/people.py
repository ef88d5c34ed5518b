"""The demo's people: dana asks, riley and casey approve. Their secrets lie beside the ledger.

A real approver keeps the secret in an authenticator; the demo plays all three, so that it runs by
itself, and again. `python -m deployments.demo.people NAME` prints a code as theirs would.
"""

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyotp

from tasks.guardrails import approvers
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import settings

ACTOR = "demo"
# Two approve the undo of a cut-over, which loses what was written since; who asks may not.
ROLES = {"dana": ("approve", "policy"), "riley": ("approve",), "casey": ("approve",)}
ASKS, APPROVES, ALSO_APPROVES = ROLES
CODE_SECONDS = 30
_KEPT_STEPS = 20


@dataclass
class People:
    """Who takes part, and how they prove it.

    Args:
        path: File of their secrets, readable by its owner only.
    """

    path: Path

    @classmethod
    def of(cls, home: Path) -> "People":
        """Find the people whom a demo has enrolled under a home."""
        return cls(_file(home))

    @classmethod
    def enrol(cls, ledger: Ledger, home: Path) -> "People":
        """Make the demo's approvers, or find them as an earlier demo left them.

        Args:
            ledger: The ledger under the home.
            home: REMEDY_HOME.

        Raises:
            PreconditionFailed: The ledger has approvers of somebody else: no demo adds to those.
        """
        added = ledger.entries(kinds=("approver_added",))
        others = {entry.facts["name"] for entry in added if entry.actor != ACTOR}
        if others:
            raise PreconditionFailed(
                expected="a ledger without approvers of your own, for the demo to add its own.",
                found=f"{', '.join(sorted(others))} in {ledger.config.ledger}.",
                todo="Give the demo a home of its own: make demo REMEDY_HOME=/some/where",
            )
        people = cls(_file(home))
        people.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for name, roles in ROLES.items():
            people._enrol(ledger, name, roles)
        return people

    def _enrol(self, ledger: Ledger, name: str, roles: tuple[str, ...]) -> None:
        known = approvers.approvers(ledger).get(name)
        said = self._read().get(name)
        if known and not known.revoked:
            fits = said and ledger.keys.fingerprint(said["secret"]) == known.secret_fingerprint
            if fits:
                return
            # An earlier demo was killed between adding them and keeping their secret.
            approvers.revoke(ledger, name, "the demo lost the secret", ACTOR)
        made = approvers.add(ledger, name, roles, ACTOR)
        self._keep(name, {"secret": made.secret, "used": []})

    def code(self, name: str) -> str:
        """Give a code of somebody that was not used yet, waiting for one where needed.

        Args:
            name: Whose.

        Returns:
            Six digits, good now.
        """
        said = self._read()[name]
        while True:
            now = int(time.time()) // CODE_SECONDS
            fresh = [step for step in (now, now + 1) if step not in said["used"]]
            if fresh:
                break
            time.sleep(1)
        said["used"] = [*said["used"], fresh[0]][-_KEPT_STEPS:]
        self._keep(name, said)
        return pyotp.TOTP(said["secret"]).at(fresh[0] * CODE_SECONDS)

    def _read(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.path.read_text()) if self.path.exists() else {}
        return found

    def _keep(self, name: str, said: dict[str, Any]) -> None:
        text = json.dumps({**self._read(), name: said})
        draft = self.path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text)
        draft.replace(self.path)


def _file(home: Path) -> Path:
    return home / "demo" / "people.json"


def main() -> None:
    """Print a code of one of the demo's people, as their authenticator would show it."""
    people = People.of(settings().home)
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in ROLES or not people.path.exists():
        sys.exit(f"python -m deployments.demo.people {'|'.join(ROLES)}, after `make demo`")
    sys.stdout.write(people.code(name) + "\n")


if __name__ == "__main__":
    main()
