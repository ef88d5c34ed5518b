"""A guard that takes a rule back where nobody confirms it, whatever becomes of us.

Who removes its mark first wins: the guard, and then the rule goes, or we, and then it stays.
"""

from uuid import uuid4

from tasks.guardrails.errors import PreconditionFailed
from tasks.network.firewall.rules import Rule
from tasks.platforms.hosts import Host

_FOLDER = "/run/remedy"
_MARK = 'set -e; umask 077; mkdir -p "$(dirname "$1")"; echo "$2" > "$1"'
# An older guard of the same rule finds another's name in the mark, and leaves it.
_WAITS = 'sleep "$1"; [ "$(cat "$2")" = "$4" ] && rm "$2" && sh -c "$3"'
# In a session of its own, held by nothing of ours: SIGKILL ends us and not it.
_DETACHED = 'exec setsid -f sh -c "$1" guard "$2" "$3" "$4" "$5" </dev/null >/dev/null 2>&1'


def mark_of(rule: Rule) -> str:
    """Give the path of the guard's mark."""
    return f"{_FOLDER}/guard-{rule.comment.rpartition(' ')[2]}-{rule.port}"


def is_watched(machine: Host, rule: Rule) -> bool:
    """Say whether a guard is about to take the rule back."""
    return not machine.run(["test", "-e", mark_of(rule)]).status


def watch(machine: Host, rule: Rule, seconds: int) -> None:
    """Start a guard.

    Args:
        machine: The machine.
        rule: The rule.
        seconds: After how many it takes it back.

    Raises:
        PreconditionFailed: None can be started.
    """
    mark, name = mark_of(rule), uuid4().hex
    done = machine.run(["sh", "-c", _MARK, "mark", mark, name])
    if not done.status:
        # Under systemd by a timer: what a service started ends when the service is restarted.
        timer = ["systemd-run", "--quiet", "--collect", f"--on-active={seconds}"]
        timer += ["--timer-property=AccuracySec=1s", *machine.prefix]
        started = (
            machine.run(["test", "-d", "/run/systemd/system"]).status == 0
            and not machine.run(
                [*timer, "sh", "-c", _WAITS, "guard", "0", mark, rule.removal_of_all, name]
            ).status
        )
        if started:
            return
        done = machine.run(
            ["sh", "-c", _DETACHED, "start", _WAITS, str(seconds), mark, rule.removal_of_all, name]
        )
    if done.status:
        raise PreconditionFailed(
            expected="a guard that takes the rule back where nobody confirms it.",
            found=f"{done.errors.strip()[-300:] or f'status {done.status}'}.",
            state="No rule was added.",
            todo="Let the worker write to /run, as root.",
        )


def dismiss(machine: Host, rule: Rule) -> bool:
    """Dismiss the guard.

    Returns:
        Whether it had not acted yet.
    """
    return not machine.run(["rm", mark_of(rule)]).status
