"""The command's tree. Each command's module is imported only when the command is called."""

import contextlib
import sys

from cyclopts import App, CycloptsError, Group

from deployments.cli.errors import MEANINGS, Exit, in_four_parts
from deployments.cli.output import Terminal
from deployments.services import environment
from tasks.guardrails.errors import BadInput, PreconditionFailed

EXIT_CODES = "\n".join(f"- {code.value}: {meaning}" for code, meaning in MEANINGS.items())

app = App(
    name="remedy",
    help=f"""Carry out the troubleshooting guide as remediations that are approved, proved
and can be undone.

Works on the platform under REMEDY_HOME (`remedy up`), or on the Prefect API that
PREFECT_API_URL names and the ledger that REMEDY_LEDGER_URL names.

Exit codes:

{EXIT_CODES}
""",
    help_format="markdown",
    version="0.1.0",
    # Values come from the command line and nowhere else.
    config=(),
    suppress_keyboard_interrupt=False,  # `call` says that what was started goes on
)

SERVICES = Group("Services", sort_key=0)
WORK = Group("Remediations", sort_key=1)
RULES = Group("People and rules", sort_key=2)
RECORD = Group("Targets and record", sort_key=3)

_TREE = {
    SERVICES: {
        "up": ("services:up", "Start Prefect, the worker and the sandbox; repair what was killed."),
        "down": ("services:down", "Stop what `up` started; data is kept."),
        "status": ("services:status", "Say what runs, where, and where its log is."),
        "doctor": ("doctor:doctor", "Say what is missing on this machine and how to get it."),
    },
    WORK: {
        "run": ("starting:run", "Start a remediation."),
        "runs": ("watching:runs", "List remediations, newest first."),
        "show": ("watching:show", "Show a remediation: plan, decisions, steps, proof, outcome."),
        "approve": ("deciding:approve", "Approve what a remediation waits for."),
        "refuse": ("deciding:refuse", "Refuse what a remediation waits for."),
        "undo": ("starting:undo", "Take an earlier remediation back."),
        "recover": ("starting:recover", "Carry on a remediation whose process is gone."),
        "cancel": ("stopping:cancel", "Stop a remediation; what it began is taken back."),
    },
}
_TREES = {
    RULES: {
        "approver": ("people:app", "Who may approve."),
        "policy": ("policies:app", "Who must approve what, for each target."),
        "standing": ("standings:app", "Approvals for scheduled work, within bounds."),
        "lease": ("leases:app", "Who works on a target right now."),
    },
    RECORD: {
        "target": ("targets:app", "The systems under care."),
        "ledger": ("ledgers:app", "The record of everything that was done."),
        "sandbox": ("sandboxes:app", "A system under care to try things on."),
    },
}
for _group, _commands in _TREE.items():
    for _name, (_path, _help) in _commands.items():
        app.command(f"deployments.cli.{_path}", name=_name, help=_help, group=_group)
for _group, _commands in _TREES.items():
    for _name, (_path, _help) in _commands.items():
        app.command(f"deployments.cli.{_path}", name=_name, group=_group)


def main(arguments: list[str] | None = None) -> None:
    """Carry a command line out, and end the process with its exit code.

    Args:
        arguments: Words of the command line; the process's own by default.
    """
    sys.exit(call(sys.argv[1:] if arguments is None else arguments))


def call(arguments: list[str]) -> int:
    """Carry a command line out.

    Args:
        arguments: Its words.

    Returns:
        The exit code.
    """
    errors = Terminal(stderr=True, highlight=False, soft_wrap=True)
    try:
        _insist_on_text(arguments)
        with contextlib.suppress(PreconditionFailed):  # a command that needs the API says so
            environment.enter()
        answer = app(
            arguments, exit_on_error=False, print_error=False, result_action="return_value"
        )
        return int(answer) if isinstance(answer, int) else 0
    except CycloptsError as error:
        words = " ".join(("remedy", *(error.command_chain or ()), "--help"))
        told = BadInput(
            expected=f"a command line as `{words}` describes it.",
            found=" ".join(str(error).split()),
            todo=f"See: {words}",
        )
        return in_four_parts(told, errors)
    except KeyboardInterrupt:
        errors.print("Interrupted; what was started goes on.")
        return Exit.INTERRUPTED.value
    except BrokenPipeError:
        sys.stderr.close()
        return Exit.OK.value
    except Exception as error:  # noqa: BLE001 - the last place where an error becomes a message
        return in_four_parts(error, errors)


def _insist_on_text(arguments: list[str]) -> None:
    """Make sure that what was typed can be recorded: bytes that are no UTF-8 cannot."""
    for word in arguments:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise BadInput(
                expected="a command line in UTF-8.", found=f"{word!r}.", todo="Correct it."
            ) from error
