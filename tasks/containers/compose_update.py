"""Which compose programs there are, and another one in the place of the one that is used."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tasks.guardrails.errors import PreconditionFailed
from tasks.guardrails.plan import (
    Answer,
    Change,
    Check,
    Finding,
    Observed,
    Standing,
    Verdict,
    Work,
)
from tasks.guardrails.probe import probe
from tasks.platforms import targets
from tasks.platforms.compose_programs import Installed
from tasks.platforms.definitions import Definition, Program, Reading


class InstallCompose(Change):
    """Put another compose program in the place of the one that is used; the old one is kept.

    Args:
        place: Where it goes.
        source: Path or URL of it.
        digest: Its SHA-256.
        version: Its version.
        before: SHA-256 of what is at that place; '' for nothing.
        link: Where that leads to, where it is a symbolic link.
    """

    kind: ClassVar[str] = "containers.install_compose"
    permissions: ClassVar[tuple[str, ...]] = ("worker:programs",)

    place: str
    source: str
    digest: str
    version: str
    before: str
    link: str

    @property
    def title(self) -> str:
        """What the change does."""
        return f"have compose {self.version} as {self.place}"

    @property
    def objects(self) -> tuple[str, ...]:
        """What it touches."""
        return (f"program {self.place} of the worker's machine",)

    @property
    def before_and_after(self) -> tuple[str, str]:
        """Both states in words."""
        old = f"SHA-256 {self.before[:12]}" if self.before else f"no {self.place}"
        led = f", by a link to {self.link}" if self.link else ""
        return f"{old}{led}", f"SHA-256 {self.digest[:12]}"

    def observe(self, work: Work) -> Observed:
        """Look at what is there, by its hash."""
        programs = targets.load(work.target).definition.programs
        digest, link = programs.at(self.place)
        seen = f"SHA-256 {digest[:12]}" if digest else "nothing is there"
        if (digest, link) == (self.digest, ""):
            return Observed(Standing.AFTER, seen)
        if (digest, link) != (self.before, self.link):
            return Observed(Standing.OTHER, seen)
        if programs.is_begun(self.place, work.remediation):
            return Observed(Standing.HALF, f"{seen}; another one is on its way there")
        return Observed(Standing.BEFORE, seen)

    def apply(self, work: Work) -> None:
        """Fetch it, insist on its hash, keep the old one, rename."""
        programs = targets.load(work.target).definition.programs
        programs.install(self.source, self.digest, self.place, work.remediation)

    def revert(self, work: Work) -> None:
        """Put the very old one back."""
        programs = targets.load(work.target).definition.programs
        programs.put_back(self.digest, self.place, work.remediation)


class ComposeIs(Check):
    """The target's own command is the compose that it shall be.

    Args:
        version: Its version.
    """

    kind: ClassVar[str] = "containers.compose_is"

    version: str

    @property
    def title(self) -> str:
        """The claim."""
        return f"the target's compose program is version {self.version}"

    def ask(self, work: Work) -> Answer:
        """Ask it."""
        program = targets.load(work.target).definition.program()
        held = _version(program) == self.version
        return Answer(Verdict.HELD if held else Verdict.NOT_HELD, str(program))


@dataclass(frozen=True)
class Update:
    """What was found of the compose programs.

    Args:
        findings: What was seen.
        change: Another one; None where there is nothing to do.
        services: The project's services.
        notes: What the approver should know.
    """

    findings: tuple[Finding, ...]
    change: InstallCompose | None = None
    services: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@probe
def find_update(target: str, source: str, digest: str) -> Update:
    """Look at the compose programs, and have another one read the project's files.

    Args:
        target: Name of the target.
        source: Path or URL of another one; '' for that which the target names, if it names one.
        digest: Its SHA-256.

    Returns:
        What there is, and what the other one does otherwise.

    Raises:
        PreconditionFailed: It cannot be had, is another one, does not run here, or refuses the
            files.
        Transient: What is at a URL does not answer.
    """
    definition = targets.load(target).definition
    programs = definition.programs
    installed = programs.installed()
    now = _named(definition)
    findings = (_table(installed, now), *_packages(installed))
    if not source:
        source, digest = programs.wanted
    if not source:
        return Update(findings)
    if installed and installed[0].digest == digest:
        same = Finding(what="It is the one that is used already.", how="its SHA-256")
        return Update((*findings, same))
    place = programs.place()
    with programs.fetched(source, digest) as program:
        new, reading = programs.reads(program)
    services = reading.whole().get("services") or {}
    before, link = programs.at(place)
    change = InstallCompose(
        place=place,
        source=source,
        digest=digest,
        version=_version(new),
        before=before,
        link=link,
    )
    older = now is not None and new.version < now.version
    who = f"{place} is used by whoever finds it first on the worker's machine; the old one stays"
    notes = [f"{who} beside it until the undo"]
    notes += [f"{_version(new)} is older than what is used"] if older else []
    compared = _compared(definition, now, new, reading)
    return Update((*findings, compared), change, tuple(services), tuple(notes))


def _named(definition: Definition) -> Program | None:
    try:
        return definition.program()
    except PreconditionFailed:  # none, or one that does not run: that is what is to be mended
        return None


def _version(program: Program) -> str:
    return ".".join(map(str, program.version))


def _table(installed: Sequence[Installed], now: Program | None) -> Finding:
    return Finding(
        what=f"The project is managed by {now or 'no compose program that runs'}; "
        f"programs found: {len(installed)}.",
        how="where docker and the shell look for them, in that order",
        columns=("program", "version", "package", "SHA-256"),
        rows=tuple(
            (
                f"{one.path} → {one.link}" if one.link else one.path,
                one.version or "does not run",
                one.package or "none",
                one.digest[:12],
            )
            for one in installed
        ),
    )


def _packages(installed: Sequence[Installed]) -> tuple[Finding, ...]:
    return tuple(
        Finding(
            what=f"Package {one.package} can be had in version {one.newest}.",
            how="apt-cache policy",
            patch=f"apt-get install --only-upgrade {one.package}",
        )
        for one in installed
        if one.newest
    )


def _compared(
    definition: Definition, now: Program | None, new: Program, reading: Reading
) -> Finding:
    """Say which containers the next `up` by the other program makes anew."""
    present = definition.read() if now else Reading((), None)
    services, made_from = reading.services or {}, definition.made_from()
    rows = tuple(
        (
            name,
            "refused until now"
            if present.services is None
            else "as before"
            if present.services.get(name) == service
            else "otherwise",
            "made anew" if made_from.get(name, "") != reading.fingerprints.get(name) else "stays",
        )
        for name, service in sorted(services.items())
    )
    anew = [name for name, _, what in rows if what == "made anew" and name in made_from]
    return Finding(
        what=f"{new} reads the files; by its next `up` "
        f"{', '.join(anew) or 'none'} of the containers that there are "
        f"{'is' if len(anew) < 2 else 'are'} made anew.",  # noqa: PLR2004 - a matter of grammar
        how="`config` and `config --hash` of both, and the containers' labels",
        columns=("service", "read", "its container at the next `up`"),
        rows=rows,
    )
