"""The guide's solutions, read from its text, and the page that says who carries them out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

GUIDE = "troubleshooting-guide.md"
_HELP = "Getting Help"
# The help section's four steps are two remediations: what is gathered, and who is told.
_HELP_SOLUTIONS = ("Gather Evidence", "Escalate")


@dataclass(frozen=True)
class Solution:
    """A solution of the guide.

    Args:
        number: Its place in the guide, from 1.
        section: Its section, as 'Database Issues'.
        problem: What it solves, as 'Database Corruption'.
        title: What it is called, as 'Restore from Backup'.
    """

    number: int
    section: str
    problem: str
    title: str

    @property
    def path(self) -> str:
        """The part of the guide, as `@remediation(guide=...)` names it."""
        return " / ".join(part for part in (self.section, self.problem, self.title) if part)

    @property
    def link(self) -> str:
        """Address of its place in the guide, seen from docs/."""
        return f"{GUIDE}#{slug(self.problem or self.section)}"


def slug(heading: str) -> str:
    """Give the anchor under which a heading is reached.

    Args:
        heading: Its text.

    Returns:
        Lower case, without punctuation, dashes for blanks: the rule of GitHub.
    """
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def solutions(text: str) -> list[Solution]:
    """Read the guide's solutions from its text.

    Args:
        text: The guide.

    Returns:
        Its numbered solutions in order, then the two of its help section.
    """
    found: list[Solution] = []
    section = problem = ""
    in_code = False
    for line in text.splitlines():
        if line.lstrip().startswith("```"):
            in_code = not in_code
        elif in_code:
            continue
        elif heading := re.fullmatch(r"(##|###) (.+)", line):
            section = heading[2] if heading[1] == "##" else section
            problem = heading[2] if heading[1] == "###" else ""
        elif problem and (item := re.fullmatch(r"\d+\. \*\*(.+)\*\*", line)):
            found.append(Solution(len(found) + 1, section, problem, item[1]))
    if section == _HELP:
        found += [
            Solution(len(found) + at, _HELP, "", title)
            for at, title in enumerate(_HELP_SOLUTIONS, start=1)
        ]
    return found


def read(docs: Path) -> list[Solution]:
    """Read the solutions from the copy of the guide that lies in the docs.

    Args:
        docs: Folder of the docs.
    """
    return solutions((docs / GUIDE).read_text())


def page(all_solutions: list[Solution], carried_out: Mapping[str, list[str]]) -> str:
    """Write the table of all solutions.

    Args:
        all_solutions: From `read`.
        carried_out: Names of remediations by the part of the guide that they carry out.

    Returns:
        Markdown.
    """
    done = sum(one.path in carried_out for one in all_solutions)
    numbered = sum(one.section != _HELP for one in all_solutions)
    lines = ["# The guide's solutions", ""]
    lines += [f"The [troubleshooting guide]({GUIDE}) has {len(all_solutions)} solutions:"]
    lines += [f"{numbered} that it numbers, and its help section, which is counted as two."]
    lines += [f"{done} of them are carried out by a remediation."]
    section = ""
    for one in all_solutions:
        if one.section != section:
            section = one.section
            lines += ["", f"## {section}", "", "| # | Problem | Solution | Remediation |"]
            lines += ["|---:|---|---|---|"]
        names = carried_out.get(one.path, [])
        by = ", ".join(f"[{name}](remediations/{name}.md)" for name in names) or "missing"
        place = f"[{one.problem or section}]({one.link})"
        lines.append(f"| {one.number} | {place} | {one.title} | {by} |")
    return "\n".join(lines) + "\n"
