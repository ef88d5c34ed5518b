"""Values that somebody types by mistake or on purpose, and what they would leave if they worked."""

from pathlib import Path

from hypothesis import strategies as st

# None of them starts a program, ends a quotation, leaves a folder or fills a template.
WORDS = (
    "",
    " ",
    "-",
    "--",
    "-rf",
    "--help",
    "a b;c",
    "'",
    '"',
    "\\",
    "\\'",
    "a'; CREATE DATABASE canary; --",
    'a"; CREATE ROLE canary; --',
    "a=b",
    "host=127.0.0.1 port=9",
    "postgresql://127.0.0.1:9/x",
    "../../etc/passwd",
    "..",
    ".",
    "/",
    "%s%n%d%(name)s",
    "{}",
    "{target}",
    "{0.__class__}",
    "{{ flow_run.id }}",
    "[bold]x[/bold]",
    "[/]",
    "line\nbreak",
    "\r\n",
    "tab\t",
    "nul\0byte",
    "\x1b[2J",
    "\u202egnp.exe",
    "\u200b",
    "\uff41\uff44\uff41",
    "\u0130",
    "e\u0301" * 40,
    "x" * 63,
    "ü" * 64,
    "x" * 5000,
    "😀",
    "null",
    "NaN",
    "[]",
    "newest\n",
)
NUMBERS = (
    *("-1", "0", "1e400", "-inf", "nan", "9" * 25, "9" * 400, "0x10", "1_0", "\u0663", "", " 1"),
    "1;",
)


def programs(canary: Path) -> tuple[str, ...]:
    """Give words that make a file where a shell or psql reads them."""
    return (
        f"$(touch {canary})",
        f"`touch {canary}`",
        f"x; touch {canary} #",
        f"x | touch {canary}",
        f"x\ntouch {canary}\n",
        f"\\! touch {canary}",
        f"'||(COPY (SELECT 1) TO PROGRAM 'touch {canary}')||'",
    )


def words(canary: Path) -> st.SearchStrategy[str]:
    """Give strings: those above, and any others that UTF-8 has."""
    text = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
    return st.sampled_from((*WORDS, *programs(canary))) | text
