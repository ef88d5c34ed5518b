"""Policies: who sets a field sets that one, whoever sets another at the same time."""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pyotp
import pytest

from deployments.cli.app import call
from tasks.guardrails import approvers
from tasks.guardrails.errors import BadInput
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.policy import EVERY_TARGET, Policy, policy_of, set_policy

BOTH = {"ada": "harmless=3", "bob": "blast_radius=7"}


@pytest.fixture
def codes(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Two who may set policies, on a ledger that the command finds; gives a code of theirs."""
    monkeypatch.setenv("REMEDY_LEDGER_URL", ledger.config.ledger_url)
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    secrets = {
        name: approvers.add(ledger, name, ("policy",), "test").secret for name in sorted(BOTH)
    }
    return lambda name: pyotp.TOTP(secrets[name]).now()


def test_two_at_once_both_land(
    ledger: Ledger, codes: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are asked for their code at the same time; neither takes the other's field back."""
    asked = threading.Barrier(2, timeout=60)

    def type_code(prompt: str) -> str:
        asked.wait()
        return codes(prompt.removeprefix("Code of ").removesuffix(": "))

    monkeypatch.setattr("getpass.getpass", type_code)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    with ThreadPoolExecutor(2) as people:
        ended = people.map(
            lambda who: call(["policy", "set", "shop", who[1], "--as", who[0]]), BOTH.items()
        )
        assert list(ended) == [0, 0]
    policy = policy_of(ledger, "shop").policy
    assert (policy.harmless, policy.blast_radius) == (3, 7)
    first, second = (entry.facts for entry in ledger.entries(kinds=("policy_set",)))
    assert second["before"] == first["policy"]


def test_a_field_out_of_bounds_costs_no_code(ledger: Ledger, codes: Callable[[str], str]) -> None:
    """What is refused is taken back as a whole: the same code then sets what is allowed."""
    code = codes("ada")
    proof = ("--as", "ada", "--code", code)
    assert call(["policy", "set", "shop", "destructive=0", *proof]) == 2
    assert ledger.entries(kinds=("policy_set",)) == []
    assert call(["policy", "set", "shop", "destructive=1", *proof]) == 0
    assert policy_of(ledger, "shop").policy.destructive == 1
    assert call(["policy", "set", "shop", "destructive=3", *proof]) == 3


def test_a_targets_own_policy_goes_first(ledger: Ledger) -> None:
    """The one for every target counts where a target has none; a version is its entry's number."""
    assert policy_of(ledger, "shop").version == 0
    with ledger.writing() as chain:
        set_policy(chain, Policy(), EVERY_TARGET, {"harmless": 1}, "test")
        set_policy(chain, Policy(), "shop", {"harmless": 2}, "test")
    assert policy_of(ledger, "shop").policy.harmless == 2
    found = policy_of(ledger, "other")
    assert (found.policy.harmless, found.version) == (1, 1)


def test_unknown_fields_are_refused(ledger: Ledger) -> None:
    """A field that there is not would be a rule that nobody follows."""
    with ledger.writing() as chain, pytest.raises(BadInput, match="nothing"):
        set_policy(chain, Policy(), "shop", {"nothing": 1}, "test")
    assert ledger.head() is None
