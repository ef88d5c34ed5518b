"""A limit of memory is said where it is said last, and nowhere else."""

import pytest
import yaml

from tasks.containers.memory_need import _proposed, _swap
from tasks.containers.memory_texts import is_flat, with_limit, written
from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.memory import MemoryUse

GIB = 2**30
DEPLOY = (
    "services:\n  app:\n    deploy:\n      resources:\n        limits: {memory: 2G}  # enough?\n"
)


def say(*texts: str, swap: int = 0, deploy: bool = True) -> dict[str, str]:
    """Say 3 GiB in files that are laid over one another."""
    named = {f"{number}.yml": text for number, text in enumerate(texts)}
    return with_limit(named, "app", 3 * GIB, swap, deploy=deploy)


def use(**known: object) -> MemoryUse:
    """Give a container with 1 GiB that runs."""
    facts: dict[str, object] = {
        "container": "app-1",
        "runs": True,
        "started_at": "now",
        "limit": GIB,
        "swap": 2 * GIB,
        "enforced": GIB,
        "working_set": GIB // 4,
        "peak": GIB // 2,
        "kills": 0,
        "out_of_memory": False,
        "restarts": 0,
    }
    return MemoryUse(**{**facts, **known})  # type: ignore[arg-type] # as the test gives them


def test_amounts_are_written_as_people_do() -> None:
    """In the largest unit that fits."""
    assert [written(one) for one in (3 * GIB, 1536 * 2**20, 6291457)] == ["3G", "1536M", "6291457b"]


def test_it_is_said_in_the_last_file_that_says_it() -> None:
    """Spelled as it is there; comments stay, and other files are not touched."""
    flat = "services:\n  app: {image: x, mem_limit: 1g}\n"
    other = "services:\n  app:\n    restart: always\n"
    assert say(DEPLOY, other) == {"0.yml": DEPLOY.replace("2G", "3G")}
    assert say(flat, DEPLOY.replace("app", "db")) == {"0.yml": flat.replace("1g", "3G")}
    assert is_flat({"a": flat}, "app")
    both = say(flat, DEPLOY)
    assert set(both) == {"0.yml", "1.yml"}  # compose takes both only where they are equal


def test_where_none_says_it_the_last_that_has_the_service_does() -> None:
    """As every compose heeds it where `deploy` is not heeded."""
    base, other = "services:\n  app:\n    image: x\n", "services:\n  db:\n    image: y\n"
    assert say(base, other, deploy=False) == {"0.yml": f"{base}    mem_limit: 3G\n"}
    found = yaml.safe_load(say(base, other)["0.yml"])["services"]["app"]
    assert found["deploy"] == {"resources": {"limits": {"memory": "3G"}}}


def test_swap_is_kept_in_step_where_it_is_said() -> None:
    """Else compose would refuse less swap than memory."""
    text = "services:\n  app:\n    mem_limit: 1g\n    memswap_limit: 2g\n"
    expected = text.replace("1g", "3G").replace("2g", "6G")
    assert say(text, swap=6 * GIB) == {"0.yml": expected}


@pytest.mark.parametrize(
    "text",
    ["services:\n  app:\n    mem_limit: ${APP_MEMORY:-1g}\n", "services:\n  db:\n    image: x\n"],
)
def test_what_is_said_elsewhere_is_refused(text: str) -> None:
    """By a variable of `.env`, or in a file that we do not know."""
    with pytest.raises(PreconditionFailed):
        say(text)


def test_a_proposal_is_made_from_the_peak_or_the_limit_that_cut_it() -> None:
    """Only where the present limit is not enough, with the margin, in steps of 64 MiB."""
    assert _proposed([use()], 0, 50) == 0
    assert _proposed([use(peak=GIB)], 0, 50) == 0  # page cache fills up to any limit
    full = use(working_set=GIB * 7 // 8, peak=GIB * 15 // 16)
    assert _proposed([full], 0, 50) == 1472 * 2**20
    assert _proposed([full], 0, 10) == 0
    assert _proposed([use(peak=GIB)], 1, 50) == GIB * 3 // 2
    assert _proposed([use(out_of_memory=True)], 0, 100) == 2 * GIB
    assert _proposed([use(kills=1)], 0, 100) == 2 * GIB


def test_swap_keeps_its_proportion() -> None:
    """Unlimited stays, the engine's double stays double, an amount stays that amount."""
    assert _swap(use(swap=-1), 3 * GIB) == -1
    assert _swap(use(swap=2 * GIB), 3 * GIB) == 6 * GIB
    assert _swap(use(swap=GIB), 3 * GIB) == 3 * GIB
    assert _swap(use(swap=0), 3 * GIB) == 0
