"""What compose says of files that it does not like, without the values that it repeats."""

import re
from collections.abc import Iterator

_INSISTS = (
    re.compile(r"required variable (\w+) is missing a value"),
    re.compile(r"[Mm]issing mandatory value for .*?\$\{?(\w+)"),
)
_KEY = r"(?:services|networks|volumes|secrets|configs)(?:\.[\w-]+)+"
# Only names are taken over: what else stands in a message may be a part of a secret.
_KNOWN = (
    (re.compile(r"attribute [`'\"]version[`'\"] is obsolete"), "`version` is obsolete"),
    (re.compile(rf"({_KEY}) false schema"), r"\1 is not known to it"),
    (
        re.compile(r"(?:^|\s)additional properties ((?:'[\w.-]+'(?:, )?)+) not allowed"),
        r"\1: not allowed at the top of a file",
    ),
    (
        re.compile(rf"({_KEY}) additional properties ((?:'[\w.-]+'(?:, )?)+) not allowed"),
        r"\2 in \1: not allowed",
    ),
    (
        re.compile(rf"({_KEY}): can't set distinct values on ('[\w.]+') and ('[\w.]+')"),
        r"\1: distinct values in \2 and \3",
    ),
    (
        re.compile(
            rf"Unsupported config option for ({_KEY}|services|volumes|networks): ('[\w-]+')"
        ),
        r"\2 in \1 is not supported",
    ),
    (re.compile(rf"({_KEY}) contains unsupported option: ('[\w-]+')"), r"\2 in \1: not supported"),
    (re.compile(r'Version "?([\d.]+)"? in .* is (?:invalid|unsupported)'), r"version \1: invalid"),
    (re.compile(r"Version mismatch"), "the files are of different versions"),
    (re.compile(r'The "?([A-Za-z_]\w*)"? variable is not set'), r"variable \1 is not set"),
    *((one, r"variable \1 is required, and not set") for one in _INSISTS),
    (re.compile(rf"({_KEY})\b.* (?:must be|is invalid|contains an invalid)"), r"\1 is not valid"),
    (
        re.compile(r'service "([\w.-]+)" (?:depends on|refers to) undefined'),
        r"\1 needs what is not there",
    ),
)


def shown(said: str) -> tuple[str, ...]:
    """Give what compose says in sentences that hold no values.

    Args:
        said: What it wrote to its errors.

    Returns:
        A sentence for each known complaint, once; one that counts the others.
    """
    return tuple(dict.fromkeys(_sentences(said)))


def insisted_on(said: str) -> str:
    """Name the variable for which compose refuses the files, as it is not set.

    Args:
        said: What it wrote to its errors.

    Returns:
        The first one; '' for none.
    """
    found = (pattern.search(said.replace('\\"', '"')) for pattern in _INSISTS)
    return next((one[1] for one in found if one), "")


def _sentences(said: str) -> Iterator[str]:
    hidden = 0
    for line in said.splitlines():
        found = [
            one.expand(sentence)
            for pattern, sentence in _KNOWN
            if (one := pattern.search(line.replace('\\"', '"')))
        ]
        if found:
            yield found[0]
        elif line.strip() and not line.startswith("The Compose file"):
            hidden += 1
    if hidden:
        lines = "a line" if hidden == 1 else f"{hidden} lines"
        yield f"{lines} more, not shown as it may repeat values: run `config` by hand"
