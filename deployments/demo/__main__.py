"""Run the demo: `python -m deployments.demo --approve=auto|ui`."""

import os
import sys
import time
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.rule import Rule
from rich.text import Text

from deployments.cli.errors import Exit, in_four_parts
from deployments.demo import commands
from deployments.services.platform import Platform
from infra.sandbox.damage import Damage
from tasks.guardrails.ledger import Ledger
from tasks.guardrails.settings import settings

app = App(
    name="python -m deployments.demo",
    help_format="markdown",
    result_action="return_value",
    suppress_keyboard_interrupt=False,  # `main` says what an interrupted demo leaves
)


@app.default
def demo(
    *,
    approve: Annotated[str, Parameter(help="auto, or ui to approve it yourself.")] = "auto",
    damage: Annotated[Damage, Parameter(help="What to break.")] = Damage.FOREIGN_KEYS_VIOLATED,
    rows: Annotated[int, Parameter(help="Rows of a sandbox filled now.")] = 1_000_000,
) -> int:
    """Break the sandbox's database under load, restore it, prove it, and say how to undo it."""
    console = Console(highlight=False)
    began = time.monotonic()
    # The demo is about the platform under REMEDY_HOME, whatever else is set.
    for name in ("PREFECT_API_URL", "REMEDY_LEDGER_URL"):
        os.environ.pop(name, None)

    def chapter(title: str) -> None:
        rule = Text(f"{time.monotonic() - began:4.0f} s  {title}", style="bold")
        console.print(Rule(rule, align="left", style="dim"))

    def told(line: str) -> None:
        console.print(Text(f"  {line}"), soft_wrap=True)

    chapter("Start Prefect, the worker and the sandbox")
    platform = Platform()
    platform.up(told)
    # These import Prefect, which reads the addresses that `up` has set.
    from deployments.demo import people, scene, story, summary  # noqa: PLC0415

    ledger = Ledger(settings())
    cast = people.People.enrol(ledger, platform.home)
    scene.end_earlier(ledger, told)
    sandbox = platform.sandbox
    chapter("Fill the sandbox")
    told(f"{scene.fill(sandbox, rows, told):,} rows in {sandbox.url}")
    play = story.Story(ledger, sandbox, cast, console, "ui" if approve.lower() == "ui" else "auto")
    chapter("Take a backup, proved by restoring it")
    play.back_up()
    chapter("Load, damage, restore")
    seen = play.break_and_restore(damage)
    chapter("What came of it")
    summary.summarise(console, ledger, seen, time.monotonic() - began)
    return Exit.OK.value


def main() -> None:
    """Run the demo; an error is told in its four parts."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        sys.exit(app())
    except KeyboardInterrupt:
        errors.print(f"Interrupted. Run it again: it cleans up first. Stop all: {commands.down()}")
        sys.exit(Exit.INTERRUPTED.value)
    except Exception as error:  # noqa: BLE001 - the last place where an error becomes a message
        sys.exit(in_four_parts(error, errors))


if __name__ == "__main__":
    main()
