"""The demo's two people: dana asks, riley approves. Their secrets lie beside the ledger.

A real approver keeps the secret in an authenticator; the demo plays both, so that it runs by
itself, and again.
"""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyotp

from tasks.guardrails import approvers
from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.ledger import Ledger

ACTOR = "demo"
ROLES = {"dana": ("approve", "policy"), "riley": ("approve",)}
ASKS, APPROVES = ROLES
_STEP = 30
_KEPT_STEPS = 20


@dataclass
class People:
    """Who takes part, and how they prove it.

    Args:
        path: File of their secrets, readable by its owner only.
    """

    path: Path

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
                expected="a ledger without approvers of your own, for the demo to add its two.",
                found=f"{', '.join(sorted(others))} in {ledger.config.ledger}.",
                todo="Give the demo a home of its own: make demo REMEDY_HOME=/some/where",
            )
        folder = home / "demo"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        people = cls(folder / "people.json")
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
            now = int(time.time()) // _STEP
            fresh = [step for step in (now, now + 1) if step not in said["used"]]
            if fresh:
                break
            time.sleep(1)
        said["used"] = [*said["used"], fresh[0]][-_KEPT_STEPS:]
        self._keep(name, said)
        return pyotp.TOTP(said["secret"]).at(fresh[0] * _STEP)

    def shown_code(self, name: str) -> str:
        """Give the code that an authenticator would show now, without using it."""
        return pyotp.TOTP(self._read()[name]["secret"]).now()

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
