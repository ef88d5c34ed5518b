"""One rule that lets a port in, by the program that is in charge; known again by its comment.

Sources: ufw(8), iptables(8), nft(8).
"""

import re
import shlex
from typing import Literal

from pydantic import BaseModel, ConfigDict

from tasks.guardrails.errors import PreconditionFailed
from tasks.platforms.applications import Completed
from tasks.platforms.hosts import Host

Program = Literal["ufw", "nft", "iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy"]
# What holds back whatever comes to it: behind it a rule is never reached.
_HOLDS_ALL = re.compile(r"^-A INPUT -j (?:DROP|REJECT)\b")
_NFT_HOLDS_ALL = re.compile(
    r"^\s*(?:counter packets \d+ bytes \d+ )?(?:log [^#]*)?(?:drop|reject[^#]*?) ?# handle (\d+)$"
)


class Rule(BaseModel):
    """A rule that lets new connections to a port in.

    Args:
        program: By which it is made.
        port: The port.
        source: Who is let in, as 10.0.0.0/8; '' for everybody.
        comment: By which it is known.
        chain: Of nft: family, table and chain; of iptables: the chain, INPUT by default.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    program: Program
    port: int
    source: str
    comment: str
    chain: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Write the command that makes it."""
        return shlex.join(self._added(""))

    def line(self, machine: Host) -> str:
        """Give the rule as the program lists it; '' where there is none."""
        found = [one for one in self._listed(machine).splitlines() if self._is_ours(one)]
        return found[0].strip() if found else ""

    def packets(self, machine: Host) -> int:
        """Count the packets that it let in."""
        if self.program != "ufw":
            found = re.search(r"(?:-c |counter packets )(\d+)", self.line(machine))
            return int(found[1]) if found else 0
        live = sum(one.packets(machine) for one in self.live(machine))
        source = f"-s {self.source}" if self.source else ""
        spec = rf"{source} ?-p tcp -m tcp --dport {self.port} -j ACCEPT"
        own = re.compile(rf"^\[(\d+):\d+\] -A ufw6?-user-input {spec}", re.MULTILINE)
        saved = [machine.run([one, "-c"]).output for one in ("iptables-save", "ip6tables-save")]
        return live + sum(int(found) for text in saved for found in own.findall(text))

    def live(self, machine: Host) -> tuple["Rule", ...]:
        """Give the rules that let somebody in until a start of the machine, whatever is on disk.

        What ufw adds it writes into its files at once; until somebody came through, the same
        stands in its chains alone.
        """
        if self.program != "ufw":
            return (self,)
        return tuple(
            one
            for one in self._in_chains
            if not machine.run([one.program, "-w", "-S", one.chain[0]]).status
        )

    @property
    def _in_chains(self) -> tuple["Rule", ...]:
        four = Rule(**{**dict(self), "program": "iptables", "chain": ("ufw-user-input",)})
        six = Rule(**{**dict(self), "program": "ip6tables", "chain": ("ufw6-user-input",)})
        return (four, six) if not self.source else (six,) if ":" in self.source else (four,)

    def add(self, machine: Host) -> None:
        """Put it before what holds everything back.

        Raises:
            PreconditionFailed: The program refuses.
        """
        done = machine.run(self._added(self._place(machine)))
        if done.status:
            raise _told(self, done)

    def remove(self, machine: Host) -> None:
        """Take exactly this rule out; gone already is fine.

        Raises:
            PreconditionFailed: The program refuses.
        """
        if self.line(machine):
            done = machine.run(["sh", "-c", self.removal])
            if done.status:
                raise _told(self, done)

    @property
    def removal_of_all(self) -> str:
        """A script that takes it out with what is live of it, for who works when we are gone."""
        if self.program != "ufw":
            return self.removal
        live = (f"{one.removal} 2>/dev/null; " for one in self._in_chains)
        return "".join((*live, self.removal))

    @property
    def removal(self) -> str:
        """A script that takes it out."""
        if self.program == "nft":
            chain = shlex.join(self.chain)
            return (
                f"h=$(nft -a list chain {chain} | "
                f"sed -n 's/.*comment \"{self.comment}\" # handle \\([0-9]*\\)$/\\1/p'); "
                f'[ -n "$h" ] && nft delete rule {chain} handle "$h"'
            )
        if self.program == "ufw":
            return shlex.join(["ufw", "--force", "delete", *self._added("")[1:-2]])
        return shlex.join([self.program, "-w", "-D", self._of_iptables, *self._specified()])

    def _is_ours(self, line: str) -> bool:
        return f'"{self.comment}"' in line or f"'{self.comment}'" in line

    def _listed(self, machine: Host) -> str:
        if self.program == "ufw":
            return asked(machine, "ufw", "show", "added")
        if self.program == "nft":
            return asked(machine, "nft", "-a", "list", "chain", *self.chain)
        return asked(machine, self.program, "-w", "-v", "-S", self._of_iptables)

    @property
    def _of_iptables(self) -> str:
        return self.chain[0] if self.chain else "INPUT"

    def _place(self, machine: Host) -> str:
        """Say before which rule it comes; '' for the end."""
        lines = self._listed(machine).splitlines()
        if self.program == "nft":
            held = (found[1] for line in lines if (found := _NFT_HOLDS_ALL.match(line)))
            return next(held, "")
        if self.program == "ufw":
            return ""
        rules = [line for line in lines if line.startswith("-A INPUT")]
        plain = [re.sub(r" -c \d+ \d+", "", line) for line in rules]
        held = (str(at + 1) for at, line in enumerate(plain) if _HOLDS_ALL.match(line))
        return next(held, "")

    def _added(self, place: str) -> list[str]:
        if self.program == "ufw":
            source = self.source or "any"
            spec = ["proto", "tcp", "from", source, "to", "any", "port", str(self.port)]
            return ["ufw", "allow", *spec, "comment", self.comment]
        if self.program == "nft":
            before = ["position", place] if place else []
            how = ["insert", "rule"] if place else ["add", "rule"]
            return ["nft", *how, *self.chain, *before, *self._specified()]
        at = ["-I", self._of_iptables, place] if place else ["-A", self._of_iptables]
        return [self.program, "-w", *at, *self._specified()]

    def _specified(self) -> list[str]:
        # Who asks from the machine itself has not come from outside, and must not count.
        if self.program == "nft":
            family = "ip6" if ":" in self.source else "ip"
            source = [family, "saddr", self.source] if self.source else []
            to = ["tcp", "dport", str(self.port)]
            comment = ["comment", f'"{self.comment}"']
            return ["iifname", "!=", '"lo"', *source, *to, "counter", "accept", *comment]
        source = ["-s", self.source] if self.source else []
        to = ["!", "-i", "lo", "-p", "tcp", "-m", "tcp", "--dport", str(self.port)]
        return [*source, *to, "-m", "comment", "--comment", self.comment, "-j", "ACCEPT"]


def asked(machine: Host, *command: str) -> str:
    """Have a program list something.

    Raises:
        PreconditionFailed: It refuses.
    """
    done = machine.run(command)
    if done.status:
        raise PreconditionFailed(
            expected=f"`{shlex.join(command)}` to list its rules.",
            found=f"{done.errors.strip()[-300:] or f'status {done.status}'}.",
            todo="Run the worker as root, or set `host_command_prefix` of the target to `sudo -n`.",
        )
    return done.output


def _told(rule: Rule, done: Completed) -> PreconditionFailed:
    return PreconditionFailed(
        expected=f"{rule.program} to change its rule for port {rule.port}.",
        found=f"{(done.errors or done.output).strip()[-300:] or f'status {done.status}'}.",
        state="The other rules are as they were.",
        todo=f"Look at its rules for the comment {rule.comment!r}.",
    )
